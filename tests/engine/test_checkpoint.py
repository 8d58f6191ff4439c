# SPDX-License-Identifier: Apache-2.0
"""Checkpoints: written whole, read without running what is in them."""

import datetime
import errno
import io
import os
import pickle
import resource
import signal
import subprocess
import sys
import zipfile
from argparse import Namespace
from collections import OrderedDict, defaultdict, deque
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from urllib.error import URLError

import numpy as np
import pytest
import torch
from mmengine.config import ConfigDict
from mmengine.fileio import get_file_backend
from mmengine.logging import HistoryBuffer, MessageHub
from mmengine.model import BaseModule
from mmengine.registry import DefaultScope
from mmengine.runner.checkpoint import CheckpointLoader, load_checkpoint

from mmreid_gcl import checkpoint as reading
from mmreid_gcl.apis.loading import load_model
from mmreid_gcl.checkpoint import (
    last_good_checkpoint,
    read_checkpoint,
    safe_loading,
    stack_loading,
)
from mmreid_gcl.engine.checkpoint_files import ATOMIC
from mmreid_gcl.files import remove_partial, write_atomically
from mmreid_gcl.work_dir import point_to

from .tiny_training import build, make_config, train

TOOLS = Path(__file__).parents[2] / 'tools'


class Malicious:
    """Creates a file when a full unpickler reads it."""

    def __init__(self, victim):
        self.victim = victim

    def __reduce__(self):
        return os.mkdir, (str(self.victim),)


@pytest.fixture
def victim(tmp_path):
    """A folder that must not exist at the end."""
    path = tmp_path / 'executed'
    yield path
    assert not path.exists(), 'the file was executed'


@pytest.fixture(params=['zip', 'legacy', 'pickle', 'in the state dict'])
def malicious(request, tmp_path, victim):
    path = tmp_path / 'malicious.pth'
    content = dict(meta=dict(epoch=1, iter=4), state_dict=Malicious(victim))
    if request.param == 'in the state dict':
        content['state_dict'] = OrderedDict(weight=Malicious(victim))
    if request.param == 'pickle':
        path.write_bytes(pickle.dumps(content, protocol=2))
    else:
        legacy = request.param == 'legacy'
        torch.save(content, path, _use_new_zipfile_serialization=not legacy)
    return path


def test_the_file_of_these_tests_is_dangerous(tmp_path):
    torch.save(Malicious(tmp_path / 'executed'), tmp_path / 'malicious.pth')
    torch.load(tmp_path / 'malicious.pth', weights_only=False)
    assert (tmp_path / 'executed').exists()


def test_malicious_file_is_refused_by_the_stack(malicious):
    for load in (
        read_checkpoint,
        lambda path: CheckpointLoader.load_checkpoint(str(path)),
        lambda path: load_checkpoint(torch.nn.Linear(1, 1), str(path)),
        partial(read_checkpoint, mmap=True),
    ):
        with pytest.raises(ValueError, match='could execute code') as caught:
            load(malicious)
        assert str(malicious) in str(caught.value)


def test_malicious_file_is_refused_as_init_cfg(malicious):
    class Net(BaseModule):
        def __init__(self, init_cfg):
            super().__init__(init_cfg)
            self.layer = torch.nn.Linear(1, 1)

    for more in ({}, {'prefix': 'layer'}):
        net = Net(dict(type='Pretrained', checkpoint=str(malicious), **more))
        with pytest.raises(ValueError, match='could execute code'):
            net.init_weights()


def test_malicious_file_is_refused_by_load_model(malicious, tmp_path):
    config = make_config(tmp_path, tmp_path)
    with pytest.raises(ValueError, match='could execute code'):
        load_model(config, malicious, 'cpu')
    config.model.backbone.init_cfg = dict(type='Pretrained', checkpoint=str(malicious))
    with pytest.raises(ValueError, match='could execute code'):
        load_model(config, device='cpu')


@pytest.mark.parametrize('resume', [False, True])
@pytest.mark.parametrize('malicious', ['zip'], indirect=True)
def test_malicious_file_is_refused_by_a_run(images, tmp_path, malicious, resume):
    config = make_config(images, tmp_path / 'run', resume=resume)
    config.load_from = str(malicious)
    with pytest.raises(ValueError, match='could execute code'):
        train(config)
    if resume:  # found by --resume without a value
        config.load_from = None
        (tmp_path / 'run').mkdir(exist_ok=True)
        point_to(tmp_path / 'run', str(malicious))
        with pytest.raises(ValueError, match='could execute code'):
            train(config)
    else:
        config.test_dataloader = config.val_dataloader
        config.test_evaluator, config.test_cfg = config.val_evaluator, dict()
        with pytest.raises(ValueError, match='could execute code'):
            build(config).test()


@pytest.mark.slow
@pytest.mark.parametrize('malicious', ['zip'], indirect=True)
@pytest.mark.parametrize(
    'tool', ['train.py --resume', 'train.py --cfg-options load_from=', 'test.py']
)
def test_malicious_file_is_refused_by_the_tools(images, tmp_path, malicious, tool):
    config = make_config(images, tmp_path / 'run')
    config.test_dataloader = config.val_dataloader
    config.test_evaluator, config.test_cfg = config.val_evaluator, dict()
    config.dump(tmp_path / 'config.py')
    name, *options = tool.split()
    joined = options and options[-1].endswith('=')
    options = [*options[:-1], options[-1] + str(malicious)] if joined else options
    command = [sys.executable, TOOLS / name, tmp_path / 'config.py', *options]
    command += [] if joined else [malicious]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert done.returncode != 0
    assert 'could execute code' in done.stderr


def test_resume_does_not_run_a_config_from_the_checkpoint(tmp_path, victim):
    """mmengine's resume executes the text in meta['config']."""
    text = f'import os\nos.mkdir({str(victim)!r})'
    torch.save(dict(meta=dict(config=text, epoch=3)), tmp_path / 'a.pth')
    content = CheckpointLoader.load_checkpoint(str(tmp_path / 'a.pth'))
    assert content['meta'] == dict(epoch=3)


def test_attributes_of_a_dict_cannot_hide_what_is_in_it(tmp_path):
    """torch's reader gives an OrderedDict any attributes that a file has for it."""
    meta = OrderedDict(config='print("executed")', epoch=3)
    content = OrderedDict(meta=meta, state_dict=OrderedDict(w=torch.ones(1)))
    for part in (content, meta, content['state_dict']):
        part.get = part.values = getattr
    content['state_dict']._metadata = OrderedDict({'': dict(version=2)})
    torch.save(content, tmp_path / 'a.pth')
    loaded = read_checkpoint(tmp_path / 'a.pth')
    assert loaded['meta'] == dict(epoch=3) and loaded.get('nothing') is None
    assert list(loaded['state_dict'].items()) == [('w', torch.ones(1))]
    assert loaded['state_dict']._metadata[''] == dict(version=2)


def test_a_small_file_cannot_keep_the_reader_busy(tmp_path):
    value = [1]
    for _ in range(60):
        value = [value, value]
    cycle = []
    cycle.append((cycle, dict(inside=cycle)))
    torch.save(dict(meta=value, cycle=cycle), tmp_path / 'a.pth')
    loaded = read_checkpoint(tmp_path / 'a.pth')
    assert loaded['meta'][0] is loaded['meta'][1]
    assert loaded['cycle'][0][1]['inside'] is loaded['cycle']


def test_history_cannot_replace_methods(tmp_path):
    history = HistoryBuffer([1.0, 3.0], [1, 1])
    methods = dict(HistoryBuffer._statistics_methods)
    history.__dict__['max_length'] = 17
    HistoryBuffer._statistics_methods['mean'] = HistoryBuffer.min
    torch.save(dict(history=history), tmp_path / 'a.pth')
    HistoryBuffer._statistics_methods.update(methods)
    loaded = read_checkpoint(tmp_path / 'a.pth')['history']
    assert HistoryBuffer._statistics_methods == methods
    assert type(loaded) is HistoryBuffer and loaded.max_length == 17
    assert loaded.mean() == 2 and loaded.statistics('mean') == 2
    loaded.update(5.0)
    assert loaded.max() == 5


def test_every_scheme_has_a_safe_loader():
    for prefix, loader in CheckpointLoader._schemes.items():
        assert loader.__module__ == reading.__name__, prefix


def test_what_mmengine_keeps_is_read(tmp_path):
    hub = MessageHub.get_instance('what mmengine keeps')
    hub.update_scalar('train/loss', 0.5)
    hub.update_scalar('train/loss', torch.tensor(1.5))
    hub.update_info('best_score', np.float64(3))
    hub.update_info('keep_ckpt_ids', [1, 2])
    values = dict(
        message_hub=hub.state_dict(),
        arrays=[np.arange(3), np.ones((2, 2), np.float32), np.array(['a', 'bc'])],
        scalars=(np.float32(1), np.int64(2), np.bool_(True)),
        weights=OrderedDict(w=torch.ones(2)),
    )
    torch.save(values, tmp_path / 'a.pth')
    loaded = read_checkpoint(tmp_path / 'a.pth')
    assert loaded['scalars'] == values['scalars']
    for one, other in zip(loaded['arrays'], values['arrays']):
        np.testing.assert_array_equal(one, other)
    other = MessageHub.get_instance('another hub')
    other.load_state_dict(loaded['message_hub'])
    assert other.get_scalar('train/loss').mean() == 1.0
    assert other.get_info('best_score') == 3


def test_every_flipped_bit_is_seen_or_changes_nothing(tmp_path):
    rng = np.random.default_rng(0)
    whole = dict(
        meta=dict(epoch=3, text='a' * 50),
        state_dict=dict(w=torch.arange(400.0), b=torch.arange(7)),
        message_hub=dict(h=HistoryBuffer([1.0, 2.0], [1, 1])),
        optimizer=dict(state={0: dict(exp_avg=torch.ones(400))}),
    )
    path = tmp_path / 'a.pth'
    torch.save(whole, path)
    data = path.read_bytes()
    refused = 0
    readers = (read_checkpoint, partial(read_checkpoint, mmap=True))
    for place in rng.choice(8 * len(data), 400, replace=False):
        damaged = bytearray(data)
        damaged[place // 8] ^= 1 << (place % 8)
        path.write_bytes(damaged)
        for read in readers:
            try:
                loaded = read(path)
            except ValueError as error:
                refused += 1
                assert str(path) in str(error)
                continue
            assert torch.equal(loaded['state_dict']['w'], whole['state_dict']['w'])
            assert torch.equal(loaded['state_dict']['b'], whole['state_dict']['b'])
            moment = loaded['optimizer']['state'][0]['exp_avg']
            assert torch.equal(moment, torch.ones(400)) and loaded['meta']['epoch'] == 3
    assert refused > 400  # padding and dates may change
    path.write_bytes(data)
    assert read_checkpoint(path)['meta'] == whole['meta']


def test_no_flipped_bit_of_the_table_of_members_changes_a_tensor():
    """One calls a member a folder: torch then reads nothing in its place."""
    file = io.BytesIO()
    torch.save(dict(w=torch.arange(1.0, 5.0)), file)
    data = file.getvalue()
    name = data.rindex(b'/data/0')
    begin = data.rindex(b'PK\1\2', 0, name)
    refused = 0
    for place in range(8 * begin, 8 * (name + 7)):
        damaged = bytearray(data)
        damaged[place // 8] ^= 1 << (place % 8)
        try:
            loaded = read_checkpoint(io.BytesIO(damaged))
        except ValueError:
            refused += 1
            continue
        assert loaded['w'].tolist() == [1, 2, 3, 4], place - 8 * begin
    assert refused > 100


def test_a_file_whose_sums_are_wrong_is_no_good_checkpoint(tmp_path):
    save_state(tmp_path / 'epoch_1.pth', big=torch.arange(1000.0))
    os.utime(tmp_path / 'epoch_1.pth', (1, 1))
    save_state(tmp_path / 'epoch_2.pth', big=torch.arange(1000.0))
    data = bytearray((tmp_path / 'epoch_2.pth').read_bytes())
    data[data.index(torch.arange(500.0, 510.0).numpy().tobytes())] ^= 1
    (tmp_path / 'epoch_2.pth').write_bytes(data)
    assert last_good_checkpoint(tmp_path) == tmp_path / 'epoch_1.pth'
    for read in (read_checkpoint, partial(read_checkpoint, mmap=True)):
        with pytest.raises(ValueError, match=r'damaged.*checksum.*epoch_1'):
            read(tmp_path / 'epoch_2.pth')
    with pytest.raises(ValueError, match='checksum'):
        read_checkpoint(io.BytesIO(data))


def test_a_packed_member_is_refused(tmp_path):
    save_state(tmp_path / 'a.pth')
    with (
        zipfile.ZipFile(tmp_path / 'a.pth') as source,
        zipfile.ZipFile(tmp_path / 'b.pth', 'w', zipfile.ZIP_DEFLATED) as out,
    ):
        for name in source.namelist():
            out.writestr(name, source.read(name))
    with pytest.raises(ValueError, match=r'b\.pth.*is compressed'):
        read_checkpoint(tmp_path / 'b.pth')


HARMLESS = dict(
    config=ConfigDict(a=1, b=ConfigDict(c=[1])),
    default=defaultdict(list, a=[1]),
    queue=deque([1, 2], maxlen=3),
    path=Path('/a/b'),
    empty=np.empty(0),
    empty_rows=np.zeros((0, 3), np.float32),
    by_columns=np.arange(6).reshape(2, 3).T,
    other_order=np.arange(3, dtype='>i4'),
    texts=np.array(['a', 'b\u00e4']),
    bytes=np.array([b'a', b'xyz']),
    no_texts=np.array([], 'U3'),
    objects=np.array([1, None, 'x', 2.5], object),
    half=np.float16(2),
    complex=np.array([1 + 2j]),
    truth=np.array([True, False]),
    text=np.str_('abc'),
    dtype=np.dtype('f4'),
    frozen=frozenset([1, 2]),
    slice=slice(1, 2),
    range=range(3),
    time=datetime.datetime(2020, 1, 2, 3),
    no_bytes=b'',
    some_bytes=b'abc',
    numbers=(1j, 10**30, {1, 2}, bytearray(b'x')),
    torch=(torch.Size([2]), torch.float32, torch.device('cpu')),
)
AS_PLAIN = dict(queue=[1, 2])


@pytest.mark.parametrize('name', HARMLESS)
def test_harmless_content_is_read(tmp_path, name):
    value, expected = HARMLESS[name], AS_PLAIN.get(name, HARMLESS[name])
    torch.save(dict(value=value, inside=[(value,)]), tmp_path / 'a.pth')
    loaded = read_checkpoint(tmp_path / 'a.pth')
    for found in (loaded['value'], loaded['inside'][0][0]):
        if isinstance(expected, np.ndarray):
            assert found.dtype == expected.dtype
            np.testing.assert_array_equal(found, expected)
        else:
            assert found == expected


def test_namespaces_and_empty_histories_are_read(tmp_path):
    args = Namespace(lr=1.0, sizes=[np.ones(2)])
    torch.save(dict(args=args, history=HistoryBuffer()), tmp_path / 'a.pth')
    loaded = read_checkpoint(tmp_path / 'a.pth')
    assert loaded['args']['lr'] == 1 and loaded['args']['sizes'][0].tolist() == [1, 1]
    assert len(loaded['history'].data[0]) == 0


class Crafted:
    """An array whose pickle says something else than NumPy would write."""

    def __init__(self, shape, dtype, data):
        self.shape, self.dtype, self.data = shape, dtype, data

    def __reduce__(self):
        core = getattr(np, '_core', None) or np.core
        state = (1, self.shape, self.dtype, False, self.data)
        return core.multiarray._reconstruct, (np.ndarray, (0,), b'b'), state


class CraftedDtype:
    def __init__(self, name, state):
        self.name, self.state = name, state

    def __reduce__(self):
        return np.dtype, (self.name, False, True), self.state


@pytest.mark.parametrize(
    'value',
    [
        Crafted((2,), CraftedDtype('U4', (3, '<', None, None, None, -4, 4, 0)), b'x'),
        Crafted((2,), CraftedDtype('S4', (3, '|', None, None, None, -1, 1, 0)), b'xx'),
        Crafted((1,), CraftedDtype('U1', (3, '<', None, None, None, 2**30, 4, 0)), b''),
        Crafted(
            (1,), CraftedDtype('V8', (3, '|', None, ('a',), {}, 8, 1, 0)), b'x' * 8
        ),
        Crafted(
            (1,), CraftedDtype('f8', (3, '<', ('f8', (2,)), None, None, 8, 8, 0)), b''
        ),
        Crafted((10**9,), np.dtype('f8'), b'x' * 8),
        Crafted((-1, -1), np.dtype('f8'), b'x' * 8),
        Crafted((1,), np.dtype('f8'), 10**12),
        Crafted((1,), 'f8', b'x' * 8),
        Crafted((1,), np.dtype('O'), b'x' * 8),
        Crafted((1,), np.dtype('U1'), b'\xff' * 4),
    ],
)
def test_crafted_arrays_are_refused(tmp_path, value):
    torch.save(dict(a=value), tmp_path / 'a.pth')
    with pytest.raises(ValueError, match=r'a\.pth'):
        read_checkpoint(tmp_path / 'a.pth')


def test_truth_of_a_crafted_array_is_zero_or_one(tmp_path):
    value = Crafted((3,), np.dtype('?'), bytes([0, 1, 255]))
    torch.save(dict(a=value), tmp_path / 'a.pth')
    loaded = read_checkpoint(tmp_path / 'a.pth')['a']
    assert loaded.view(np.uint8).tolist() == [0, 1, 1]


_CORE = getattr(np, '_core', None) or np.core
#: What somebody registers to have torch read arrays.
OF_NUMPY = [
    *(_CORE.multiarray._reconstruct, np.ndarray),
    *(np.dtype, np.dtypes.Int64DType),
]


def test_reading_leaves_alone_what_others_registered(tmp_path):
    path = tmp_path / 'a.pth'
    torch.save(dict(a=np.arange(3)), path)
    before = torch.serialization.get_safe_globals()
    read_checkpoint(path)
    assert torch.serialization.get_safe_globals() == before
    with torch.serialization.safe_globals(OF_NUMPY):
        registered = set(torch.serialization.get_safe_globals())
        read_checkpoint(path)
        assert set(torch.serialization.get_safe_globals()) == registered
        assert type(torch.load(path, weights_only=True)['a']) is np.ndarray
    with pytest.raises(pickle.UnpicklingError):  # what is ours serves nobody else
        torch.load(path, weights_only=True)


def test_many_threads_read_at_a_time(tmp_path):
    path = tmp_path / 'a.pth'
    torch.save(dict(a=np.arange(3), h=HistoryBuffer([1.0], [1])), path)
    foreign = tmp_path / 'b.pth'
    torch.save(dict(a=np.arange(3)), foreign)

    def read(i):
        if i % 4:
            return read_checkpoint(path)['a'].tolist()
        return torch.load(foreign, weights_only=True)['a'].tolist()

    with torch.serialization.safe_globals(OF_NUMPY), ThreadPoolExecutor(4) as pool:
        assert list(pool.map(read, range(200))) == [[0, 1, 2]] * 200


class OfAnotherProject:
    value = 3


@pytest.mark.parametrize('scope', ['mmpretrain', 'mmengine'])
def test_other_projects_load_as_before(tmp_path, scope):
    path = str(tmp_path / 'a.pth')
    torch.save(dict(state_dict={}, extra=OfAnotherProject()), path)
    with pytest.raises(ValueError, match='could execute code'):
        CheckpointLoader.load_checkpoint(path)
    with stack_loading():  # the documented way out
        assert CheckpointLoader.load_checkpoint(path)['extra'].value == 3
    DefaultScope.get_instance(f'a run of {scope}', scope_name=scope)
    assert CheckpointLoader.load_checkpoint(path)['extra'].value == 3
    with safe_loading(), pytest.raises(ValueError, match='could execute code'):
        CheckpointLoader.load_checkpoint(path)
    DefaultScope.get_instance(f'ours after {scope}', scope_name='mmreid_gcl')
    with pytest.raises(ValueError, match='could execute code'):
        CheckpointLoader.load_checkpoint(path)


def save_state(path, **more):
    content = dict(meta={}, state_dict={}, message_hub={}, optimizer={}, **more)
    torch.save(content, path)


def test_damaged_file_names_itself_and_the_last_good_one(tmp_path):
    for name in ('epoch_1.pth', 'epoch_2.pth', 'epoch_3.pth'):
        save_state(tmp_path / name, big=torch.zeros(1000))
    torch.save(dict(state_dict={}), tmp_path / 'best.pth')  # weights alone
    os.utime(tmp_path / 'epoch_1.pth', (1, 1))
    damaged = tmp_path / 'epoch_3.pth'
    whole = damaged.read_bytes()
    for data in (b'', whole[:100], whole[: len(whole) // 2], whole[:-50], b'x' * 999):
        damaged.write_bytes(data)
        with pytest.raises(ValueError, match=r'is (damaged|no checkpoint)') as caught:
            read_checkpoint(damaged)
        assert str(damaged) in str(caught.value)
        assert f'last good checkpoint in its folder is {tmp_path / "epoch_2.pth"}' in (
            str(caught.value)
        )
    (tmp_path / 'epoch_2.pth').write_bytes(whole[:99])
    assert last_good_checkpoint(tmp_path) == tmp_path / 'epoch_1.pth'
    with pytest.raises(FileNotFoundError, match=r'epoch_9.*good.*epoch_1'):
        read_checkpoint(tmp_path / 'epoch_9.pth')


def test_not_a_dict(tmp_path):
    torch.save([1, 2], tmp_path / 'a.pth')
    with pytest.raises(ValueError, match='expected a dict of weights, got a list'):
        read_checkpoint(tmp_path / 'a.pth')


def test_download_is_kept_and_read_safely(tmp_path, monkeypatch, malicious):
    downloads = []

    def download(url, file, **_):
        downloads.append(url)
        Path(file).write_bytes(source.read_bytes())

    monkeypatch.setattr(torch.hub, 'download_url_to_file', download)
    monkeypatch.setattr(torch.hub, 'get_dir', lambda: str(tmp_path / 'hub'))
    source = tmp_path / 'good.pth'
    torch.save(dict(state_dict=dict(w=torch.ones(1))), source)
    for _ in range(2):
        loaded = CheckpointLoader.load_checkpoint('https://example.org/a/net.pth?v=1')
        assert loaded['state_dict']['w'] == 1
    loaded = CheckpointLoader.load_checkpoint('torchvision://resnet18')
    assert downloads[0] == 'https://example.org/a/net.pth?v=1'
    assert len(downloads) == 2 and 'resnet18' in downloads[1]
    source = malicious
    for address in ('http://example.org/b.pth', 'open-mmlab://resnet50_caffe'):
        with pytest.raises(ValueError, match='could execute code'):
            CheckpointLoader.load_checkpoint(address)
    with pytest.raises(ValueError, match='no model of this name'):
        CheckpointLoader.load_checkpoint('torchvision://resnet7')


def test_a_download_that_fails_says_what_to_do(tmp_path, monkeypatch):
    def offline(*_, **__):
        raise URLError('no network')

    monkeypatch.setattr(torch.hub, 'download_url_to_file', offline)
    monkeypatch.setattr(torch.hub, 'get_dir', lambda: str(tmp_path))
    with pytest.raises(ValueError, match=r'init_cfg\.checkpoint=FILE') as caught:
        CheckpointLoader.load_checkpoint('https://example.org/net.pth')
    assert str(tmp_path / 'checkpoints/net.pth') in str(caught.value)


def test_write_is_whole_or_not_at_all(tmp_path, monkeypatch):
    path = tmp_path / 'folder' / 'a.pth'
    write_atomically(path, b'old')

    def fail(*_):
        raise OSError(errno.ENOSPC, 'No space left on device')

    monkeypatch.setattr(os, 'fsync', fail)
    with pytest.raises(OSError, match='No space left'):
        write_atomically(path, b'new')
    assert path.read_bytes() == b'old'
    assert os.listdir(path.parent) == ['a.pth']
    monkeypatch.undo()
    write_atomically(path, b'new')
    assert path.read_bytes() == b'new'


def test_killed_while_writing(tmp_path):
    path = tmp_path / 'a.pth'
    write_atomically(path, b'old')
    pid = os.fork()
    if pid == 0:
        os.fsync = lambda _: os.kill(os.getpid(), signal.SIGKILL)
        write_atomically(path, b'new')
        os._exit(0)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == -signal.SIGKILL
    assert path.read_bytes() == b'old'
    assert len(os.listdir(tmp_path)) == 2
    remove_partial(tmp_path)
    assert os.listdir(tmp_path) == ['a.pth']


def test_disk_limit(tmp_path):
    """A real refusal of the system, in a process with a limit of its own."""
    save_state(tmp_path / 'epoch_1.pth')
    backend = get_file_backend(backend_args=dict(backend=ATOMIC))
    message = tmp_path / 'message'
    pid = os.fork()
    if pid == 0:
        resource.setrlimit(resource.RLIMIT_FSIZE, (10000, 10000))
        try:
            backend.put(bytes(20000), str(tmp_path / 'epoch_2.pth'))
        except OSError as error:
            message.write_text(str(error))
        os._exit(0)
    os.waitpid(pid, 0)
    text = message.read_text()
    assert 'could not be written' in text and 'epoch_2.pth' in text
    assert f'last good checkpoint in its folder is {tmp_path / "epoch_1.pth"}' in text
    assert sorted(os.listdir(tmp_path)) == ['epoch_1.pth', 'message']


def test_resume_refuses_what_is_not_of_this_run(images, tmp_path):
    config = make_config(images, tmp_path / 'run', **{'train_cfg.max_epochs': 1})
    runner = train(config)
    good = tmp_path / 'run' / 'epoch_1.pth'
    content = read_checkpoint(good)
    foreign = tmp_path / 'run' / 'foreign.pth'

    def refused(match, resume=True, **more):
        options = {'train_cfg.max_epochs': 2, **more}
        config = make_config(images, tmp_path / 'run', resume=resume, **options)
        config.load_from = str(foreign)
        with pytest.raises(ValueError, match=match) as caught:
            train(config)
        assert str(foreign) in str(caught.value)
        return str(caught.value)

    torch.save(content['state_dict'], foreign)
    message = refused('no checkpoint of a training run, it lacks meta, state_dict')
    assert f'last good checkpoint in its folder is {good}' in message
    other = dict(content, state_dict=OrderedDict(a=torch.ones(1)))
    torch.save(other, foreign)
    assert f'folder is {good}' in refused('belongs to another model: ')
    refused('fill 0% of the backbone.*Expected keys such as backbone', resume=False)
    neck = {k: v for k, v in content['state_dict'].items() if 'backbone' not in k}
    torch.save(dict(state_dict=neck), foreign)  # nothing of it says which backbone
    refused('fill 0% of the backbone', resume=False)
    reshaped = OrderedDict(content['state_dict'])
    reshaped['relation_neck.theta.0.weight'] = torch.ones(3, 3)
    name = next(k for k in reshaped if k.startswith('relation_neck') and '.' in k)
    reshaped.pop('relation_neck.theta.0.weight')
    reshaped[name] = torch.ones(7)
    torch.save(dict(content, state_dict=reshaped), foreign)
    refused(
        f'1 of {len(content["state_dict"])} weights do not fit.* has shape \\(7,\\)'
    )
    # weights of a part are welcome to start from, but not to test
    config = make_config(images, tmp_path / 'run')
    config.load_from = str(foreign)
    config.test_dataloader = config.val_dataloader
    config.test_evaluator, config.test_cfg = config.val_evaluator, dict()
    with pytest.raises(ValueError, match='belongs to another model'):
        build(config).test()
    assert runner.iter == 4
    # the rule of ReIDInferencer: a classifier is left out, another layer refused
    whole = content['state_dict']
    torch.save(dict(state_dict={**whole, 'gate.weight': torch.ones(1)}), foreign)
    with pytest.raises(ValueError, match=r'gate\.weight is not in it'):
        build(config).test()
    torch.save(dict(state_dict={**whole, 'head.fc.weight': torch.ones(1)}), foreign)
    assert 'reid/mAP' in build(config).test()


def test_outdated_checkpoints_go_after_the_new_one_is_there(images, tmp_path):
    """With max_keep_ckpts=1 mmengine deletes the only one first."""
    config = make_config(
        images, tmp_path, **{'default_hooks.checkpoint.max_keep_ckpts': 1}
    )
    seen = []

    def watch(self, runner, checkpoint):
        seen.append(sorted(path.name for path in tmp_path.glob('*.pth')))

    runner = build(config)
    hook = type('Watch', (type(runner.hooks[0]),), {'before_save_checkpoint': watch})
    runner.register_hook(hook())
    runner.train()
    assert seen == [[], ['epoch_1.pth'], ['epoch_2.pth']]
    assert [path.name for path in tmp_path.glob('*.pth')] == ['epoch_3.pth']
    pointer = (tmp_path / 'last_checkpoint').read_text()
    assert pointer == str(tmp_path / 'epoch_3.pth')


def test_weights_to_use_hold_nothing_to_go_on_from(images, tmp_path):
    """Epochs of 4 batches, steps of 3: a gradient waits when the best are saved."""
    options = {'optim_wrapper.accumulative_counts': 3, 'train_cfg.max_epochs': 2}
    options['default_hooks.checkpoint.save_best'] = 'reid/mAP'
    train(make_config(images, tmp_path, **options))
    assert 'gradients' in read_checkpoint(tmp_path / 'epoch_1.pth')
    (best,) = tmp_path.glob('best_*.pth')
    content = read_checkpoint(best)
    assert not {'gradients', 'optimizer'} & content.keys()
    assert best.stat().st_size < 1.2 * sum(
        value.nbytes for value in content['state_dict'].values()
    )
