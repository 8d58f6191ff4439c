# SPDX-License-Identifier: Apache-2.0
"""One training writes into a work dir, and its last checkpoint is found."""

import errno
import fcntl
import os
import shutil
import signal
import socket
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest
from mmengine.fileio import get_file_backend

from mmreid_gcl.engine.checkpoint_files import ATOMIC
from mmreid_gcl.files import remove_partial, write_atomically
from mmreid_gcl.work_dir import (
    WorkDirError,
    claim,
    holder,
    last_checkpoint,
    point_to,
    release,
)

from . import processes, tiny_training
from .tiny_training import (
    build,
    differences,
    disturbed,
    make_config,
    outcome,
    train,
)


@contextmanager
def process(work):
    """A process that has done ``work`` and lives on; yields its pid."""
    ready, done = os.pipe()
    pid = os.fork()
    if pid == 0:
        with suppress(BaseException):
            work()
            os.write(done, b'x')
            signal.pause()
        os._exit(1)
    os.close(done)
    assert os.read(ready, 1) == b'x'
    try:
        yield pid
    finally:
        kill(pid)
        os.close(ready)


def kill(pid):
    with suppress(ChildProcessError, ProcessLookupError):
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)


def forked(work):
    """The exit code of ``work`` in a process of its own."""
    pid = os.fork()
    if pid == 0:
        try:
            work()
        except WorkDirError:
            os._exit(2)
        finally:
            os._exit(0)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def test_a_folder_has_one_training_until_that_dies(tmp_path):
    orphan = []
    note = tmp_path / 'worker'

    def claim_and_fork():
        claim(tmp_path)
        pid = os.fork()  # as a loading process, which has the file open too
        if pid == 0:
            signal.pause()
        note.write_text(str(pid))

    assert holder(tmp_path) is None
    with process(claim_and_fork) as pid:
        orphan.append(int(note.read_text()))
        with pytest.raises(WorkDirError) as caught:
            claim(tmp_path)
        who = f'(pid {pid} on {socket.gethostname()} since 20'
        for part in (str(tmp_path), who, '--work-dir'):
            assert part in str(caught.value)
        assert f'pid {pid} ' in holder(tmp_path)
        kill(pid)
        os.kill(orphan[0], 0)  # it lives and does not matter
        assert holder(tmp_path) is None
        claim(tmp_path)
        claim(tmp_path)
    assert forked(lambda: claim(tmp_path / 'other')) == 0
    release()
    os.kill(orphan[0], signal.SIGKILL)


def test_a_second_training_is_refused_before_it_touches_anything(images, tmp_path):
    run = tmp_path / 'run'
    run.mkdir()
    point_to(run, 'nothing')
    (run / '.epoch_1.pth.partial').write_text('half')

    with process(lambda: claim(run)) as pid:
        before = {path: path.read_bytes() for path in run.iterdir()}
        with pytest.raises(WorkDirError, match=f'another training .*pid {pid} '):
            train(make_config(images, run))
        for path, content in before.items():
            assert path.read_bytes() == content


@pytest.mark.parametrize('action', ['nan_loss', 'terminate'])
def test_a_training_that_ends_gives_the_folder_back(images, tmp_path, action):
    """Python goes on, as in a notebook."""
    config = disturbed(make_config(images, tmp_path), 'before_train_iter', 2, action)
    with pytest.raises((FloatingPointError, SystemExit)):
        train(config)
    assert forked(lambda: claim(tmp_path)) == 0


def test_two_trainings_never_write_together(images, tmp_path, monkeypatch):
    """The folder is held from before the checkpoint is read to the last write."""
    config = make_config(images, tmp_path, **{'train_cfg.max_epochs': 1})
    disturbed(config, 'after_train_iter', 2, 'look')
    seen = []

    def look(runner):
        seen.append(forked(lambda: claim(tmp_path)))

    monkeypatch.setattr(tiny_training, 'look', look, raising=False)
    train(config)
    assert seen == [2]


def _claim(rank, folder):
    try:
        claim(folder)
    except WorkDirError as error:
        return str(error)
    return None


def test_all_ranks_are_refused(tmp_path):
    with process(lambda: claim(tmp_path)):
        first, second = processes.run(_claim, tmp_path / 'meet', 2, str(tmp_path))
    assert first == second and 'another training' in first
    assert processes.run(_claim, tmp_path / 'again', 2, str(tmp_path)) == [None, None]


def test_a_file_system_without_locks(tmp_path, monkeypatch):
    def none(*_):
        raise OSError(errno.ENOLCK, 'No locks available')

    said = []
    monkeypatch.setattr(fcntl, 'lockf', none)
    monkeypatch.setattr(
        'mmreid_gcl.work_dir.print_log', lambda text, **_: said.append(text)
    )
    claim(tmp_path)
    release()
    assert 'no locks' in said[0] and str(tmp_path) in said[0]


def test_each_write_has_a_file_of_its_own(tmp_path, monkeypatch):
    names, replace = [], os.replace

    def noted(source, target):
        names.append(Path(source).name)
        replace(source, target)

    monkeypatch.setattr(os, 'replace', noted)
    for _ in range(2):
        write_atomically(tmp_path / 'a.pth', b'x')
    assert len(set(names)) == 2
    assert all(name.startswith(f'.a.pth.{os.getpid()}-') for name in names)
    assert os.listdir(tmp_path) == ['a.pth']


def test_what_a_live_process_writes_stays(tmp_path):
    def half():
        os.fsync = lambda _: None
        os.replace = lambda *_: (os.write(done, b'x'), signal.pause())
        write_atomically(tmp_path / 'a.pth', b'x')

    ready, done = os.pipe()
    pid = os.fork()
    if pid == 0:
        half()
    os.read(ready, 1)
    (partial,) = tmp_path.iterdir()
    remove_partial(tmp_path)
    assert partial.exists()
    kill(pid)
    remove_partial(tmp_path)
    assert not partial.exists()


def test_what_another_machine_writes_stays(tmp_path):
    """Its pid means nothing here; the lock of its file does."""
    dead = os.fork()
    if dead == 0:
        os._exit(0)
    os.waitpid(dead, 0)
    partial = tmp_path / f'.a.pth.{dead}-01234567.partial'

    def write():
        global file  # open as long as the process lives
        file = partial.open('wb')
        fcntl.lockf(file, fcntl.LOCK_EX)

    with process(write):
        remove_partial(tmp_path)
        assert partial.exists()
    remove_partial(tmp_path)
    assert not partial.exists()


@pytest.mark.parametrize(
    ('number', 'room'),
    [('ENOSPC', True), ('EDQUOT', True), ('EIO', False), ('ENOENT', False)],
)
def test_room_is_asked_for_where_it_is_missing(tmp_path, monkeypatch, number, room):
    def fail(*_):
        raise OSError(getattr(errno, number), 'It failed')

    monkeypatch.setattr(os, 'replace', fail)
    backend = get_file_backend(backend_args=dict(backend=ATOMIC))
    with pytest.raises(OSError, match='It failed') as caught:
        backend.put(b'x', str(tmp_path / 'a.pth'))
    assert ('Make room' in str(caught.value)) is room
    assert ('are free' in str(caught.value)) is room
    assert caught.value.errno == getattr(errno, number)
    assert os.listdir(tmp_path) == []


def test_the_checkpoint_of_a_moved_work_dir(tmp_path):
    old, new = tmp_path / 'old', tmp_path / 'new'
    old.mkdir()
    assert last_checkpoint(old) is None
    (old / 'epoch_1.pth').touch()
    point_to(old, str(old / 'epoch_1.pth'))
    assert last_checkpoint(old) == str(old / 'epoch_1.pth')
    shutil.copytree(old, new)
    # a copy goes on from its own file, and so does one whose origin is gone
    assert last_checkpoint(new) == str(new / 'epoch_1.pth')
    shutil.rmtree(old)
    assert last_checkpoint(new) == str(new / 'epoch_1.pth')
    point_to(new, 's3://bucket/epoch_1.pth')
    assert last_checkpoint(new) == 's3://bucket/epoch_1.pth'
    elsewhere = tmp_path / 'epoch_2.pth'  # out_dir of the hook
    elsewhere.touch()
    point_to(new, str(elsewhere))
    assert last_checkpoint(new) == str(elsewhere)


@pytest.mark.parametrize(
    ('content', 'problem'),
    [
        (b'', 'it is empty'),
        (b' \n', 'it is empty'),
        (b'\x00\xff\x80PK\x03', 'it holds no path'),
        (b'x' * 5000, 'it names x'),
        (b'/gone/epoch_9.pth', 'names /gone/epoch_9.pth, which is neither there nor'),
    ],
)
def test_a_pointer_that_names_nothing(images, tmp_path, content, problem):
    (tmp_path / 'last_checkpoint').write_bytes(content)
    with pytest.raises(WorkDirError, match=problem) as caught:
        last_checkpoint(tmp_path)
    assert str(caught.value).startswith(f'{tmp_path / "last_checkpoint"}: ')
    assert '--resume FILE' in str(caught.value)
    if content == b'':
        with pytest.raises(WorkDirError, match=problem):
            train(make_config(images, tmp_path, resume=True))
        release()


def test_a_moved_run_goes_on_in_its_new_folder(images, reference, tmp_path):
    """It neither reads nor deletes what is in the old one."""
    old, new = tmp_path / 'old', tmp_path / 'new'
    options = {'default_hooks.checkpoint.save_best': 'reid/mAP'}
    config = make_config(images, old, **options)
    with pytest.raises(SystemExit):
        train(disturbed(config, 'before_train_iter', 6, 'terminate'))
    shutil.copytree(old, new)
    for path in old.glob('*.pth'):
        path.write_text('of the old run')
    files = sorted(old.iterdir())
    runner = build(make_config(images, new, resume=True, **options))
    hook = next(h for h in runner.hooks if hasattr(h, 'best_ckpt_path'))
    runner.train()
    assert sorted(old.iterdir()) == files
    assert Path(hook.best_ckpt_path).parent == new
    assert len(list(new.glob('best_*.pth'))) == 1
    assert differences(outcome(new)['state_dict'], reference['state_dict']) == []
