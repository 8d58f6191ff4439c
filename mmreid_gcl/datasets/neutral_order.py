# SPDX-License-Identifier: Apache-2.0
"""The order of the training images, which depends on no identity."""

from __future__ import annotations

import hashlib
import zlib
from collections import Counter
from concurrent.futures import ThreadPoolExecutor

from mmengine import dist
from tqdm import tqdm

from mmreid_gcl.parallel import num_threads

from .image_folder import log
from .inspection import read_bytes

#: From so many files on, the log says what is being read and why.
MANY = 2000


def neutral_order(samples: list[dict], workers: int | None = None) -> list[dict]:
    """Sort samples by camera, sequence and frame; ties by the image itself.

    In the official data sets a file name begins with the identity. The order of the
    samples decides which of two equal distances wins, how clusters are numbered and
    what the sampler draws, so it must not come from the name. Ties are ordered by the
    checksums of the bytes (CRC-32, then BLAKE2b); of two identical files it does not
    matter which comes first. ``workers`` threads read them, by default four for each
    core and at most 32: reading waits.
    """
    moments = [(s['camid'], s['sequence'], s['frame']) for s in samples]
    shared = Counter(moments)
    tied = [i for i, moment in enumerate(moments) if shared[moment] > 1]
    many = len(tied) >= MANY
    if many:
        log(
            f'{len(tied):,} of {len(samples):,} training images share camera and time '
            'with another one; each is read once for its checksum, which decides their '
            'order.'
        )
    if workers is None:
        workers = min(32, 4 * num_threads())
    with ThreadPoolExecutor(max(1, workers)) as pool:
        read = pool.map(_checksum, [samples[i]['img_path'] for i in tied])
        style = dict(unit=' images', disable=not many or not dist.is_main_process())
        bar = tqdm(read, 'order', len(tied), mininterval=1, **style)
        checksums = dict(zip(tied, list(bar)))
    nothing = (0, b'')
    order = sorted(
        range(len(samples)), key=lambda i: (moments[i], checksums.get(i, nothing))
    )
    return [samples[i] for i in order]


def _checksum(path: str) -> tuple[int, bytes]:
    data = read_bytes(path)
    # CRC-32 alone would leave to the name what collides: one pair in 90,000 images
    return zlib.crc32(data), hashlib.blake2b(data, digest_size=16).digest()
