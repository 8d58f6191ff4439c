# SPDX-License-Identifier: Apache-2.0
"""How a config turns an image into input of its model."""

from __future__ import annotations

from mmengine.config import Config


def find_test_pipeline(cfg: Config) -> list[dict]:
    """The test transforms of a config.

    Those of the test data set, else of the validation data set, of the
    pseudo-label hook, or the variable ``test_pipeline``.

    Args:
        cfg (Config): The config.

    Returns:
        list[dict]: Configs of transforms, the one that loads included.

    Raises:
        ValueError: If there are none.
    """
    candidates = [
        ((cfg.get(name) or {}).get('dataset') or {}).get('pipeline')
        for name in ('test_dataloader', 'val_dataloader')
    ]
    candidates += [
        (hook.get('extract') or {}).get('pipeline')
        for hook in cfg.get('custom_hooks') or []
    ]
    candidates.append(cfg.get('test_pipeline'))
    for pipeline in candidates:
        if pipeline:
            return [dict(step) for step in pipeline]
    raise ValueError(
        'The config has no test transforms. Expected them as '
        'test_dataloader.dataset.pipeline or test_pipeline; or give pipeline=.'
    )


def find_pseudo_label_hook(cfg: Config | None) -> dict:
    """Settings of the pseudo-label hook of a config: clusterer, graphs, ….

    Args:
        cfg (Config, optional): The config.

    Returns:
        dict: Its arguments; empty if there is none.
    """
    for hook in (cfg or {}).get('custom_hooks') or []:
        if str(hook.get('type')).rpartition('.')[2] == 'PseudoLabelHook':
            return dict(hook)
    return {}
