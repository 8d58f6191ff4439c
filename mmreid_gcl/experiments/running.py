# SPDX-License-Identifier: Apache-2.0
"""Run experiments as processes of their own, several at a time."""

from __future__ import annotations

import fcntl
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path

from mmreid_gcl.parallel import num_threads
from mmreid_gcl.work_dir import POINTER, holder, last_checkpoint

from .experiment import Resolved
from .results import (
    RESULT_FILE,
    Result,
    epochs_begun,
    read_results,
    read_run,
    write_json,
)

_THREADS = (
    *('OMP_NUM_THREADS', 'MKL_NUM_THREADS'),
    *('OPENBLAS_NUM_THREADS', 'NUMBA_NUM_THREADS'),
)
_OUTPUT = 'train.out'
_TIME = 'seconds.txt'


@dataclass
class Job:
    """One run of an experiment."""

    resolved: Resolved  #: The experiment
    seed: int  #: ``randomness.seed``
    folder: Path  #: Work dir of the run

    @property
    def title(self) -> str:
        """Name and seed."""
        return f'{self.resolved.name} seed {self.seed}'

    @property
    def result_file(self) -> Path:
        """There once the run is complete."""
        return self.folder / RESULT_FILE


@dataclass
class Settings:
    """What all runs have in common."""

    #: Of the repository; runs start there. Those of an installed package start in the
    #: current folder
    root: Path
    jobs: int = 1  #: Runs at a time
    data_root: str = ''  #: Folder of the data; '' is the config's own
    device: str = ''  #: Kept with the results
    #: Names for CUDA_VISIBLE_DEVICES; each running job gets one, in turn. Without any,
    #: jobs see what this process sees
    gpus: Sequence[str] = ()
    checkpoints: str = 'last'  #: What stays after a run: 'last' or 'none'
    report_every: float = 60.0  #: Seconds between two lines of progress


@dataclass
class Outcome:
    """What became of the jobs."""

    done: list[Result] = field(default_factory=list)  #: Finished now
    #: Job, log, reason
    failed: list[tuple[Job, Path, str]] = field(default_factory=list)
    interrupted: bool = False  #: By a signal
    busy: list[Job] = field(default_factory=list)  #: Another process was running these


def plan(
    resolved: Sequence[Resolved], seeds: Sequence[int], work_dir: Path
) -> list[Job]:
    """Jobs, all experiments of the first seed first; equal ones once.

    Rows without training have the seed 0 alone. Some may be done. A run of equal
    settings under another name in ``work_dir`` counts.
    """
    jobs: dict[tuple[str, int], Job] = {}
    for seed in seeds:
        for row in resolved:
            own = seed if row.measure == 'training' else 0
            folder = work_dir / row.folder / f'seed{own}'
            if not folder.is_dir():
                pattern = f'*-{row.fingerprint}/seed{own}'
                folder = next(iter(sorted(work_dir.glob(pattern))), folder)
            jobs.setdefault((row.fingerprint, own), Job(row, own, folder))
    return list(jobs.values())


def _command(
    job: Job, settings: Settings, tool: str, *arguments: str, **options: object
) -> list[str]:
    """Command line of ``tools/<tool>.py`` for a job, with more ``--cfg-options``."""
    options = {**job.resolved.options, **options}
    return [
        sys.executable,
        str(settings.root / f'tools/{tool}.py'),
        str(job.resolved.config),
        *arguments,
        '--cfg-options',
        *_cfg_options(options, settings.data_root),
    ]


def _cfg_options(options: Mapping, data_root: str) -> list[str]:
    if data_root:
        options = {**options, 'data_root': data_root}
    # DictAction knows lists, but no spaces in them
    return [
        f'{key}={str(value).replace(" ", "") if isinstance(value, list) else value}'
        for key, value in options.items()
    ]


class Pool:
    """Keeps ``settings.jobs`` runs going until all are done; says so in lines.

    A run that fails is noted, and the others go on. SIGINT, SIGTERM and SIGHUP end the
    children and then :meth:`run`; what was reached is kept for the next time. Children
    that outlive this process keep the locks of their runs.
    """

    def __init__(self, settings: Settings, say: Callable[[str], None] = print) -> None:
        self.settings = settings
        self.say = say
        self._running: dict[int, _Run] = {}
        self._stop = False

    def run(self, jobs: Sequence[Job]) -> Outcome:
        """Run what is not done yet, in this order.

        Raises:
            ValueError: If one that is done had a folder of data of another name.
        """
        waiting = []
        for job in jobs:
            if job.result_file.is_file():
                self._check_data(job)
            else:
                waiting.append(job)
        if len(waiting) < len(jobs):
            self.say(f'{len(jobs) - len(waiting)} of {len(jobs)} runs are done already')
        outcome = Outcome()
        progress = _Progress(waiting)
        before = {
            number: signal.signal(number, self._on_signal)
            for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
            if signal.getsignal(number) is not signal.SIG_IGN  # nohup
        }
        try:
            while (waiting or self._running) and not self._stop:
                self._start(waiting, outcome)
                self._collect(outcome, progress)
                if progress.due(self.settings.report_every):
                    self.say(progress.line(self._running.values()))
                time.sleep(0.2)
        finally:
            for run in self._running.values():
                run.end()
            self._running.clear()
            for number, handler in before.items():
                signal.signal(number, handler)
        outcome.interrupted = self._stop
        return outcome

    def _check_data(self, job: Job) -> None:
        own = job.resolved.data_root
        found = read_results(job.result_file)[0].data_root or own
        wanted = self.settings.data_root or own
        if Path(found).name != Path(wanted).name:
            raise ValueError(
                f'{job.result_file}: this run is of the data in {found}, not of '
                f'those in {wanted}. Give the runs of each folder of data a --work-dir '
                'of their own.'
            )

    def _on_signal(self, number, frame) -> None:
        self._stop = True

    def _start(self, waiting: list[Job], outcome: Outcome) -> None:
        for slot in range(self.settings.jobs):
            while slot not in self._running and waiting:
                job = waiting.pop(0)
                lock = _lock(job.folder)
                if lock is not None and holder(job.folder) is not None:
                    lock.close()  # somebody trains there without this tool
                    lock = None
                if lock is None:
                    outcome.busy.append(job)
                    continue
                self._running[slot] = _Run(job, slot, lock, self.settings)
                self.say(f'start  {job.title}: {job.folder}')

    def _collect(self, outcome: Outcome, progress: _Progress) -> None:
        for slot, run in list(self._running.items()):
            if run.process.poll() is None:
                continue
            try:
                result = run.finish()
            except _Failure as error:
                del self._running[slot]
                outcome.failed.append((run.job, run.output, str(error)))
                progress.drop(run)
                self.say(f'FAILED {run.job.title}: {error}; log: {run.output}')
                continue
            if result is None:  # it goes on with its evaluation
                continue
            del self._running[slot]
            outcome.done.append(result)
            progress.complete(run)
            scores = ', '.join(
                f'{name} {result.metrics[name]:.1f}'
                for name in ('mAP', 'R1')
                if name in result.metrics
            )
            self.say(
                f'done   {run.job.title}: {scores} after {duration(result.seconds)}; '
                f'{progress.line(self._running.values())}'
            )


class _Failure(Exception):
    """A run that gives no result."""


class _Run:
    """A job with its process."""

    def __init__(self, job: Job, slot: int, lock, settings: Settings) -> None:
        self.job = job
        self.settings = settings
        self.output = job.folder / _OUTPUT
        self.evaluated = job.resolved.measure != 'training'
        self.epochs_before = epochs_begun(job.folder)
        self._lock = lock
        self._slot = slot
        self._begin = time.monotonic()
        tested = f'--work-dir={job.folder / "test"}'
        tool, *arguments = dict(
            training=('train', f'--work-dir={job.folder}', '--resume'),
            untrained=('test', 'untrained', tested),
            histogram=('analysis/histogram_baseline', f'--out={self._histogram}'),
        )[job.resolved.measure]
        seed = {'randomness.seed': job.seed}
        self._launch(_command(job, settings, tool, *arguments, **seed))

    def _launch(self, command: Sequence[str]) -> None:
        env = dict(os.environ)
        threads = max(1, num_threads() // self.settings.jobs)
        env.update({name: str(threads) for name in _THREADS})
        gpus = self.settings.gpus
        if gpus:
            env['CUDA_VISIBLE_DEVICES'] = gpus[self._slot % len(gpus)]
        with self.output.open('ab') as log:
            log.write(f'$ {" ".join(command)}\n'.encode())
            log.flush()
            root = self.settings.root
            # of its own session: Ctrl-C reaches us alone, and we end it whole
            self.process = subprocess.Popen(
                command,
                # nobody keeps data beside the tools of an installed package
                cwd=None if root.name == '.mim' else root,
                env=env,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                # the lock of the run is held as long as one of us lives
                pass_fds=[self._lock.fileno()],
            )

    def finish(self) -> Result | None:
        """The result, or None while the evaluation goes on."""
        status = self.process.returncode
        if status:
            self._close()
            raise _Failure(f'exit status {status}: {_last_line(self.output)}')
        row = self.job.resolved
        metrics: dict[str, float] = {}
        labels: dict[str, float] = {}
        curves: dict[str, list] = {}
        checkpoint = None
        if row.measure == 'training':
            try:
                metrics, labels, curves = read_run(self.job.folder, row.epochs)
                checkpoint = last_checkpoint(self.job.folder)
            except (FileNotFoundError, ValueError) as error:
                self._close()
                raise _Failure(str(error)) from error
        if row.measure == 'histogram':
            best = json.loads(self._histogram.read_text())['best']
            metrics = {k: v for k, v in best.items() if k != 'distance'}
        elif not metrics and self.evaluated:
            metrics = _tested(self.job.folder / 'test')
        if not metrics:
            # killed between its last checkpoint and the validation
            if self.evaluated or checkpoint is None:
                self._close()
                raise _Failure(f'no metrics after epoch {row.epochs}')
            self.evaluated = True
            where = f'--work-dir={self.job.folder / "test"}'
            self._launch(_command(self.job, self.settings, 'test', checkpoint, where))
            return None
        result = Result(
            name=row.name,
            fingerprint=row.fingerprint,
            seed=self.job.seed,
            epochs=row.epochs,
            metrics=metrics,
            pseudo_labels=labels,
            curves=curves,
            graphs=row.graphs,
            options=dict(row.options),
            data_root=self.settings.data_root,
            device=self.settings.device,
            seconds=round(self._seconds(), 1),
        )
        for path in self.job.folder.glob('*.pth'):
            if self.settings.checkpoints == 'none' or str(path) != checkpoint:
                path.unlink()
        if self.settings.checkpoints == 'none':  # nothing to resume
            (self.job.folder / POINTER).unlink(missing_ok=True)
        write_json(self.job.result_file, asdict(result))
        self._close()
        return result

    @property
    def _histogram(self) -> Path:
        return self.job.folder / 'histogram.json'

    def end(self, patience: float = 10.0) -> None:
        """End the process and all that it has started."""
        for number in (signal.SIGTERM, signal.SIGKILL):
            with suppress(ProcessLookupError):
                os.killpg(self.process.pid, number)
            with suppress(subprocess.TimeoutExpired):
                self.process.wait(patience)
                break
        self._close()

    def _seconds(self) -> float:
        spent = time.monotonic() - self._begin
        path = self.job.folder / _TIME
        with suppress(OSError, ValueError):
            spent += float(path.read_text())
        return spent

    def _close(self) -> None:
        # a run that goes on another time adds to this
        (self.job.folder / _TIME).write_text(f'{self._seconds():.1f}\n')
        self._lock.close()


class _Progress:
    """How much is done, in epochs, and how long the rest may take."""

    def __init__(self, waiting: Sequence[Job]) -> None:
        self.total = len(waiting)
        self.finished = 0
        self.failed = 0
        self._left = sum(job.resolved.epochs for job in waiting)
        self._done = 0.0
        self._begin = self._last = self._reached_at = time.monotonic()
        self._reached = 0.0

    def complete(self, run: _Run) -> None:
        """A run has finished."""
        self.finished += 1
        self._left -= run.job.resolved.epochs
        self._done += run.job.resolved.epochs - run.epochs_before

    def drop(self, run: _Run) -> None:
        """A run has failed."""
        self.failed += 1
        self._left -= run.job.resolved.epochs

    def due(self, every: float) -> bool:
        """Whether it is time for a line."""
        return time.monotonic() - self._last >= every

    def line(self, running) -> str:
        """Such as '3 of 18 runs, about 14 min left, 3 min so far'."""
        self._last = time.monotonic()
        done, left, now = self._done, self._left, []
        for run in running:
            epoch = max(0, epochs_begun(run.job.folder) - 1)
            done += max(0, epoch - run.epochs_before)
            left -= epoch
            now.append(f'{run.job.title} {epoch}/{run.job.resolved.epochs}')
        text = f'{self.finished} of {self.total} runs'
        if self.failed:
            text += f', {self.failed} failed'
        if done > self._reached:
            self._reached, self._reached_at = done, self._last
        rest = time_left(
            done,
            left,
            self._reached_at - self._begin,
            self._last - self._reached_at,
            len(now),
        )
        if rest is not None:
            text += f', about {duration(rest)} left'
        spent = duration(self._last - self._begin)
        text += f', {spent} so far'
        return text + (f' (epochs: {"; ".join(now)})' if now else '')


def time_left(
    done: float, left: float, spent: float, since: float, running: int
) -> float | None:
    """Estimate the seconds that are left, None where there is no telling.

    ``done`` epochs took ``spent`` seconds to the last finished one, ``since`` have
    passed from then on; ``left`` are not finished, and ``running`` runs are each within
    one. The estimate falls between two finished epochs, but not below what the epochs
    that have not begun will take. None before the first epoch, and in the last ones
    where they take longer than the others did.
    """
    if done <= 0:
        return None
    each = spent / done
    rest = max(each * left - since, each * max(0.0, left - running))
    return rest if rest > 0 else None


def duration(seconds: float) -> str:
    """Such as '45 s', '12 min' or '3.4 h'."""
    if seconds < 90:
        return f'{seconds:.0f} s'
    return f'{seconds / 60:.0f} min' if seconds < 5400 else f'{seconds / 3600:.1f} h'


def _lock(folder: Path):
    """The run's own lock, or None if another process has it."""
    folder.mkdir(parents=True, exist_ok=True)
    file = (folder / '.lock').open('w')
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        file.close()
        return None
    return file


def _last_line(path: Path) -> str:
    lines = path.read_text(encoding='utf-8', errors='replace').splitlines()
    return next((line.strip() for line in reversed(lines) if line.strip()), '')[:300]


def _tested(folder: Path) -> dict[str, float]:
    """Metrics of the last ``tools/test.py``."""
    files = folder.glob('*/*.json')  # their names are local times
    for path in sorted(files, key=lambda path: path.stat().st_mtime_ns, reverse=True):
        values = json.loads(path.read_text())
        return {
            name.removeprefix('reid/'): value
            for name, value in values.items()
            if name.startswith('reid/')
        }
    return {}
