# SPDX-License-Identifier: Apache-2.0
"""Typing errors in ``--cfg-options``, which mmengine takes without a word."""

from __future__ import annotations

import difflib
import inspect
from collections.abc import Iterable

from mmengine.config import Config
from mmengine.runner import Runner

#: Settings that the tools read, beside those of the Runner.
OF_THE_TOOLS = {'data_root', 'image_cache', 'runner_type', 'auto_scale_lr', 'compile'}


def check_options(cfg: Config, options: Iterable[str]) -> None:
    """Raise if an option names a setting that neither config nor Runner has.

    ``train_datloader.batch_size=64`` would add a variable that nobody reads. What is
    wrong further inside (``train_dataloader.sampler.colour=1``) is an error when
    the part is built.

    Args:
        cfg (Config): Before the options are merged into it.
        options (Iterable[str]): Their keys, with dots.

    Raises:
        ValueError: With the name that was probably meant.
    """
    runner = set(inspect.signature(Runner.__init__).parameters) - {'self', 'cfg'}
    known = set(cfg.keys()) | runner | OF_THE_TOOLS
    for option in options:
        first = option.partition('.')[0]
        if first in known:
            continue
        near = difflib.get_close_matches(first, known, 1)
        hint = f' Did you mean {near[0]}?' if near else ''
        raise ValueError(
            f'--cfg-options {option}: the config has no setting {first!r}.{hint} '
            'tools/print_config.py shows all of them.'
        )
