# SPDX-License-Identifier: Apache-2.0
"""What benchmarks share: seeded features, timing, memory, the machine."""

import os
import platform
import threading
import time

import numpy as np

DIFFICULTIES = ('easy', 'ambiguous', 'untrained')


def seeded_features(
    n: int, c: int, difficulty: str, seed: int = 0, per_identity: int = 17
) -> tuple[np.ndarray, np.ndarray]:
    """Unit-length features that behave like those of a re-ID network.

    - easy: identities far apart, as after training.
    - ambiguous: images lie farther from their centre than centres from each
      other; neighbourhoods are dense and hold many strangers.
    - untrained: no identities to be seen; a spectrum that falls off like that of
      a random network's features, all in one narrow cone.

    Args:
        n (int): Number of rows N.
        c (int): Width C.
        difficulty (str): One of :data:`DIFFICULTIES`.
        seed (int): Defaults to 0.
        per_identity (int): Images of one identity on average. Defaults to 17,
            as in Market-1501.

    Returns:
        tuple[np.ndarray, np.ndarray]: features (N, C) float32 and identities (N,).
    """
    rng = np.random.default_rng(seed)
    identities = rng.integers(max(1, n // per_identity), size=n)
    out = np.empty((n, c), np.float32)
    count = identities.max() + 1
    if difficulty == 'untrained':
        rank = min(c, 64)
        basis = rng.standard_normal((rank, c), dtype=np.float32) / c**0.5
        spectrum = (np.arange(1, rank + 1) ** -0.7).astype(np.float32)
        mean = rng.standard_normal(c, dtype=np.float32) / c**0.5 * 3
    else:
        # Directions at right angles: as hard in 256 dimensions as in 2048.
        spread = dict(easy=0.8, ambiguous=1.8)[difficulty]
        rank = min(c, 256)
        basis = np.linalg.qr(rng.standard_normal((c, rank), dtype=np.float32))[0].T
        centres = rng.standard_normal((count, rank), dtype=np.float32)
    step = 65536
    for a in range(0, n, step):
        b = min(a + step, n)
        noise = rng.standard_normal((b - a, rank), dtype=np.float32)
        if difficulty == 'untrained':
            x = noise * spectrum @ basis + mean
        else:
            x = (centres[identities[a:b]] + spread * noise) @ basis
            x += 0.05 * rng.standard_normal(x.shape, dtype=np.float32) / c**0.5
        x /= np.linalg.norm(x, axis=1, keepdims=True)
        out[a:b] = x
    return out, identities


def resident_mib() -> float:
    """Resident memory of this process in MiB (Linux)."""
    with open('/proc/self/statm') as file:
        return int(file.read().split()[1]) * os.sysconf('SC_PAGE_SIZE') / 2**20


class Measured:
    """Wall time and peak memory above the start of a block.

    Attributes:
        seconds (float): Wall time.
        mib (float): Peak resident memory above that at the start, sampled
            every 5 ms.
    """

    def __enter__(self):
        self._done = threading.Event()
        self._begin_mib = self._peak = resident_mib()
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._thread.start()
        self._begin = time.perf_counter()
        return self

    def _watch(self):
        while not self._done.wait(0.005):
            self._peak = max(self._peak, resident_mib())

    def __exit__(self, *args):
        self.seconds = time.perf_counter() - self._begin
        self._done.set()
        self._thread.join()
        self.mib = max(self._peak, resident_mib()) - self._begin_mib


def machine(device: str = 'cpu') -> str:
    """One line about the machine."""
    name = platform.processor() or platform.machine()
    try:
        with open('/proc/cpuinfo') as file:
            lines = [line for line in file if line.startswith('model name')]
        name = lines[0].split(':')[1].strip()
    except (OSError, IndexError):
        pass
    cores = len(os.sched_getaffinity(0))
    text = f'{name}, {cores} cores'
    if device.startswith('cuda'):
        import torch

        text += f'; {torch.cuda.get_device_name(device)}, torch {torch.__version__}'
    return text
