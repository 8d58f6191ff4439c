# SPDX-License-Identifier: Apache-2.0
"""Decoded images in shared memory: the same images, once."""

import contextlib
import copy
import multiprocessing
import os
import pickle
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.dataset import Compose
from mmengine.registry import init_default_scope
from torch.utils.data import DataLoader

import mmreid_gcl.datasets  # noqa: F401  (registers)
from mmreid_gcl.config.load import cache_images
from mmreid_gcl.datasets import WeakView, image_cache
from mmreid_gcl.datasets.image_cache import CachedTransforms, cache_pipeline
from mmreid_gcl.datasets.image_store import ImageStore
from mmreid_gcl.datasets.seeding import seeded

ROOT = Path(__file__).resolve().parents[2]
LOAD = [
    dict(type='mmcv.LoadImageFromFile'),
    dict(type='mmpretrain.Resize', scale=(16, 32), interpolation='bicubic'),
]
RANDOM = [
    dict(type='mmpretrain.RandomFlip', prob=0.5, direction='horizontal'),
    dict(type='mmpretrain.RandomCrop', crop_size=(32, 16), padding=3),
    dict(type='mmpretrain.RandomErasing', erase_prob=0.7),
]


@pytest.fixture(autouse=True)
def scope():
    init_default_scope('mmreid_gcl')


@pytest.fixture
def paths(tmp_path):
    rng = np.random.default_rng(0)
    out = []
    for i in range(6):
        image = rng.integers(0, 256, (20 + 5 * i, 11 + i, 3)).astype(np.uint8)
        out.append(str(tmp_path / f'{i}.png'))
        cv2.imwrite(out[-1], image)
    return out


def image(seed=0, shape=(4, 3, 3)):
    return np.random.default_rng(seed).integers(0, 256, shape).astype(np.uint8)


# ------------------------------------------------------------------ the store


@pytest.mark.parametrize('folder', [False, True])
def test_store_keeps_what_it_is_given(tmp_path, folder):
    store = ImageStore(tmp_path if folder else None, 1 << 20)
    assert store.get('a') is None and len(store) == 0
    for n, shape in enumerate([(4, 3, 3), (1, 1, 1), (7, 2, 4)]):
        more = {'scale': (n, n + 0.5)} if n else None
        assert store.add(str(n), image(n, shape), more)
    for n, shape in enumerate([(4, 3, 3), (1, 1, 1), (7, 2, 4)]):
        pixels, more = store.get(str(n))
        assert np.array_equal(pixels, image(n, shape)) and pixels.dtype == np.uint8
        assert more == ({'scale': (n, n + 0.5)} if n else None)
        pixels[:] = 0  # a copy: later transforms may write into it
        assert np.array_equal(store.get(str(n))[0], image(n, shape))
    assert len(store) == 3 and store.get('3') is None
    assert not list(tmp_path.iterdir())  # it has no name that could stay behind


def test_store_keeps_the_first(tmp_path):
    store = ImageStore(tmp_path, 1 << 20)
    assert store.add('a', image(0)) and store.add('a', image(1))
    assert np.array_equal(store.get('a')[0], image(0)) and len(store) == 1


def test_limits():
    one = 36 + 32 + 4  # pixels, shape, in whole words
    store = ImageStore(None, 2 * one)
    assert [store.add(str(n), image(n)) for n in range(4)] == [True, True, False, False]
    assert store.used_bytes == 2 * one and store.get('2') is None
    assert store.add('1', image(1))  # is there already
    store = ImageStore(None, 1 << 20, max_images=3)
    assert [store.add(str(n), image(n)) for n in range(4)] == [True] * 3 + [False]
    for bad in (dict(limit_bytes=0), dict(max_images=-1)):
        with pytest.raises(ValueError, match='must be positive'):
            ImageStore(None, **bad)


def test_a_full_file_system_is_no_error(monkeypatch):
    store = ImageStore(None, 1 << 20)
    assert store.add('a', image(0))
    write = os.pwrite

    def full(file, data, offset):
        if len(data) > 40:
            raise OSError(28, 'No space left on device')
        return write(file, data, offset)

    monkeypatch.setattr(os, 'pwrite', full)
    assert not store.add('b', image(1, (20, 20, 3)))
    monkeypatch.undo()
    assert not store.add('c', image(2))  # nor is it tried again for every image
    assert np.array_equal(store.get('a')[0], image(0)) and store.get('b') is None


def test_a_writer_killed_half_way_leaves_nothing_wrong(monkeypatch):
    store = ImageStore(None, 1 << 20)
    write = os.pwrite

    class Killed(BaseException):
        pass

    for survived in range(5):  # calls to the system before the end
        calls = []

        def killed(*args, survived=survived, calls=calls):
            calls.append(args)
            if len(calls) > survived:
                raise Killed
            return write(*args)

        monkeypatch.setattr(os, 'pwrite', killed)
        with contextlib.suppress(Killed):
            store.add(f'x{survived}', image(survived))
        monkeypatch.undo()
        assert store.add(f'y{survived}', image(100 + survived))
    for n in range(5):
        assert np.array_equal(store.get(f'y{n}')[0], image(100 + n))
        found = store.get(f'x{n}')
        assert found is None or np.array_equal(found[0], image(n))
        assert store.add(f'x{n}', image(n))
        assert np.array_equal(store.get(f'x{n}')[0], image(n))


@pytest.mark.parametrize('wrong', [image().astype(np.float32), image()[..., 0]])
def test_other_images_are_refused(wrong):
    with pytest.raises(TypeError, match=r'a\.jpg: .*\(H, W, C\) uint8'):
        ImageStore(None, 1 << 20).add('a.jpg', wrong)


def _fill(store, start, count, results):
    """Add overlapping images; whatever is found must be right."""
    for n in range(start, start + count):
        store.add(str(n), image(n, (n % 7 + 1, 5, 3)), n)
    wrong = 0
    for n in range(40):
        found = store.get(str(n))
        if found is not None:
            pixels, more = found
            wrong += more != n or not np.array_equal(
                pixels, image(n, (n % 7 + 1, 5, 3))
            )
    results.put(wrong)


@pytest.mark.parametrize('method', ['fork', 'spawn'])
def test_processes_fill_it_together(method):
    context = multiprocessing.get_context(method)
    store = ImageStore(None, 1 << 20)
    results = context.Queue()
    starts = (0, 5, 10, 20) if method == 'fork' else (0,)
    arguments = [(store, start, 20, results) for start in starts]
    processes = [context.Process(target=_fill, args=each) for each in arguments]
    for process in processes:
        process.start()
    assert [results.get(timeout=60) for _ in processes] == [0] * len(processes)
    for process in processes:
        process.join()
    expected = starts[-1] + 20  # and none twice
    assert len(store) == expected
    assert all(store.get(str(n))[1] == n for n in range(expected))


def test_shared_by_name(tmp_path):
    """Ranks of one run; the last one takes the name away."""
    options = dict(folder=tmp_path, limit_bytes=1 << 16, share='run', openers=3)
    first, second = ImageStore(**options), ImageStore(**options)
    assert len(list(tmp_path.iterdir())) == 1
    first.add('a', image(1))
    assert np.array_equal(second.get('a')[0], image(1))
    third = ImageStore(**options)
    assert not list(tmp_path.iterdir())
    third.add('b', image(2))
    assert np.array_equal(first.get('b')[0], image(2))
    assert ImageStore(**options).get('a') is None  # a new run


_OPEN_ONE = """
import sys, os
from mmreid_gcl.datasets.image_store import ImageStore
ImageStore(sys.argv[1], 1 << 16, share='run', openers=2)
print(len(os.listdir(sys.argv[1])))
if sys.argv[2] == 'killed':
    os.kill(os.getpid(), 9)
raise RuntimeError('another process failed')
"""


@pytest.mark.parametrize('end', ['fails', 'killed'])
def test_nothing_stays_behind_if_one_never_opens_it(tmp_path, end):
    command = [sys.executable, '-c', _OPEN_ONE, str(tmp_path), end]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.stdout.endswith('1\n'), done.stderr
    assert len(list(tmp_path.iterdir())) == (end == 'killed')
    (tmp_path / 'mmreid-x.images').write_text('of somebody else')
    store = ImageStore(tmp_path, 1 << 16, share='run', openers=2)  # the next run
    assert len(list(tmp_path.iterdir())) == 2 and len(store) == 0
    ImageStore(tmp_path, 1 << 16, share='other', openers=2)
    assert len(list(tmp_path.iterdir())) == 3  # a run that goes on keeps its file


def _make_until_killed(folder, share, calls):
    """Make a store in a process that is killed at a system call; its exit status."""
    child = os.fork()
    if not child:
        names = ('pwrite', 'ftruncate', 'fstat', 'unlink')
        left = iter(range(calls))
        for name in names:
            call = getattr(os, name)

            def counted(*args, call=call):
                if next(left, None) is None:
                    os.kill(os.getpid(), 9)
                return call(*args)

            setattr(os, name, counted)
        ImageStore(folder, 1 << 16, 64, share=share, openers=2)
        os._exit(0)
    return os.waitpid(child, 0)[1]


@pytest.mark.parametrize('share', ['run', None])
@pytest.mark.parametrize('nameless', [True, False])
def test_killed_in_the_making(tmp_path, monkeypatch, share, nameless):
    """It leaves nothing to the next run."""
    if not nameless:
        monkeypatch.delattr(os, 'O_TMPFILE')
    ends, left = [], []
    for calls in range(20):
        ends.append(_make_until_killed(tmp_path, share, calls))
        left.append(len(list(tmp_path.iterdir())))
        ImageStore(tmp_path, 1 << 16, 64)
        assert not list(tmp_path.iterdir()), calls
        if not ends[-1]:
            break
    assert ends == [9] * calls + [0] and calls >= 3
    assert any(left) == (share is not None or not nameless)


@pytest.mark.parametrize(
    'environment, world, expected',
    [
        (dict(LOCAL_WORLD_SIZE='2', SLURM_STEP_ID='0'), 4, (f'{os.getppid()} 7', 2)),
        (dict(SLURM_JOB_ID='5', SLURM_STEP_ID='1'), 4, ('5.1.0 7', 4)),
        (
            dict(SLURM_JOB_ID='5', SLURM_STEP_ID='1', SLURM_NNODES='2'),
            4,
            ('5.1.0 7', 2),
        ),
        (dict(SLURM_JOB_ID='5', SLURM_STEP_ID='1', SLURM_NNODES='3'), 4, (None, 1)),
        ({}, 2, (f'{os.getppid()} 7', 2)),
    ],
)
def test_what_names_a_run(monkeypatch, environment, world, expected):
    for name in list(os.environ):
        if name.startswith(('SLURM_', 'OMPI_', 'LOCAL_WORLD')):
            monkeypatch.delenv(name)
    for name, value in {**environment, 'MASTER_PORT': '7'}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(image_cache.dist, 'is_distributed', lambda: True)
    monkeypatch.setattr(image_cache.dist, 'get_world_size', lambda: world)
    assert image_cache._run_on_this_machine() == expected


def test_a_file_of_something_else_is_refused(tmp_path):
    options = dict(folder=tmp_path, share='run', openers=2)
    ImageStore(limit_bytes=1 << 16, **options)
    with pytest.raises(ValueError, match=r'images is not the image cache of this run'):
        ImageStore(limit_bytes=1 << 17, **options)
    (file,) = tmp_path.iterdir()
    file.write_bytes(b'x' * file.stat().st_size)
    with pytest.raises(ValueError, match='remove it'):
        ImageStore(limit_bytes=1 << 16, **options)


# ------------------------------------------------------------------ the transform


def run(pipeline, path, seed):
    with seeded(seed):
        return pipeline(dict(img_path=path, sample_idx=3))


def assert_same(one, other):
    assert one.keys() == other.keys()
    for key, value in one.items():
        if isinstance(value, np.ndarray):
            assert np.array_equal(value, other[key]) and value.dtype == other[key].dtype
        else:
            assert value == other[key] and type(value) is type(other[key]), key


def test_pipelines_give_the_same_to_the_bit(paths):
    plain = Compose(LOAD + RANDOM)
    cached = Compose(cache_pipeline(LOAD + RANDOM, limit_gb=0.001))
    store = cached.transforms[0].store
    before = len(store)
    for seed, path in enumerate(paths * 3):  # erasing writes into what it gets
        assert_same(run(plain, path, seed), run(cached, path, seed))
    assert len(store) - before == len(paths)


def test_decoded_once(paths, monkeypatch):
    cached = CachedTransforms(LOAD, limit_gb=0.002)
    calls = []
    inner = cached.transforms
    monkeypatch.setattr(
        cached, 'transforms', lambda results: calls.append(1) or inner(results)
    )
    for _ in range(3):
        for path in paths:
            cached(dict(img_path=path))
    assert len(calls) == len(paths)


def test_training_and_embedding_share_one(paths):
    one = CachedTransforms(LOAD, limit_gb=0.003)
    other = CachedTransforms([dict(step) for step in LOAD], limit_gb=0.003)
    assert one.store is other.store is copy.deepcopy(one).store
    larger = [LOAD[0], dict(LOAD[1], scale=(32, 64))]
    third = CachedTransforms(larger, limit_gb=0.003)
    for transform, shape in ((one, (32, 16, 3)), (third, (64, 32, 3))):
        for _ in range(2):
            assert transform(dict(img_path=paths[0]))['img'].shape == shape


def test_no_room(paths):
    cached = CachedTransforms(LOAD, limit_gb=3000 / 2**30)  # one image of 1536 bytes
    plain = Compose(LOAD)
    for path in paths * 2:
        expected = plain(dict(img_path=path))
        assert_same(expected, cached(dict(img_path=path)))
    assert len(cached.store) == 1


def test_workers_share_it(paths):
    class Images(torch.utils.data.Dataset):
        def __init__(self, pipeline):
            self.pipeline = pipeline

        def __len__(self):
            return len(paths)

        def __getitem__(self, i):
            return run(self.pipeline, paths[i], i)['img']

    cached = Compose(cache_pipeline(LOAD + RANDOM, limit_gb=0.005))
    plain = list(Images(Compose(LOAD + RANDOM)))
    for _ in range(2):
        loader = DataLoader(Images(cached), batch_size=None, num_workers=2)
        for expected, found in zip(plain, loader, strict=True):
            assert np.array_equal(expected, found)
    assert len(cached.transforms[0].store) == len(paths)  # filled by the workers


def test_a_pickled_transform_has_the_same_store(paths):
    transform = CachedTransforms(LOAD, limit_gb=0.004)
    other = pickle.loads(pickle.dumps(transform))
    assert_same(other(dict(img_path=paths[0])), transform(dict(img_path=paths[0])))
    assert len(transform.store) == len(other.store) == 1


def test_random_transforms_are_refused():
    with pytest.raises(ValueError, match=r'RandomFlip is not known to be without'):
        CachedTransforms([*LOAD, RANDOM[0]])
    with pytest.raises(ValueError, match='limit_gb must be positive'):
        CachedTransforms(LOAD, limit_gb=0)


def test_only_the_beginning_is_cached():
    pipeline = [*LOAD, *RANDOM, LOAD[1]]
    cached = cache_pipeline(pipeline, 2)
    assert cached[0]['transforms'] == LOAD and cached[1:] == [*RANDOM, LOAD[1]]
    assert cache_pipeline(RANDOM) == RANDOM


def make_config(**settings):
    hook = dict(type='PseudoLabelHook', extract=dict(pipeline=LOAD))
    loader = dict(dataset=dict(pipeline=[*LOAD, *RANDOM]))
    return Config(
        dict(train_dataloader=loader, custom_hooks=[hook], image_cache=settings)
    )


def test_in_a_config():
    cfg = make_config(limit_gb=1)
    cache_images(cfg)
    steps = cfg.train_dataloader.dataset.pipeline
    assert [step.type for step in steps] == [
        'mmreid_gcl.CachedTransforms',
        *(step['type'] for step in RANDOM),
    ]
    assert cfg.custom_hooks[0].extract.pipeline == steps[:1]
    assert steps[0].limit_gb == 1
    assert 'mmreid_gcl.datasets.image_cache' in cfg.custom_imports.imports
    with pytest.raises(ValueError, match=r"image_cache has 'size'; expected limit_gb"):
        cache_images(make_config(size=3))
    cfg = make_config()
    cfg.train_dataloader.dataset.pipeline = RANDOM
    with pytest.raises(ValueError, match='does not begin with'):
        cache_images(cfg)


def test_a_weak_view_stays_as_it_was():
    image = np.random.default_rng(0).integers(0, 256, (8, 4, 3), dtype=np.uint8)
    before = image.copy()
    results = WeakView()(dict(img=image, pid=3))
    assert results['img'] is image and results['pid'] == 3
    image[:] = 0  # as an erasing transform may do
    assert np.array_equal(results['weak_view'], before)
