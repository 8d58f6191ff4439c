# SPDX-License-Identifier: Apache-2.0
"""Stopped, starved, short of disk: training ends clearly and can go on."""

import copy
import errno
import os
import shutil
import signal
import threading
import time
from types import SimpleNamespace

import pytest
import torch
from mmengine import dist
from torch.utils.data import DataLoader

from mmreid_gcl.checkpoint import read_checkpoint
from mmreid_gcl.engine import (
    EXIT_PREEMPTED,
    FiniteLossHook,
    MixedPrecisionOptimWrapper,
    Preempted,
    PseudoLabelHook,
)
from mmreid_gcl.engine.loops.resumable_train_loop import _cause
from mmreid_gcl.engine.signals import StopSignals
from mmreid_gcl.processes import Vote, highest, share_failure, together
from mmreid_gcl.visualization import read_scalars
from mmreid_gcl.work_dir import starts

from . import processes
from .tiny_training import (
    differences,
    disturbed,
    finish,
    log,
    make_config,
    outcome,
    run,
    start,
    train,
)


def test_the_cause_behind_a_worker_that_fails():
    """All lines of the last error, and none of the traceback."""

    class Fails:
        def __len__(self):
            return 1

        def __getitem__(self, i):
            try:
                raise KeyError('inner')
            except KeyError as error:
                raise ValueError(
                    'OpenCV: (-5)\n> Overload failed:\n> why\n)'
                ) from error

    with pytest.raises(ValueError) as caught:
        list(DataLoader(Fails(), num_workers=1))
    assert _cause(caught.value) == 'ValueError: OpenCV: (-5) > Overload failed: > why )'
    assert _cause(OSError('a\nb')) == 'a b'
    assert _cause(OSError()) == 'OSError'


@pytest.fixture(autouse=True)
def in_a_terminal():
    """Not as a shell starts tests in the background, where SIGINT is ignored."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


def stop_and_resume(images, work_dir, stops, **options):
    """Ask to stop at each of the points, then let it finish."""
    for turn, (point, count) in enumerate(stops):
        config = make_config(images, work_dir, resume=turn > 0, **options)
        with pytest.raises(Preempted) as caught:
            train(disturbed(config, point, count, 'terminate'))
        assert caught.value.code == EXIT_PREEMPTED == 75
    train(make_config(images, work_dir, resume=True, **options))


def test_stopped_inside_an_epoch(images, reference, tmp_path, monkeypatch):
    clusterings = []
    make_labels = PseudoLabelHook.make_labels

    def counted(self, runner, *args):
        clusterings.append(runner.epoch)
        make_labels(self, runner, *args)

    monkeypatch.setattr(PseudoLabelHook, 'make_labels', counted)
    config = make_config(images, tmp_path)
    with pytest.raises(Preempted, match='SIGTERM'):
        train(disturbed(config, 'before_train_iter', 6, 'terminate'))
    content = read_checkpoint(tmp_path / 'interrupted.pth')
    # the step during which the signal came was finished
    assert content['meta']['epoch'] == 1 and content['meta']['iter'] == 6
    assert content['position'] == dict(
        batch=2, inside_epoch=True, num_batches=4, validation_owed=False
    )
    assert (tmp_path / 'last_checkpoint').read_text().endswith('interrupted.pth')
    # again in the same epoch, and to the end
    config = make_config(images, tmp_path, resume=True)
    with pytest.raises(Preempted):
        train(disturbed(config, 'before_train_iter', 1, 'terminate'))
    assert read_checkpoint(tmp_path / 'interrupted.pth')['position']['batch'] == 3
    train(make_config(images, tmp_path, resume=True))
    assert differences(outcome(tmp_path), reference) == []
    assert clusterings == [0, 1, 2], 'an interrupted epoch keeps its labels'
    assert not (tmp_path / 'interrupted.pth').exists()


def test_sigint_stops_as_sigterm_does(images, reference, tmp_path):
    config = disturbed(
        make_config(images, tmp_path), 'before_train_iter', 6, 'interrupt'
    )
    with pytest.raises(Preempted, match='SIGINT') as caught:
        train(config)
    assert caught.value.code == EXIT_PREEMPTED
    assert read_checkpoint(tmp_path / 'interrupted.pth')['meta']['iter'] == 6
    train(make_config(images, tmp_path, resume=True))
    assert differences(outcome(tmp_path), reference) == []


def test_a_second_sigint_ends_at_once(capfd):
    with StopSignals(['SIGTERM', 'SIGINT']) as stop:
        os.kill(os.getpid(), signal.SIGTERM)
        os.kill(os.getpid(), signal.SIGINT)
        assert stop.received == 'SIGINT'
        assert 'again' in capfd.readouterr().err
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), signal.SIGINT)


def test_what_a_shell_ignores_stays_ignored():
    """SIGINT in the background, SIGHUP under nohup; SIGTERM is for the run."""
    names = ['SIGINT', 'SIGHUP', 'SIGTERM']
    numbers = [getattr(signal, name) for name in names]
    before = [signal.signal(number, signal.SIG_IGN) for number in numbers]
    try:
        with StopSignals(names) as stop:
            for number in numbers:
                os.kill(os.getpid(), number)
                assert stop.received == ('SIGTERM' if number == numbers[2] else None)
        assert [signal.getsignal(n) for n in numbers] == [signal.SIG_IGN] * 3
    finally:
        for number, handler in zip(numbers, before):
            signal.signal(number, handler)


def test_stopped_between_steps_of_the_optimiser(images, tmp_path):
    """Epochs of 4 batches, steps of 3: gradients and updates are kept."""
    options = {'optim_wrapper.accumulative_counts': 3}
    train(make_config(images, tmp_path / 'whole', **options))
    stops = [('before_train_iter', 2), ('before_val_epoch', 1)]
    stop_and_resume(images, tmp_path / 'parts', stops, **options)
    assert not differences(outcome(tmp_path / 'parts'), outcome(tmp_path / 'whole'))


@pytest.mark.parametrize('interval', [1, 3])
def test_stopped_between_epochs(images, reference, tmp_path, interval):
    """With interval=3 the state of these points is in no checkpoint yet."""
    stops = [('before_val_epoch', 1), ('before_train_epoch', 1)]
    options = {'default_hooks.checkpoint.interval': interval}
    stop_and_resume(images, tmp_path, stops, **options)
    assert differences(outcome(tmp_path), reference) == []


def test_stopped_after_the_last_epoch(images, reference, tmp_path):
    """Hooks may embed and cluster once more there; the last checkpoint is written."""
    stop_and_resume(images, tmp_path, [('after_train', 1)])
    assert differences(outcome(tmp_path), reference) == []


@pytest.mark.parametrize('action', ['terminate_group', 'interrupt_group'])
def test_stop_of_the_whole_job(images, reference, tmp_path, action):
    """The cluster's SIGTERM, or Ctrl-C, reaches the workers; the step is finished."""
    options = dict(workers=2, persistent=True)
    config = make_config(images, tmp_path, **options)
    assert run(disturbed(config, 'before_train_iter', 6, action)) == 75
    assert 'Exit code 75' in log(config)
    assert run(make_config(images, tmp_path, resume=True, **options)) == 0
    assert differences(outcome(tmp_path), reference) == []


def test_checkpoints_inside_an_epoch(images, reference, tmp_path):
    """by_epoch=False: a kill costs the iterations since the last one."""
    options = {'default_hooks.checkpoint.by_epoch': False}
    options['default_hooks.checkpoint.interval'] = 3
    config = disturbed(make_config(images, tmp_path, **options), 'after_train_iter', 7)
    assert run(config) == -9
    assert (tmp_path / 'last_checkpoint').read_text().endswith('iter_6.pth')
    train(make_config(images, tmp_path, resume=True, **options))
    content = read_checkpoint(tmp_path / 'iter_12.pth')
    assert not differences(content['state_dict'], reference['state_dict'])
    scalars = read_scalars(tmp_path)
    assert [path.parts[-3] for path in scalars.files] == starts(tmp_path)
    for name, (epochs, _) in scalars.series.items():
        if name.startswith('pseudo_labels/') and 'stability' not in name:
            assert epochs.tolist() == [1, 2, 3], name
    assert 'pseudo_labels/clusters' in scalars.series


def test_scalars_of_an_interrupted_epoch(images, tmp_path):
    """They are in the curves of a resumed run whose earlier log is gone."""
    options = {'default_hooks.checkpoint.by_epoch': False}
    options['default_hooks.checkpoint.interval'] = 1
    hook = dict(type='LabelFreeBestHook')
    config = make_config(images, tmp_path, **options)
    config.custom_hooks.append(hook)
    assert run(disturbed(config, 'after_train_iter', 7)) == -9
    (log_before,) = tmp_path.glob('*/vis_data/scalars.json')
    before = read_scalars(log_before).series
    shutil.rmtree(log_before.parents[1])
    config = make_config(images, tmp_path, resume=True, **options)
    config.custom_hooks.append(hook)
    train(config)
    after = read_scalars(tmp_path).series
    names = [name for name in before if name.startswith('pseudo_labels/')]
    assert {'clusters', 'label_free_score'} <= {n.split('/')[1] for n in names}
    for name in names:
        epochs, values = (part.tolist() for part in after[name])
        assert epochs[:2] == [2, 3], name
        assert values[0] == before[name][1][before[name][0] == 2], name
    lines = next(tmp_path.glob('*/vis_data/scalars.json')).read_text().splitlines()
    again = [line for line in lines if '"pseudo_labels/clusters"' in line]
    assert len(again) == len(after['pseudo_labels/clusters'][0])


def test_epoch_of_another_length_is_refused(images, tmp_path):
    config = make_config(images, tmp_path)
    with pytest.raises(Preempted):
        train(disturbed(config, 'before_train_iter', 2, 'terminate'))
    options = {'train_dataloader.sampler.num_batches': 5}
    with pytest.raises(ValueError, match=r'after batch 2 of 4 .* now has 5 batches'):
        train(make_config(images, tmp_path, resume=True, **options))


@pytest.mark.parametrize('action', ['nan_loss', 'infinite_loss'])
def test_loss_that_is_not_finite(images, reference, tmp_path, action):
    config = disturbed(make_config(images, tmp_path), 'before_train_iter', 6, action)
    with pytest.raises(FloatingPointError, match=r'epoch 2, iteration 6 .* (nan|inf)'):
        train(config)
    content = read_checkpoint(tmp_path / 'before_nonfinite_loss.pth')
    assert content['meta']['iter'] == 5
    assert all(value.isfinite().all() for value in content['state_dict'].values())
    assert (tmp_path / 'last_checkpoint').read_text().endswith('epoch_1.pth')
    # the step can be repeated: statistics and memories are as before it
    config = make_config(images, tmp_path, resume=True)
    config.load_from = str(tmp_path / 'before_nonfinite_loss.pth')
    train(config)
    assert differences(outcome(tmp_path), reference) == []


def test_loss_that_is_not_finite_inside_an_accumulated_gradient(images, tmp_path):
    options = {'optim_wrapper.accumulative_counts': 3}
    train(make_config(images, tmp_path / 'whole', **options))
    config = make_config(images, tmp_path / 'parts', **options)
    with pytest.raises(FloatingPointError, match='iteration 6'):
        train(disturbed(config, 'before_train_iter', 6, 'nan_loss'))
    config = make_config(images, tmp_path / 'parts', resume=True, **options)
    config.load_from = str(tmp_path / 'parts' / 'before_nonfinite_loss.pth')
    train(config)
    assert not differences(outcome(tmp_path / 'parts'), outcome(tmp_path / 'whole'))


def test_a_batch_with_values_that_are_not_finite(images, tmp_path):
    """It spoils running statistics too; what is saved has those from before."""
    config = disturbed(
        make_config(images, tmp_path), 'before_train_iter', 6, 'spoil_inputs'
    )
    with pytest.raises(FloatingPointError, match=r'The weights before this step'):
        train(config)
    content = read_checkpoint(tmp_path / 'before_nonfinite_loss.pth')
    assert all(value.isfinite().all() for value in content['state_dict'].values())


def test_weights_that_are_not_finite(images, tmp_path):
    config = make_config(images, tmp_path)
    disturbed(config, 'before_train_iter', 6, 'spoil_weights')
    with pytest.raises(FloatingPointError, match=r'not finite either.*epoch_1\.pth'):
        train(config)
    assert not (tmp_path / 'before_nonfinite_loss.pth').exists()


def test_scaler_may_skip_some_losses(tmp_path):
    scaler = SimpleNamespace(is_enabled=lambda: True)
    runner = SimpleNamespace(
        optim_wrapper=SimpleNamespace(loss_scaler=scaler),
        epoch=0,
        iter=0,
        work_dir=str(tmp_path),
        model=torch.nn.Linear(1, 1),
        save_checkpoint=lambda *args, **kwargs: None,
    )
    hook = FiniteLossHook(patience=2)
    bad, good = torch.tensor(float('nan')), torch.tensor(1.0)
    for loss in (bad, bad, good, bad, bad):
        hook._check(runner, loss)
    with pytest.raises(FloatingPointError, match='3 in a row'):
        hook._check(runner, bad)
    with pytest.raises(ValueError, match='patience'):
        FiniteLossHook(patience=-1)


class _Overflowing:
    """A model with a batch norm, the real hook and the real scaler of float16."""

    def __init__(self, work_dir, **kwargs):
        torch.manual_seed(0)
        self.model = torch.nn.Sequential(
            torch.nn.Linear(3, 4), torch.nn.BatchNorm1d(4), torch.nn.Linear(4, 1)
        )
        optimizer = torch.optim.SGD(self.model.parameters(), lr=1e-3)
        self.optim = MixedPrecisionOptimWrapper('float16', optimizer=optimizer)
        self.saved = {}
        self.runner = SimpleNamespace(
            optim_wrapper=self.optim,
            epoch=0,
            iter=0,
            work_dir=str(work_dir),
            model=self.model,
            save_checkpoint=lambda folder, name, **_: self.saved.update(
                {name: copy.deepcopy(self.model.state_dict())}
            ),
        )
        self.hook = FiniteLossHook(**kwargs)
        self.hook.before_train(self.runner)

    def step(self, scale):
        self.hook.before_train_iter(self.runner, 0)
        images = scale * torch.randn(8, 3)
        with self.optim.optim_context(self.model):
            loss = self.model(images).square().mean()
        self.optim.update_params(loss)
        return bool(loss.isfinite())

    def is_finite(self):
        self.model.eval()
        good = self.model(torch.ones(2, 3)).isfinite().all()
        self.model.train()
        return bool(good)


def test_running_statistics_survive_an_overflow(tmp_path):
    training = _Overflowing(tmp_path)
    assert training.step(1)
    before = copy.deepcopy(training.model.state_dict())
    assert not training.step(1e30)  # skipped by the scaler
    assert not differences(dict(training.model.state_dict()), dict(before))
    assert training.is_finite()
    assert training.step(1) and training.is_finite()
    norm = training.model[1]
    assert norm.num_batches_tracked == 2
    assert not torch.equal(norm.running_mean, before['1.running_mean'])


def test_finite_weights_are_saved_when_patience_ends(tmp_path):
    training = _Overflowing(tmp_path, patience=2)
    assert training.step(1)
    for _ in range(2):
        assert not training.step(1e30)
    with pytest.raises(FloatingPointError, match=r'3 in a row.*weights before this'):
        training.step(1e30)
    (state,) = training.saved.values()
    assert all(value.isfinite().all() for value in state.values())


def test_full_disk(images, reference, tmp_path, monkeypatch):
    """The only checkpoint is still there, and the run goes on from it."""
    fsync, calls = os.fsync, []

    def full(handle):
        calls.append(handle)
        if os.fstat(handle).st_size > 50000 and len(calls) > 4:
            raise OSError(errno.ENOSPC, 'No space left on device')
        fsync(handle)

    monkeypatch.setattr(os, 'fsync', full)
    options = {'default_hooks.checkpoint.max_keep_ckpts': 1}
    with pytest.raises(OSError, match=r'No space left .*folder is .*epoch_1.*epoch_2'):
        train(make_config(images, tmp_path, **options))
    assert [path.name for path in tmp_path.glob('*.pth')] == ['epoch_1.pth']
    monkeypatch.undo()
    train(make_config(images, tmp_path, resume=True, **options))
    assert differences(outcome(tmp_path), reference) == []


@pytest.mark.parametrize(
    ('point', 'workers'),
    [('before_train_iter', 0), ('before_train_iter', 1), ('after_val_epoch', 0)],
)
def test_images_deleted(images, reference, tmp_path, point, workers):
    """While batches are loaded, and while the set is embedded."""
    shutil.copytree(images, tmp_path / 'data')
    config = make_config(tmp_path / 'data', tmp_path / 'run', workers)
    if workers:
        # The loop has the batch after the step's, the worker is at the one after
        # that: the fourth is begun when the images are gone. Two workers could have
        # all four before.
        config.train_dataloader.prefetch_factor = 1
    disturbed(config, point, 5 if 'iter' in point else 1, 'hide_images')
    with pytest.raises(RuntimeError, match=r'bounding_box_train.*cannot be read'):
        train(config)
    pointer = (tmp_path / 'run' / 'last_checkpoint').read_text()
    assert pointer.endswith('interrupted.pth' if 'iter' in point else 'epoch_1.pth')
    (tmp_path / 'data' / 'hidden').rename(tmp_path / 'data' / 'bounding_box_train')
    train(make_config(tmp_path / 'data', tmp_path / 'run', workers, resume=True))
    assert differences(outcome(tmp_path / 'run'), reference) == []


@pytest.mark.parametrize('persistent', [False, True])
def test_worker_killed(images, reference, tmp_path, persistent):
    options = dict(workers=2, persistent=persistent)
    config = make_config(images, tmp_path, **options)
    disturbed(config, 'before_train_iter', 6, 'kill_worker')
    assert run(config) == 1
    assert 'lower num_workers' in log(config)
    content = read_checkpoint(tmp_path / 'interrupted.pth')
    assert content['position']['batch'] >= 2  # the step was finished
    assert run(make_config(images, tmp_path, resume=True, **options)) == 0
    assert differences(outcome(tmp_path), reference) == []


def test_unknown_signal():
    with pytest.raises(ValueError, match='SIGNONE'):
        StopSignals(['SIGTERM', 'SIGNONE'])


def test_handlers_come_back_and_children_can_be_ended():
    before = signal.getsignal(signal.SIGTERM)
    with StopSignals(['SIGTERM']) as stop:
        pid = os.fork()
        if pid == 0:
            time.sleep(60)
            os._exit(0)
        time.sleep(0.05)
        os.kill(pid, signal.SIGTERM)
        assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == -signal.SIGTERM
        assert stop.received is None
        with stop.at_once(False):
            os.kill(os.getpid(), signal.SIGTERM)
        assert stop.received == 'SIGTERM'
        with pytest.raises(SystemExit), stop.at_once():
            os.kill(os.getpid(), signal.SIGTERM)
    assert signal.getsignal(signal.SIGTERM) == before


def test_signals_in_another_thread():
    """Python allows handlers in the main thread alone; training works without."""
    entered = []

    def work():
        with StopSignals(['SIGTERM']) as stop:
            entered.append(stop.received)

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert entered == [None]


def test_one_process_agrees_with_itself():
    assert highest(2) == 2
    vote = Vote()
    for value in (2, 0, 1):
        vote.cast(value)
        assert vote.result() == vote.result() == value
    assert together(lambda: 'done') == 'done'
    with pytest.raises(KeyError):
        together(lambda: {}['missing'])


def _agree(rank):
    seen = [highest(rank)]
    try:
        together(lambda: 1 / (rank - 1))
    except (ZeroDivisionError, RuntimeError) as error:
        seen.append(f'{type(error).__name__}: {error}')
    share_failure(None)
    return seen


def _vote(rank):
    vote, seen = Vote(), []
    for turn in range(4):
        vote.cast(int(rank == 1 and turn == 2))
        # something else that the processes do together in the meantime
        dist.all_reduce(torch.ones(1))
        seen.append(vote.result())
    return seen


def test_processes_vote(tmp_path):
    assert processes.run(_vote, tmp_path, 2) == [[0, 0, 1, 0]] * 2


def test_processes_agree(tmp_path):
    first, second = processes.run(_agree, tmp_path, 2)
    assert first[0] == second[0] == 1
    assert second[1] == 'ZeroDivisionError: division by zero'
    assert first[1] == (
        'RuntimeError: Rank 1 failed and all ranks stop: ZeroDivisionError: '
        'division by zero'
    )


@pytest.mark.slow
def test_processes_stop_at_the_same_step(images, tmp_path):
    """Only one of two is asked; the resumed pair ends as one that ran through."""
    options = {'train_dataloader.batch_size': 4}

    def train_pair(work_dir, stop=False, resume=False):
        configs = [
            make_config(images, tmp_path / work_dir, resume=resume, **options)
            for _ in range(2)
        ]
        if stop:
            disturbed(configs[1], 'before_train_iter', 6, 'terminate')
        pair = [start(config, rank, 2) for rank, config in enumerate(configs)]
        return [finish(process, configs[0]) for process in pair]

    assert train_pair('whole') == [0, 0]
    assert train_pair('parts', stop=True) == [75, 75]
    content = read_checkpoint(tmp_path / 'parts' / 'interrupted.pth')
    assert content['meta']['iter'] == 7  # they agree during the step that follows
    assert train_pair('parts', resume=True) == [0, 0]
    assert not differences(outcome(tmp_path / 'parts'), outcome(tmp_path / 'whole'))
