# SPDX-License-Identifier: Apache-2.0
"""Unpickling of tensors and plain values alone.

``torch.load(weights_only=True)`` takes tensors and refuses the rest. Checkpoints also
hold harmless values of NumPy, the standard library and mmengine. This module has a
function or class for each of their names, which keeps what the file says and calls
nothing in it.
"""

from __future__ import annotations

import datetime
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path, PureWindowsPath
from typing import Any, Literal

import numpy as np
import torch
from mmengine.logging import HistoryBuffer
from torch import _weights_only_unpickler as torch_reader

_TEXTS = 'SU'
_LONGEST_TEXT = 1 << 20
#: Kinds of values that an array may hold, and their largest size in bytes.
_LONGEST = dict(b=1, i=8, u=8, f=8, c=16, O=8, S=_LONGEST_TEXT, U=_LONGEST_TEXT)


def load(source, map_location, mmap: bool) -> Any:
    """``torch.load`` for tensors and plain values of a path or binary file.

    It is safe in many threads at a time. What other code has registered with
    ``torch.serialization.add_safe_globals`` neither counts here nor changes. A damaged
    file, or one with other objects, raises exceptions of any kind.
    """
    options = dict(map_location=map_location, weights_only=True)
    with _only_stand_ins():
        try:
            content = torch.load(source, mmap=mmap or None, **options)
        except RuntimeError as error:
            if not mmap or 'mmap' not in str(error):
                raise
            content = torch.load(source, **options)  # of before torch 1.6
    return _plain(content, {})


class _StandIn:
    """What a file says of an object; :meth:`value` makes a real one of it."""

    def value(self, done: dict[int, Any]) -> Any:
        """The object, or the nearest plain value."""
        raise NotImplementedError


class _DType(_StandIn):
    """A NumPy dtype of numbers, texts or objects."""

    def __init__(self, name: object = '', *_: object) -> None:
        self.dtype = np.dtype(name if isinstance(name, str) else 'V')
        self._check()

    def __setstate__(self, state: tuple) -> None:
        _, order, subarray, names, fields, size, *_ = state
        if subarray is not None or names is not None or fields is not None:
            raise ValueError('a NumPy array of records')
        if self.dtype.kind in _TEXTS:  # their name does not have the length
            if not 0 <= size <= _LONGEST_TEXT:
                raise ValueError(f'a NumPy text of {size} bytes')
            size //= np.dtype(f'{self.dtype.kind}1').itemsize
            self.dtype = np.dtype(f'{self.dtype.kind}{size}')
        if order in ('<', '>'):
            self.dtype = self.dtype.newbyteorder(order)
        self._check()

    def _check(self) -> None:
        kind, size = self.dtype.kind, self.dtype.itemsize
        longest = _LONGEST.get(kind)
        if longest is None or size > longest or self.dtype.subdtype is not None:
            raise ValueError(f'a NumPy array of {self.dtype}')

    def read(self, data: object) -> np.ndarray:
        """(n,) values of an array's content."""
        if self.dtype.kind == 'O':
            if not isinstance(data, list):
                raise ValueError('a NumPy array of objects without a list of them')
            flat = np.empty(len(data), object)
            flat[:] = data
            return flat
        if not isinstance(data, (bytes, bytearray)):
            raise ValueError('a NumPy array without its bytes')
        if not self.dtype.itemsize:  # empty texts
            return np.empty(0, self.dtype)
        if self.dtype.kind == 'b':  # other bytes than 0 and 1 break masks
            return np.frombuffer(data, np.uint8) != 0
        flat = np.frombuffer(data, self.dtype)
        if self.dtype.kind == 'U':
            points = np.frombuffer(
                data, np.dtype('u4').newbyteorder(flat.dtype.byteorder)
            )
            if points.max(initial=0) > sys.maxunicode:
                raise ValueError('a NumPy text of no Unicode')
        return flat

    def value(self, done: dict[int, Any]) -> np.dtype:
        return self.dtype


class _Array(_StandIn):
    """A NumPy array."""

    def __init__(self) -> None:
        self.array = np.empty(0)

    def __setstate__(self, state: tuple) -> None:
        _, shape, dtype, by_columns, data = state
        if not isinstance(dtype, _DType):
            raise ValueError('a NumPy array without a dtype')
        order: Literal['F', 'C'] = 'F' if by_columns else 'C'
        flat = dtype.read(data)
        if not flat.dtype.itemsize:
            flat = np.zeros(shape, flat.dtype)
        self.array = flat.reshape(shape, order=order).copy()

    def value(self, done: dict[int, Any]) -> np.ndarray:
        if self.array.dtype.hasobject:
            flat = self.array.reshape(-1)
            flat[:] = [_plain(item, done) for item in flat]
        return self.array


class _History(_StandIn):
    """mmengine's ``HistoryBuffer``.

    The class itself would put methods from the file in place of its own.
    """

    def __init__(self) -> None:
        self.state: dict = {}

    def __setstate__(self, state: dict) -> None:
        self.state = state

    def value(self, done: dict[int, Any]) -> HistoryBuffer:
        history = HistoryBuffer(max_length=int(self.state.get('max_length', 1000000)))
        for name in ('_log_history', '_count_history'):
            setattr(history, name, np.asarray(_plain(self.state.get(name, ()), done)))
        return history


class _Namespace(_StandIn):
    """``argparse.Namespace`` and its like: a dict of their attributes."""

    def __init__(self) -> None:
        self.state: dict = {}

    def __setstate__(self, state: dict) -> None:
        self.state = state

    def value(self, done: dict[int, Any]) -> dict:
        return _plain(self.state, done)


class _Range(_StandIn):
    """``range``, which as itself would fill the memory of whoever takes its items."""

    def __init__(self, *limits: int) -> None:
        self.limits = limits

    def value(self, done: dict[int, Any]) -> range:
        return range(*self.limits)


def _array(*_: object) -> _Array:
    return _Array()


def _scalar(dtype: object, data: object = b'') -> Any:
    if not isinstance(dtype, _DType) or dtype.dtype.hasobject:
        raise ValueError('a NumPy number without a dtype')
    (value,) = dtype.read(data) if data else np.zeros(1, dtype.dtype)
    return value


def _nothing(*_: object) -> None:
    """For ``getattr``, which pickles of histories name, and factories of dicts."""


def _bytes(*args: object) -> bytes:
    if args:
        raise ValueError('bytes(...) with arguments')
    return b''


def _dict(*args: object) -> dict:
    return dict(args[0]) if args and isinstance(args[0], dict) else {}


def _list(*args: object) -> list:
    return list(args[0]) if args and isinstance(args[0], (list, tuple)) else []


def _path(*parts: str) -> Path:
    return Path(*map(str, parts))


def _windows_path(*parts: str) -> PureWindowsPath:
    return PureWindowsPath(*map(str, parts))


def _frozenset(*args: object) -> frozenset:
    return frozenset(_list(*args))


_NUMPY = {
    f'numpy.{core}.multiarray.{name}': stand_in
    for core in ('core', '_core')  # of NumPy 1 and of NumPy 2
    for name, stand_in in (('_reconstruct', _array), ('scalar', _scalar))
}
_STAND_INS: dict[str, Any] = {
    **_NUMPY,
    'numpy.ndarray': _Array,
    'numpy.dtype': _DType,
    'mmengine.logging.history_buffer.HistoryBuffer': _History,
    'mmengine.config.config.ConfigDict': _dict,
    'argparse.Namespace': _Namespace,
    'types.SimpleNamespace': _Namespace,
    'collections.defaultdict': _dict,
    'collections.deque': _list,
    **{
        f'pathlib{module}.{name}': stand_in
        for module in ('', '._local')  # of Python 3.13
        for name, stand_in in (
            ('Path', _path),
            ('PosixPath', _path),
            ('PurePosixPath', _path),
            ('WindowsPath', _windows_path),
            ('PureWindowsPath', _windows_path),
        )
    },
    **{
        f'datetime.{name}': getattr(datetime, name)
        for name in ('date', 'datetime', 'time', 'timedelta', 'timezone')
    },
    'builtins.bytes': _bytes,
    'builtins.frozenset': _frozenset,
    'builtins.range': _Range,
    'builtins.slice': slice,
    **{
        f'builtins.{name}': _nothing
        for name in ('getattr', 'bool', 'dict', 'float', 'int', 'list', 'str', 'tuple')
    },
}

_ours: ContextVar[bool] = ContextVar('reads_plain_values', default=False)
_registered_by_others = torch_reader._get_user_allowed_globals


def _allowed() -> dict[str, Any]:
    """What torch's reader may build besides tensors, in this thread."""
    return _STAND_INS if _ours.get() else _registered_by_others()


# torch has one list for the whole process, and no lock for it.
torch_reader._get_user_allowed_globals = _allowed


@contextmanager
def _only_stand_ins() -> Iterator[None]:
    token = _ours.set(True)
    try:
        yield
    finally:
        _ours.reset(token)


def _plain(value: Any, done: dict[int, Any]) -> Any:
    """A copy of ``value`` with real arrays and histories in place of the stand-ins.

    A copy, since a file can give an ``OrderedDict`` attributes in place of its
    methods. What is in several places is copied once: ``done`` has copies by id.
    """
    if id(value) in done:
        return done[id(value)]
    if isinstance(value, _StandIn):
        made = value.value(done)
    elif isinstance(value, dict):
        made = done[id(value)] = type(value)()
        for key, entry in type(value).items(value):
            made[key] = _plain(entry, done)
        metadata = vars(value).get('_metadata') if hasattr(value, '__dict__') else None
        if isinstance(metadata, dict):  # versions of the modules of a state dict
            made._metadata = _plain(metadata, done)  # type: ignore[attr-defined]
    elif isinstance(value, list):
        made = done[id(value)] = []
        made.extend(_plain(entry, done) for entry in value)
    elif type(value) is tuple:
        made = tuple(_plain(entry, done) for entry in value)
    else:
        return value
    done[id(value)] = made
    return made
