# SPDX-License-Identifier: Apache-2.0
"""A context with a model in eval mode; it restores the mode of every module."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from threading import Lock

from torch import nn

_evaluated: dict[nn.Module, tuple[int, list[tuple[nn.Module, bool]]]] = {}
_evaluated_lock = Lock()


@contextmanager
def evaluating(model: nn.Module) -> Iterator[None]:
    """Eval mode inside of the block; then every module is in its own mode again.

    ``model.train(mode)`` would put all modules into one mode, also those that are in
    another on purpose, such as frozen stages. Threads may share a model: the last one
    to leave restores.
    """
    with _evaluated_lock:
        users, modes = _evaluated.get(model, (0, []))
        modes = modes or [(module, module.training) for module in model.modules()]
        _evaluated[model] = users + 1, modes
        model.eval()
    try:
        yield
    finally:
        with _evaluated_lock:
            users, modes = _evaluated.pop(model)
            if users > 1:
                _evaluated[model] = users - 1, modes
            else:
                for module, was_training in modes:
                    module.training = was_training
