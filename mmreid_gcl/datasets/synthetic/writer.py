# SPDX-License-Identifier: Apache-2.0
"""Writing of the synthetic set to the disk, on all cores."""

from __future__ import annotations

import json
import multiprocessing
import os
import shutil
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path

import cv2
from tqdm import tqdm

from mmreid_gcl.files import write_atomically
from mmreid_gcl.parallel import num_threads

from ..benchmark import TRACKS
from .camera import WORLDS, Difficulty
from .plan import (
    FOLDERS,
    GALLERY,
    QUERY,
    TRAIN,
    Layout,
    Tracklet,
    plan_tracklets,
    tracks_table,
)
from .render import World

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]  # asked for with `is None`

MANIFEST = 'synthetic.json'
_FORMAT = 'mmreid_gcl synthetic'
#: Raised when the same arguments give other images.
VERSION = 1
_CHUNK = 8  # tracklets a task
_LOCK = 'being-written'
_world: World | None = None


def finished_manifest(out: Path) -> dict | None:
    """What :func:`write_synthetic` left in a folder when done, else None."""
    try:
        manifest = json.loads((out / MANIFEST).read_text())
    except (OSError, ValueError):
        return None
    known = isinstance(manifest, dict) and manifest.get('format') == _FORMAT
    return manifest if known else None


def _differences(old: dict, new: dict, prefix: str = '') -> list[str]:
    lines = []
    for key, value in new.items():
        if isinstance(value, dict):
            lines += _differences(old.get(key, {}), value, f'{key}.')
        elif old.get(key) != value:
            lines.append(f'{prefix}{key} is {old.get(key)}, asked for is {value}')
    return lines


def _start_worker(arguments: tuple) -> None:
    global _world
    cv2.setNumThreads(0)  # one process a core is enough
    if _world is None:  # else inherited by fork
        _world = World(*arguments)


def _write_tracklets(task: tuple[str, list[Tracklet]]) -> int:
    folder, tracklets = task
    written = 0
    assert _world is not None  # made by _start_worker
    for tracklet in tracklets:
        quality = _world.cameras[tracklet.camera - 1].quality
        images = _world.render(tracklet)
        for (part, name), image in zip(tracklet.names(), images):
            # not imwrite, which says nothing of a full disk
            data = cv2.imencode('.jpg', image, [cv2.IMWRITE_JPEG_QUALITY, quality])[1]
            Path(folder, part, name).write_bytes(data.tobytes())
        written += len(images)
    return written


@contextmanager
def _claimed(out: Path) -> Iterator[Path]:
    """The folder next to ``out`` in which the set grows, made anew."""
    partial = out.with_name(out.name + '.partial')
    ours = not partial.exists() or not any(partial.iterdir())
    ours = ours or (partial / _LOCK).is_file() or finished_manifest(partial) is not None
    if not ours:
        raise FileExistsError(
            f'{partial} is in the way: the data set would be rendered there, and it '
            'was not made by this tool. Move it or choose another folder.'
        )
    partial.mkdir(parents=True, exist_ok=True)
    with open(partial / _LOCK, 'a') as lock:
        try:
            # Given up when the process ends, however it ends.
            if fcntl is not None:
                fcntl.lockf(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise FileExistsError(
                f'{partial} is being written by another process. Wait for it, or '
                'choose another folder.'
            ) from None
        for name in FOLDERS:
            shutil.rmtree(partial / name, ignore_errors=True)  # from a broken run
            (partial / name).mkdir()
        yield partial
    (partial / _LOCK).unlink()
    if out.exists():
        shutil.rmtree(out)  # empty, or a set to be overwritten
    os.rename(partial, out)


def write_synthetic(
    out: str | Path,
    layout: Layout | None = None,
    difficulty: Difficulty | None = None,
    seed: int = 0,
    height: int = 128,
    width: int = 64,
    workers: int | None = None,
    overwrite: bool = False,
    progress: bool = True,
    world: str = 'first',
) -> dict:
    """Render a data set in Market-1501's layout, with a table of its tracks.

    The images depend on the arguments alone, not on ``workers``. They grow in
    ``OUT.partial`` and get their final name when all are there, so that a
    folder ``OUT`` is always whole.

    Images have ``height`` rows (16 at least) and ``width`` columns (8 at least).
    ``workers`` are processes, by default one a core; ``overwrite`` replaces another
    finished synthetic set. ``world`` is 'first' or 'second', which has other cameras
    and clothes; ``difficulty`` is by default that of the world. Returns the manifest,
    with ``counts`` of images, identities and cameras, and ``rendered``: False if the
    same set was there already.

    Raises:
        FileExistsError: If ``out`` holds anything else than the same set, or is
            being written.
        ValueError: If an argument is out of range.
    """
    out = Path(out).expanduser().resolve()
    if world not in WORLDS:
        raise ValueError(f'world must be one of {sorted(WORLDS)}, got {world!r}.')
    layout, difficulty = layout or Layout(), difficulty or WORLDS[world]
    if seed < 0:
        raise ValueError(f'seed must not be negative, got {seed}.')
    if height < 16 or width < 8:
        raise ValueError(f'Images need 16 x 8 pixels at least, got {height} x {width}.')
    if workers is not None and workers < 1:
        raise ValueError(f'workers must be at least 1, got {workers}.')
    # what identifies a data set: the arguments and the renderer's version
    manifest = dict(format=_FORMAT, version=VERSION, seed=seed, height=height)
    manifest |= dict(width=width, layout=asdict(layout), difficulty=asdict(difficulty))
    manifest['world'] = world
    found = _check_target(out, manifest, overwrite)
    tracklets = plan_tracklets(layout, seed)
    table = tracks_table(tracklets, seed).encode()
    if found is not None:
        if not (out / TRACKS).exists():  # rendered before there were tracks
            write_atomically(out / TRACKS, table)
        return {**found, 'rendered': False}

    total = sum(len(tracklet.frames) for tracklet in tracklets)
    arguments = (seed, layout.num_cameras, difficulty, height, width, world)
    with _claimed(out) as partial:
        begins = range(0, len(tracklets), _CHUNK)
        tasks = [(str(partial), tracklets[i : i + _CHUNK]) for i in begins]
        workers = min(workers or num_threads(), len(tasks))
        with tqdm(total=total, unit='image', disable=not progress) as bar:
            for written in _run(tasks, arguments, workers):
                bar.update(written)
        (partial / TRACKS).write_bytes(table)
        manifest['counts'] = _counts(tracklets)
        (partial / MANIFEST).write_text(json.dumps(manifest, indent=2) + '\n')
    return {**manifest, 'rendered': True}


def _run(tasks: list, arguments: tuple, workers: int) -> Iterator[int]:
    """Numbers of images as they are written."""
    global _world
    # Workers use numpy and OpenCV only, each with one thread. Forked ones share
    # the sceneries.
    fork = 'fork' in multiprocessing.get_all_start_methods()
    threads = cv2.getNumThreads()
    try:
        if fork or workers == 1:
            _start_worker(arguments)
        if workers == 1:
            yield from map(_write_tracklets, tasks)
            return
        pool = ProcessPoolExecutor(
            workers,
            multiprocessing.get_context('fork' if fork else 'spawn'),
            _start_worker,
            (arguments,),
        )
        try:
            yield from pool.map(_write_tracklets, tasks)
        finally:
            pool.shutdown(cancel_futures=True)
    finally:
        _world = None
        cv2.setNumThreads(threads)


def _check_target(out: Path, manifest: dict, overwrite: bool) -> dict | None:
    """The manifest in place if it is the one wanted, None if ``out`` is free."""
    if out.exists() and not out.is_dir():
        raise FileExistsError(f'{out} is a file; give a folder.')
    if not out.is_dir() or not any(out.iterdir()):
        return None
    found = finished_manifest(out)
    if found is None:
        raise FileExistsError(
            f'{out} is not empty and no finished synthetic data set (it has no '
            f'{MANIFEST}). Choose another folder; nothing was changed.'
        )
    different = _differences({'world': 'first', **found}, manifest)
    if not different:
        return found
    if overwrite:
        return None
    raise FileExistsError(
        f'{out} holds a synthetic data set made otherwise: '
        + '; '.join(different)
        + '. Choose another folder, or pass --overwrite to replace it.'
    )


def _counts(tracklets: list[Tracklet]) -> dict:
    images = Counter(folder for t in tracklets for folder in t.folders)
    people = {(folder, t.pid) for t in tracklets if t.pid > 0 for folder in t.folders}
    identities = Counter(folder for folder, _ in people)
    return dict(
        images={name: images[name] for name in FOLDERS},
        identities={name: identities[name] for name in FOLDERS},
        distractors=sum(len(t.frames) for t in tracklets if t.pid == 0),
        junk=sum(len(t.frames) for t in tracklets if t.pid == -1),
        tracklets={
            'train': sum(TRAIN in t.folders for t in tracklets),
            'test': sum(GALLERY in t.folders or QUERY in t.folders for t in tracklets),
        },
    )
