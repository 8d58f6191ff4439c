# SPDX-License-Identifier: Apache-2.0
"""Reading checkpoints without executing what is in them.

A pickle can run any code. The stack's loader tries the safe way first and falls
back to the other; importing this package replaces its loaders by those here, so
that ``load_from``, ``resume`` and ``init_cfg`` never do.
"""

from __future__ import annotations

import io
import os
import re
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlparse

import numpy as np
import torch
from mmengine import dist
from mmengine.fileio import get_file_backend
from mmengine.logging import HistoryBuffer, print_log
from mmengine.runner import checkpoint as stack
from mmengine.runner.checkpoint import CheckpointLoader

#: What a run needs to go on; weights alone are for ``load_from``.
TRAINING_STATE = ('meta', 'state_dict', 'message_hub', 'optimizer')

#: Taken just before a step that failed: a run from here fails again.
BEFORE_FAILURE = 'before_nonfinite_loss.pth'


def read_checkpoint(
    source: str | Path | io.BytesIO,
    map_location: str | torch.device | None = 'cpu',
    mmap: bool = False,
) -> dict:
    """Read a checkpoint: tensors, plain values, and mmengine's histories.

    Args:
        source (str | Path | BytesIO): A ``.pth`` file, of this project or of
            any other, or its bytes.
        map_location: As in ``torch.load``. Defaults to 'cpu'.
        mmap (bool): Map tensors from the file instead of reading them.

    Returns:
        dict: The content of the file.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If it is no checkpoint, is damaged, or holds other Python
            objects. The messages name the last good checkpoint beside it.
    """
    path = None if isinstance(source, io.BytesIO) else Path(source)
    name = 'The checkpoint' if path is None else str(path)
    if path is not None and not path.is_file():
        raise FileNotFoundError(
            f'{path}: there is no such checkpoint.{hint_of_good(path)}'
        )
    try:
        content = _load(source if path is None else path, map_location, mmap)
    except (MemoryError, torch.cuda.OutOfMemoryError):
        raise
    except Exception as error:  # garbage raises anything from KeyError to EOFError
        raise ValueError(f'{name}: {_why(error)}{hint_of_good(path)}') from error
    if not isinstance(content, dict):
        raise ValueError(
            f'{name}: expected a dict of weights, got a {type(content).__name__}.'
            f'{hint_of_good(path)}'
        )
    content = _with_histories(content)
    if isinstance(content.get('meta'), Mapping) and 'config' in content['meta']:
        # on resume the stack would run this text as a Python config
        content['meta'] = {k: v for k, v in content['meta'].items() if k != 'config'}
    return content


def last_good_checkpoint(
    folder: str | Path, exclude: str | Path | None = None
) -> Path | None:
    """The newest file of a folder that a run can be resumed from.

    Args:
        folder (str | Path): A work dir.
        exclude (str | Path, optional): A file that does not count.

    Returns:
        Path | None: None if there is none.
    """
    files = [file for file in Path(folder).glob('*.pth') if file.is_file()]
    files = [file for file in files if file.name != BEFORE_FAILURE]
    for file in sorted(files, key=lambda file: file.stat().st_mtime_ns, reverse=True):
        if exclude is not None and file.resolve() == Path(exclude).resolve():
            continue
        try:
            content = _load(file, 'cpu', mmap=True)
        except Exception:  # whatever is wrong with it, it is not a good one
            continue
        if isinstance(content, dict) and all(key in content for key in TRAINING_STATE):
            return file
    return None


def hint_of_good(path: str | Path | None) -> str:
    """A sentence naming the last good checkpoint beside ``path``, or ''."""
    if path is None or not Path(path).parent.is_dir():
        return ''
    folder = Path(path).parent
    good = last_good_checkpoint(folder, exclude=path)
    if good is not None:
        return f' The last good checkpoint in its folder is {good}.'
    if (folder / 'last_checkpoint').exists():
        return ' There is no other checkpoint in its folder to resume from.'
    return ''


def _why(error: Exception) -> str:
    text = str(error)
    foreign = r'(Unsupported|Trying to (?:call|load)|Can only)[^.\n]*(\.\w[^.\n]*)*'
    found = re.search(foreign, text)
    if found and not isinstance(error, OSError):
        return (
            'this file holds Python objects besides tensors, or is no checkpoint '
            f'({found.group()}). Loading them could execute code and is refused. '
            'If you trust it, keep its weights alone: torch.save(torch.load(path, '
            "weights_only=False)['state_dict'], 'weights.pth')."
        )
    reason = text.partition('WeightsUnpickler error:')[2] or text
    reason = reason.strip().partition('\n')[0].partition('. ')[0][:150]
    return (
        'this file is no checkpoint, or it is damaged, for example by a copy that was '
        f'cut off ({type(error).__name__}: {reason}).'
    )


class _History:
    """Stands for mmengine's ``HistoryBuffer`` while a file is read.

    The class itself would put methods from the file in place of its own.
    """


def _no_getattr(*_: object) -> None:
    """Stands for ``getattr``, with which a ``HistoryBuffer`` is pickled."""


def _harmless() -> list:
    core = getattr(np, '_core', None) or np.core
    names = ('core', '_core')  # of numpy 1 and of numpy 2
    functions = ('_reconstruct', 'scalar')
    kinds = '?bBhHiIlLqQefdUS'
    return [
        (_History, 'mmengine.logging.history_buffer.HistoryBuffer'),
        (_no_getattr, 'builtins.getattr'),
        *(
            (getattr(core.multiarray, function), f'numpy.{name}.multiarray.{function}')
            for name in names
            for function in functions
        ),
        np.ndarray,
        np.dtype,
        *{type(np.dtype(kind)) for kind in kinds},
    ]


def _load(source, map_location, mmap: bool) -> object:
    options = dict(map_location=map_location, weights_only=True)
    with torch.serialization.safe_globals(_harmless()):
        try:
            return torch.load(source, mmap=mmap or None, **options)
        except RuntimeError as error:
            if not mmap or 'mmap' not in str(error):
                raise
            # files of before torch 1.6 cannot be mapped
            return torch.load(source, **options)


def _with_histories(value: Any) -> Any:
    """``value`` with mmengine's class in place of the stand-in."""
    if isinstance(value, _History):
        history = HistoryBuffer(max_length=int(getattr(value, 'max_length', 1000000)))
        history._log_history = np.asarray(getattr(value, '_log_history', []))
        history._count_history = np.asarray(getattr(value, '_count_history', []))
        return history
    if type(value) is dict or type(value).__name__ == 'OrderedDict':
        for key, entry in value.items():
            value[key] = _with_histories(entry)
    elif type(value) in (list, tuple):
        return type(value)(_with_histories(entry) for entry in value)
    return value


def load_from_local(filename: str, map_location=None) -> dict:
    """Loader of paths; see :func:`read_checkpoint`."""
    return read_checkpoint(os.path.expanduser(filename), map_location)


def load_from_http(
    filename: str, map_location=None, model_dir: str | None = None
) -> dict:
    """Loader of addresses: downloads once, into torch's cache."""
    folder = model_dir or os.path.join(torch.hub.get_dir(), 'checkpoints')
    file = os.path.join(folder, os.path.basename(urlparse(filename).path))
    if dist.is_main_process():
        _download(filename, file)
    dist.barrier()
    _download(filename, file)  # on another machine
    return read_checkpoint(file, map_location)


def _download(url: str, file: str) -> None:
    if not os.path.exists(file):
        os.makedirs(os.path.dirname(file), exist_ok=True)
        print_log(f'Downloading {url} to {file}', logger='current')
        # the bar goes to stderr; a log file needs none
        torch.hub.download_url_to_file(url, file, progress=sys.stderr.isatty())


def load_from_torchvision(filename: str, map_location=None) -> dict:
    """Loader of ``torchvision://NAME``."""
    url = _look_up(filename, stack.get_torchvision_models())
    return load_from_http(url, map_location)


def load_from_openmmlab(filename: str, map_location=None) -> dict:
    """Loader of ``open-mmlab://NAME``."""
    name = filename.partition('://')[2]
    name = stack.get_deprecated_model_names().get(name, name)
    url = _look_up(f'open-mmlab://{name}', stack.get_external_models())
    if re.match('https?://', url):
        return load_from_http(url, map_location)
    return read_checkpoint(Path(stack._get_mmengine_home()) / url, map_location)


def load_from_mmcls(filename: str, map_location=None) -> dict:
    """Loader of ``mmcls://NAME``: the backbone of a classifier."""
    url = _look_up(filename, stack.get_mmcls_models())
    return stack._process_mmcls_checkpoint(load_from_http(url, map_location))


def load_from_ceph(filename: str, map_location=None, backend: str = 'petrel') -> dict:
    """Loader of ``s3://`` and ``petrel://``."""
    backend = get_file_backend(filename, backend_args={'backend': backend})
    return read_checkpoint(io.BytesIO(backend.get(filename)), map_location)


def load_from_pavi(filename: str, map_location=None) -> dict:
    """Refuses ``pavi://``, whose client is not public."""
    raise ValueError(f'{filename}: download this file and give its path.')


def _look_up(filename: str, urls: Mapping[str, str]) -> str:
    name = filename.partition('://')[2]
    if name not in urls:
        raise ValueError(f'{filename}: there is no model of this name.')
    return urls[name]


def use_safe_loaders() -> None:
    """Make all of mmengine's checkpoint loading go through this module."""
    for prefixes, loader in (
        ('', load_from_local),
        (('http://', 'https://'), load_from_http),
        (('modelzoo://', 'torchvision://'), load_from_torchvision),
        (('open-mmlab://', 'openmmlab://'), load_from_openmmlab),
        ('mmcls://', load_from_mmcls),
        ((r'(\S+\:)?s3://', r'(\S+\:)?petrel://'), load_from_ceph),
        ('pavi://', load_from_pavi),
    ):
        CheckpointLoader.register_scheme(prefixes, loader, force=True)
