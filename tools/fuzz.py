# SPDX-License-Identifier: Apache-2.0
"""Damage files of all kinds that are read, and see that they are refused or harmless.

``python tools/fuzz.py --seconds 600``
"""

from __future__ import annotations

import argparse
import copy
import hashlib
import io
import json
import random
import sys
import tempfile
import time
import traceback
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import cv2
import mmengine.registry
import mmpretrain.registry
import numpy as np
import torch
from mmengine.config import Config
from mmengine.registry import Registry
from PIL import Image

import mmreid_gcl.registry
from mmreid_gcl.apis.gallery_index import GalleryIndex
from mmreid_gcl.apis.images import ImageError, read_image
from mmreid_gcl.checkpoint import read_checkpoint
from mmreid_gcl.config.allowed_parts import PARTS
from mmreid_gcl.config.embedded import usable_config
from mmreid_gcl.config.load import load_config
from mmreid_gcl.datasets.inspection import DECODED

#: A case takes a source of chance and says whether the file was refused.
Case = Callable[[random.Random], bool]
#: Values that a description might have in place of the right ones.
_ODD: list[Any] = [
    *(None, True, -1, 0, 2**31, 10**30, 1.5, float('nan'), '', 'x', '/etc/passwd'),
    *('../x', '\0', '\ud800', [], ['x'], [[]], [3], {}, {'type': 'x'}),
]
MAX_PIXELS = 10_000


def flipped(data: bytes, chance: random.Random) -> bytes:
    """Some bits flipped, a part cut out, repeated or overwritten."""
    out = bytearray(data)
    for _ in range(chance.choice((1, 1, 2, 8))):
        start = chance.randrange(len(out) + 1)
        kind = chance.random()
        if kind < 0.7 and start < len(out):
            out[start] ^= 1 << chance.randrange(8)
        elif kind < 0.8:
            del out[start : start + chance.randrange(1, 40)]
        elif kind < 0.9:
            out[start:start] = out[: chance.randrange(1, 40)]
        else:
            more = chance.choice(
                (b'\xff\xff\xff\xff', b'\0\0\0\0', b'\x7f\xff\xff\xff')
            )
            out[start : start + len(more)] = more
    return bytes(out)


def checkpoints(folder: Path) -> Case:
    """Flipped bits in a checkpoint: refused, or the content is the same."""
    good = dict(
        meta=dict(epoch=3, cfg='model = dict()', seen=np.arange(5)),
        state_dict={'a.weight': torch.arange(12.0).view(3, 4), 'b': torch.ones(2)},
        optimizer=dict(state={0: dict(step=torch.tensor(3.0))}, param_groups=[]),
    )
    file = io.BytesIO()
    torch.save(good, file)

    def case(chance: random.Random) -> bool:
        data = flipped(file.getvalue(), chance)
        try:
            found = read_checkpoint(io.BytesIO(data))
        except ValueError:
            return True
        if not _equal(found, good):
            raise AssertionError(f'a damaged checkpoint was read as {found}')
        return False

    return case


def _equal(one: Any, other: Any) -> bool:
    if isinstance(one, torch.Tensor) and isinstance(other, torch.Tensor):
        return torch.equal(one, other)
    if isinstance(one, np.ndarray) and isinstance(other, np.ndarray):
        return np.array_equal(one, other)
    if isinstance(one, dict) and isinstance(other, dict):
        return list(one) == list(other) and all(_equal(one[k], other[k]) for k in one)
    return type(one) is type(other) and one == other


def embedded_configs(folder: Path) -> Case:
    """Types of all registries anywhere in a config: refused, and nothing is built."""
    listed = {name for _, parts in PARTS.values() for name in parts}
    registries = [
        registry
        for module in (mmengine.registry, mmpretrain.registry, mmreid_gcl.registry)
        for registry in vars(module).values()
        if isinstance(registry, Registry)
    ]
    good = usable_config(load_config('gcl_folder')).to_dict()
    allowed = set(_texts(good))
    names = sorted({(r.scope, name) for r in registries for name in r.module_dict})
    names = [pair for pair in names if pair[1] not in listed]

    def build(self, cfg, *args, **kwargs):
        raise AssertionError(f'{self.name} built {cfg}')

    def case(chance: random.Random) -> bool:
        scope, name = chance.choice(names)
        prefix = chance.choice(('', f'{scope}.', 'mmengine.', 'mmreid_gcl.', 'mmdet.'))
        part: Any = {'type': prefix + name, chance.choice(('a', 'path', 'cfg')): 'x'}
        if chance.random() < 0.1:
            part = chance.choice([odd for odd in _ODD if isinstance(odd, (str, dict))])
            part = part or '/x'
        for _ in range(chance.randrange(4)):
            part = chance.choice(
                (
                    [part],
                    dict(a=part),
                    dict(type=part),
                    dict(type='RandomApply', transforms=[part]),
                    dict(cfg=part, stages=(True,)),
                )
            )
        cfg = copy.deepcopy(good)
        target, key = chance.choice(list(_inside(cfg)))
        target[key] = part
        before = Registry.build
        Registry.build = build
        try:
            kept = usable_config(Config(cfg)).to_dict()
        except ValueError:
            return True
        finally:
            Registry.build = before
        # taken where nobody looks, such as in the place of a hook
        for value in _texts(kept):
            if value not in allowed:
                raise AssertionError(f'kept {value!r} at {key!r}: {part}')
        return False

    return case


def _texts(value: Any) -> Iterator[str]:
    """All texts in a nested value, keys excluded."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, (dict, list, tuple)):
        for item in value.values() if isinstance(value, dict) else value:
            yield from _texts(item)


def _inside(part: Any) -> Iterator[tuple[Any, Any]]:
    """Each place in a nested value: what holds it, and its key."""
    for key in list(part) if isinstance(part, dict) else range(len(part)):
        yield part, key
        if isinstance(part[key], (dict, list)):
            yield from _inside(part[key])


def galleries(folder: Path) -> Case:
    """Changed descriptions and bytes of a gallery: refused, or a valid index."""
    count, width = 6, 4
    names = [f'a/{i}.jpg' for i in range(count)]
    features = np.random.default_rng(0).normal(size=(count, width)).astype(np.float32)
    GalleryIndex(features, names, list('aabbcc'), '/crops', 'f' * 64).save(folder)
    meta_file, index_file = folder / 'gallery.json', folder / 'index.faiss'
    text, data = meta_file.read_bytes(), index_file.read_bytes()

    def case(chance: random.Random) -> bool:
        meta, index = json.loads(text), data
        if chance.random() < 0.5:
            index = flipped(data, chance)
        if chance.random() < 0.7:  # whoever damages on purpose mends the sum
            meta['index_sha256'] = hashlib.sha256(index).hexdigest()
        if chance.random() < 0.7:
            target, key = chance.choice(list(_inside(meta)))
            target[key] = chance.choice(_ODD)
        changed = json.dumps(meta).encode()
        if chance.random() < 0.3:
            changed = flipped(changed, chance)
        meta_file.write_bytes(changed)
        index_file.write_bytes(index)
        try:
            gallery = GalleryIndex.load(folder)
        except (ValueError, FileNotFoundError):
            return True
        root = gallery.root.absolute()
        for row in range(len(gallery)):
            path = Path(gallery.path_of(row)).absolute()
            if not path.is_relative_to(root) or '..' in path.relative_to(root).parts:
                raise AssertionError(f'{path} is not below {root}')
        gallery.search(np.ones(gallery.dim, np.float32))
        if not np.isfinite(gallery.features).all():
            raise AssertionError('features are not finite')
        return False

    return case


def images(folder: Path) -> Case:
    """Damaged images: refused, or an array within the limit of pixels."""
    pixels = np.random.default_rng(0).integers(0, 256, (20, 10, 3)).astype(np.uint8)
    files = []
    for kind in DECODED:
        out = io.BytesIO()
        Image.fromarray(pixels).save(out, kind)
        files.append(out.getvalue())

    def case(chance: random.Random) -> bool:
        data = chance.choice(files)
        size = chance.choice((40, 120, len(data)))
        data = flipped(data[:size], chance) + data[size:]
        try:
            image = read_image(data, max_pixels=MAX_PIXELS)
        except ImageError:
            return True
        if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3:
            raise AssertionError(f'an image of {image.dtype} {image.shape}')
        if not 0 < image.shape[0] * image.shape[1] <= MAX_PIXELS:
            raise AssertionError(f'an image of {image.shape}')
        return False

    return case


KINDS: dict[str, Callable[[Path], Case]] = dict(
    checkpoints=checkpoints,
    embedded_configs=embedded_configs,
    galleries=galleries,
    images=images,
)


def run(
    kinds: Sequence[str], seconds: float, seed: int, count: int | None = None
) -> list[str]:
    """Try damaged files until the time is over.

    Args:
        kinds (Sequence[str]): Of :data:`KINDS`; each gets an equal share of the time.
        seconds (float): All together; each kind has one case at least.
        seed (int): Of the first case; the next has the next number.
        count (int, optional): At most so many cases of a kind.

    Returns:
        list[str]: The failures, with what repeats them.
    """
    failures = []
    for kind in kinds:
        with tempfile.TemporaryDirectory() as folder:
            case = KINDS[kind](Path(folder))
            end = time.monotonic() + seconds / len(kinds)
            counts: Counter[str] = Counter()
            number = seed
            while not counts or (
                time.monotonic() < end and counts.total() != (count or -1)
            ):
                try:
                    refused = case(random.Random(number))
                    counts['refused' if refused else 'harmless'] += 1
                except Exception as error:
                    counts['failed'] += 1
                    where = traceback.extract_tb(error.__traceback__)[-1]
                    failures.append(
                        f'{type(error).__name__}: {str(error)[:200]} ({where.name}, '
                        f'line {where.lineno})\n    python tools/fuzz.py --kind {kind} '
                        f'--seed {number} --count 1'
                    )
                number += 1
        said = ', '.join(f'{n} {what}' for what, n in sorted(counts.items()))
        print(f'{kind}: {counts.total()} files, {said}', flush=True)
    return failures


def main(argv: Sequence[str] | None = None) -> int:
    """Fuzz; 1 if anything failed."""
    parser = argparse.ArgumentParser(
        description='Damage checkpoints, the configs in them, galleries and images; '
        'see that each is refused with the right error, or read without harm.'
    )
    parser.add_argument('--seconds', type=float, default=60, help='default: 60')
    parser.add_argument('--seed', type=int, default=0, help='default: 0')
    parser.add_argument('--count', type=int, help='at most so many files of a kind')
    parser.add_argument('--kind', choices=list(KINDS), action='append', dest='kinds')
    args = parser.parse_args(argv)
    cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)
    failures = run(args.kinds or list(KINDS), args.seconds, args.seed, args.count)
    for failure in failures[:10]:
        print(failure, file=sys.stderr)
    if len(failures) > 10:
        print(f'and {len(failures) - 10} more', file=sys.stderr)
    return int(bool(failures))


if __name__ == '__main__':
    sys.exit(main())
