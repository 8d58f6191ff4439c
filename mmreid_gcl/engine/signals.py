# SPDX-License-Identifier: Apache-2.0
"""Stop signals and dead workers, handled between the steps of a training."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

#: Exit code of a run that was asked to stop and can be resumed: EX_TEMPFAIL of
#: sysexits.h, "try again later".
EXIT_PREEMPTED = 75
_GRACE_SECONDS = 60


class Preempted(SystemExit):
    """Training was asked to stop, has saved its state, and can be resumed.

    The process ends with :data:`EXIT_PREEMPTED`. The message says what stopped it.
    """

    def __init__(self, message: str) -> None:
        super().__init__(EXIT_PREEMPTED)
        self.message = message

    def __str__(self) -> str:
        return self.message


class StopSignals:
    """Remembers that the process got one of the signals of these names.

    A signal sets :attr:`received`; who trains looks at it where the state is whole. In
    a block under :meth:`at_once` the signal ends the process there, and a second SIGINT
    does so anywhere, as ``KeyboardInterrupt``. SIGINT and SIGHUP stay ignored where a
    shell has set that: in the background, under ``nohup``. Outside the main thread
    Python gets no signals, and neither does this.
    """

    def __init__(self, names: Sequence[str]) -> None:
        unknown = [name for name in names if not hasattr(signal, name)]
        if unknown:
            raise ValueError(
                f'{unknown[0]!r} is no signal of this system. Expected names like '
                "'SIGTERM' or 'SIGUSR1'."
            )
        self.signals = [getattr(signal, name) for name in names]
        self.received: str | None = None
        self._at_once = False
        self._before: dict = {}
        self._owner = os.getpid()

    def __enter__(self) -> StopSignals:
        self._owner = os.getpid()
        if threading.current_thread() is threading.main_thread():
            shells = [getattr(signal, name, None) for name in ('SIGINT', 'SIGHUP')]
            self._before = {
                number: signal.signal(number, self._note)
                for number in self.signals
                if number not in shells or signal.getsignal(number) != signal.SIG_IGN
            }
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, signal.SIG_DFL if handler is None else handler)
        self._before = {}

    def _note(self, number: int, frame: object) -> None:
        if os.getpid() != self._owner:  # a forked child that inherited the handler
            signal.signal(number, signal.SIG_DFL)
            os.kill(os.getpid(), number)
            return
        if number == signal.SIGINT and self.received == 'SIGINT':
            raise KeyboardInterrupt
        self.received = signal.Signals(number).name
        if self._at_once:
            raise Preempted(self.received)
        if number == signal.SIGINT:  # print may be what was interrupted
            os.write(2, b'\nSaving, then stopping; Ctrl-C again ends at once.\n')

    @contextmanager
    def at_once(self, allowed: bool = True) -> Iterator[None]:
        """End at once in this block, in which nothing is lost by it."""
        self._at_once = allowed
        try:
            yield
        finally:
            self._at_once = False


class DeferredDeaths:
    """Hold back the news that a worker died until the state is whole.

    torch raises an error from the signal that a worker died, wherever the
    program happens to be: in the middle of a step. Under this context the
    error is raised in blocks under :meth:`delivered` alone.
    """

    def __init__(self) -> None:
        self._handler: Callable | None = None
        self._news: list[tuple] = []

    def __enter__(self) -> DeferredDeaths:
        self._handler, self._news = None, []
        if hasattr(signal, 'SIGCHLD') and (
            threading.current_thread() is threading.main_thread()
        ):
            handler = signal.getsignal(signal.SIGCHLD)
            if callable(handler):
                self._handler = handler
                signal.signal(signal.SIGCHLD, self._defer)
        return self

    def __exit__(self, *_: object) -> None:
        if self._handler is not None:
            signal.signal(signal.SIGCHLD, self._handler)

    def _defer(self, *news: object) -> None:
        self._news.append(news)

    @contextmanager
    def delivered(self) -> Iterator[None]:
        """Raise what was held back, and what happens inside."""
        if self._handler is None:
            yield
            return
        signal.signal(signal.SIGCHLD, self._handler)
        try:
            if self._news:
                self._handler(*self._news.pop())
            yield
        finally:
            signal.signal(signal.SIGCHLD, self._defer)


class PatientWorker:
    """``worker_init_fn`` of a loader whose workers outlive a stop signal.

    A cluster sends SIGTERM to all processes of a job, a terminal SIGINT. Workers that
    die of it would take the last step with them; with this they go on, after SIGTERM
    for a minute, in which the main process ends in good order. ``init`` is another such
    function, called first.
    """

    def __init__(self, init: Callable[[int], None] | None = None) -> None:
        self.init = init

    def __call__(self, worker_id: int) -> None:
        """Run in the worker, when it starts."""
        if self.init is not None:
            self.init(worker_id)
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # the main process ends them
        if hasattr(signal, 'sigwaitinfo'):
            # Blocked here and in the threads to come: one thread takes it.
            signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
            threading.Thread(target=_outlive, args=(os.getppid(),), daemon=True).start()


def _outlive(parent: int) -> None:
    """End when the parent says so, and after a while when another one does."""
    while True:
        sender = signal.sigwaitinfo({signal.SIGTERM}).si_pid
        if sender == parent:
            os._exit(0)
        signal.alarm(_GRACE_SECONDS)


def make_patient(loader) -> None:
    """Give a ``DataLoader`` that has not started workers patient ones."""
    if loader.num_workers and not isinstance(loader.worker_init_fn, PatientWorker):
        loader.worker_init_fn = PatientWorker(loader.worker_init_fn)


def end_workers(batches: Iterator) -> None:
    """End the workers behind an iterator of a ``DataLoader``, if it has any.

    When an error ends the iteration, they are otherwise left to the garbage
    collector, and torch then waits five seconds for each.
    """
    shut_down = getattr(batches, '_shutdown_workers', None)
    if shut_down is not None:
        shut_down()
