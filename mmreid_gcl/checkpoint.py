# SPDX-License-Identifier: Apache-2.0
"""Safe loading of checkpoints: no code in them is executed.

A pickle can run any code, and the stack's loader falls back to running it. Importing
this package puts safe loaders in its place for ``load_from``, ``resume`` and
``init_cfg`` of its runs.
"""

from __future__ import annotations

import io
import logging
import os
import re
import sys
import zipfile
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from contextvars import ContextVar
from functools import wraps
from pathlib import Path
from typing import Any
from urllib.parse import urlparse

import torch
from mmengine import dist
from mmengine.fileio import get_file_backend
from mmengine.logging import print_log
from mmengine.registry import DefaultScope
from mmengine.runner import checkpoint as stack
from mmengine.runner.checkpoint import CheckpointLoader
from torch import Tensor

from . import plain_pickle

#: What a run needs to go on; weights alone are for ``load_from``.
TRAINING_STATE = ('meta', 'state_dict', 'message_hub', 'optimizer')

#: Taken just before a step that failed: a run from here fails again.
BEFORE_FAILURE = 'before_nonfinite_loss.pth'

#: Share of a backbone's numbers; a file that fills less is of another network.
TOO_FEW = 0.1

#: Names of a classifier's weights, which no embedding needs.
_CLASSIFIER = re.compile(r'(module\.)?(\w*head\w*\.(\w+\.)*|\w+\.)?(fc|classifier)\.')


class WeightsError(ValueError):
    """Pretrained weights cannot be had, or belong to another network."""


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
    if isinstance(content.get('meta'), Mapping) and 'config' in content['meta']:
        # on resume the stack would run this text as a Python config
        content['meta'] = {k: v for k, v in content['meta'].items() if k != 'config'}
    return content


def weights_of(content: Mapping) -> dict[str, Any]:
    """The weights in a checkpoint, by their names without DDP's ``module.``."""
    state = content.get('state_dict', content)
    return {str(name).removeprefix('module.'): value for name, value in state.items()}


def drop_classifier(own: Mapping[str, Tensor], content: dict, source: object) -> None:
    """Take a classifier that the model has not out of a checkpoint, and say so.

    Args:
        own (Mapping[str, Tensor]): State of the model.
        content (dict): The checkpoint; its weights are changed in place.
        source: Name of the file, for the warning.
    """
    state = content.get('state_dict', content)
    names = [name for name in state if name.removeprefix('module.') not in own]
    extra = [name for name in names if _CLASSIFIER.match(name)]
    for name in extra:
        del state[name]
    if extra:
        print_log(
            f'{source}: the model has no classifier, so these weights are ignored: '
            f'{", ".join(extra)}',
            logger='current',
            level=logging.WARNING,
        )


def misfit(
    own: Mapping[str, Tensor], weights: Mapping, part: bool = False, more: bool = True
) -> str:
    """Why a model whose state is ``own`` cannot take weights; '' if it can.

    With ``part`` it is enough to fill a tenth of the backbone, or of a model without
    one; without ``more`` there must be no others.
    """
    problems = {}
    for name, expected in own.items():
        value = weights.get(name)
        shape = tuple(value.shape) if isinstance(value, Tensor) else None
        if shape != tuple(expected.shape):
            found = 'is missing' if shape is None else f'has shape {shape}'
            problems[name] = f'{name} {found}, expected is {tuple(expected.shape)}'
    if part:
        sizes = {name: value.numel() for name, value in own.items()}
        backbone = {n: s for n, s in sizes.items() if n.startswith('backbone.')}
        sizes = backbone or sizes
        share = sum(s for n, s in sizes.items() if n not in problems)
        share /= sum(sizes.values())
        if share >= TOO_FEW:
            return ''
        return (
            f'it would fill {share:.0%} of the backbone: these are weights of another '
            f'network. Expected keys such as {some_keys(sizes)}, found '
            f'{some_keys(weights)}.'
        )
    if not more:
        others = [name for name in weights if name not in own]
        problems.update({name: f'{name} is not in it' for name in others})
    if not problems:
        return ''
    return (
        f'this checkpoint belongs to another model: {len(problems)} of '
        f'{len(own.keys() | weights.keys())} weights do not fit ('
        f'{"; ".join(list(problems.values())[:3])}{"; …" * (len(problems) > 3)}). Use '
        'the config it was trained with; a run keeps it in its work dir.'
    )


def some_keys(names: Iterable[str]) -> str:
    """The first three keys of a file, for a message."""
    return ', '.join(list(names)[:3]) or 'none'


def last_good_checkpoint(
    folder: str | Path, exclude: str | Path | None = None
) -> Path | None:
    """The newest file of a work dir that a run can be resumed from, but ``exclude``.

    None if there is none.
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


def _load(source, map_location, mmap: bool) -> object:
    _check_sums(source)
    return plain_pickle.load(source, map_location, mmap)


def _check_sums(source: str | Path | io.BytesIO) -> None:
    """Compare every member of the zip with its CRC-32, which torch does not.

    Files of before torch 1.6 are no zip and have no sums.
    """
    with ExitStack() as stack:
        file = source
        if not isinstance(file, io.BytesIO):
            file = stack.enter_context(open(file, 'rb'))
        begin = file.tell()
        is_zip = file.read(4) == b'PK\x03\x04'
        file.seek(begin)
        if not is_zip:
            return
        with zipfile.ZipFile(file) as members:
            packed = [m for m in members.infolist() if m.compress_type]
            if packed:  # a small file could fill the memory
                raise ValueError(f'its member {packed[0].filename} is compressed')
            # of which torch reads nothing, and leaves memory as it was
            folders = [m.filename for m in members.infolist() if m.external_attr & 0x10]
            wrong = members.testzip()
        file.seek(begin)
    if wrong is not None:
        raise ValueError(f'the checksum of its member {wrong} is wrong')
    if folders:
        raise ValueError(f'its member {folders[0]} is marked as a folder')


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
        try:
            torch.hub.download_url_to_file(url, file, progress=sys.stderr.isatty())
        except OSError as error:  # of urllib, and without a network
            raise WeightsError(
                f'{url} cannot be downloaded ({error}). Without internet, copy the '
                f'file to {file}, or give it: model.backbone.init_cfg.checkpoint=FILE.'
            ) from error


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


_rule: ContextVar[str] = ContextVar('checkpoint_rule', default='by scope')


@contextmanager
def safe_loading() -> Iterator[None]:
    """Within it, mmengine's loaders are those of this module, whatever the scope."""
    token = _rule.set('safe')
    try:
        yield
    finally:
        _rule.reset(token)


@contextmanager
def stack_loading() -> Iterator[None]:
    """Within it, mmengine's loaders are its own. They can execute code in a file.

    For programs that import this package and load files of other projects, which
    they trust, while no Runner of another ``default_scope`` is active.
    """
    token = _rule.set('stack')
    try:
        yield
    finally:
        _rule.reset(token)


def _is_safe() -> bool:
    """Whether this load is ours: not if another project's Runner is at work."""
    rule = _rule.get()
    if rule != 'by scope':
        return rule == 'safe'
    scope = DefaultScope.get_current_instance()
    return scope is None or scope.scope_name == __package__


def _chosen(safe: Callable, own: Callable | None) -> Callable:
    """``safe``, or the stack's own loader where another project loads."""

    @wraps(safe)  # mmengine logs its name
    def load(*args, **kwargs) -> dict:
        loader = safe if own is None or _is_safe() else own
        return loader(*args, **kwargs)

    return load


def use_safe_loaders() -> None:
    """Make mmengine's checkpoint loading go through this module.

    It does for a Runner whose ``default_scope`` is this package's, where there is no
    Runner, and within :func:`safe_loading`. A Runner of another project loads as if
    this package was not imported, and so does everything in :func:`stack_loading`.
    """
    schemes = CheckpointLoader._schemes
    for prefixes, loader in (
        (('',), load_from_local),
        (('http://', 'https://'), load_from_http),
        (('modelzoo://', 'torchvision://'), load_from_torchvision),
        (('open-mmlab://', 'openmmlab://'), load_from_openmmlab),
        (('mmcls://',), load_from_mmcls),
        ((r'(\S+\:)?s3://', r'(\S+\:)?petrel://'), load_from_ceph),
        (('pavi://',), load_from_pavi),
    ):
        for prefix in prefixes:
            chosen = _chosen(loader, schemes.get(prefix))
            CheckpointLoader.register_scheme(prefix, chosen, force=True)
