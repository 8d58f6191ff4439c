# SPDX-License-Identifier: Apache-2.0
"""Whether pretrained weights reached the backbone they were given to."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

from mmengine.logging import print_log
from mmengine.runner.checkpoint import CheckpointLoader
from torch import nn

from mmreid_gcl.checkpoint import TOO_FEW, WeightsError, some_keys

_ENOUGH = 0.9  # share of a backbone's numbers


def initialize(backbone: nn.Module, init_weights: Callable[[], None]) -> None:
    """Initialise weights; refuse a file of which the backbone took next to nothing.

    mmengine only logs what does not fit, and training goes on from random weights.

    Args:
        backbone (nn.Module): With ``init_cfg``.
        init_weights (Callable): Initialises the model that it is in.

    Raises:
        WeightsError: If less than a tenth of the backbone was filled; with the file,
            keys that were expected and keys that were found.
    """
    cfg: Any = getattr(backbone, 'init_cfg', None)
    named = isinstance(cfg, dict) and cfg.get('type') == 'Pretrained'
    if not named or getattr(backbone, 'is_init', False):
        init_weights()
        return
    before = {name: v.detach().clone() for name, v in backbone.state_dict().items()}
    init_weights()
    after = backbone.state_dict()
    total = sum(value.numel() for value in after.values())
    filled = [n for n, v in after.items() if not v.equal(before[n].to(v.device))]
    share = sum(after[name].numel() for name in filled) / max(total, 1)
    if share >= _ENOUGH:
        return
    file = cfg['checkpoint']
    text = f'{file}: {share:.0%} of the backbone ({type(backbone).__name__}) was filled'
    if share >= TOO_FEW:
        print_log(f'{text}.', logger='current', level=logging.WARNING)
        return
    content = CheckpointLoader.load_checkpoint(file, map_location='cpu')
    found = list(content.get('state_dict', content))
    raise WeightsError(
        f'{text}: these are weights of another network. Expected keys such as '
        f'{some_keys(after)}, found {some_keys(found)}. Give the backbone the file '
        'belongs to, or another file (model.backbone.init_cfg.checkpoint), with '
        'prefix= if its names begin with one.'
    )
