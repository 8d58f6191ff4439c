# SPDX-License-Identifier: Apache-2.0
"""Train a model: ``python tools/train.py CONFIG``."""

import argparse
import sys
from pathlib import Path

from mmengine import dist
from mmengine.config import Config
from mmengine.registry import RUNNERS
from mmengine.runner import Runner

from mmreid_gcl.apis import load_config
from mmreid_gcl.checkpoint import WeightsError, safe_loading
from mmreid_gcl.cli.command_line import (
    MENDABLE,
    REFUSED,
    add_config_options,
    add_json_option,
    add_launcher,
    checkpoint_argument,
    name_local_rank,
    own_stdout,
    refuse,
    show_result,
)
from mmreid_gcl.datasets.image_folder import require_folder
from mmreid_gcl.datasets.person_folder import NoImagesError
from mmreid_gcl.work_dir import WorkDirError, claim, last_checkpoint


def parse_args() -> argparse.Namespace:
    """The command line, as in other OpenMMLab projects."""
    parser = argparse.ArgumentParser(description='Train a re-identification model')
    parser.add_argument('config', help='config file or name')
    parser.add_argument('--work-dir', help='folder of logs and checkpoints')
    parser.add_argument(
        '--resume',
        nargs='?',
        const='auto',
        type=checkpoint_argument,
        help='resume from this checkpoint, or without a value from the latest one '
        'in the work dir',
    )
    parser.add_argument(
        '--amp',
        action='store_true',
        help='train in mixed precision: float16 on a GPU, bfloat16 on a CPU',
    )
    parser.add_argument(
        '--no-validate', action='store_true', help='do not evaluate while training'
    )
    parser.add_argument(
        '--auto-scale-lr',
        action='store_true',
        help='scale the learning rate by P * K / auto_scale_lr.base_batch_size',
    )
    parser.add_argument(
        '--no-pin-memory',
        action='store_true',
        help='do not copy batches through page-locked memory',
    )
    parser.add_argument(
        '--no-persistent-workers',
        action='store_true',
        help='start the loading processes anew for every epoch',
    )
    add_json_option(parser)
    add_config_options(parser)
    add_launcher(parser)
    args = parser.parse_args()
    name_local_rank(args.local_rank)
    return args


def _use_mixed_precision(cfg: Config) -> None:
    kind = str(cfg.optim_wrapper.get('type', 'OptimWrapper')).rpartition('.')[2]
    if kind not in ('OptimWrapper', 'AmpOptimWrapper', 'MixedPrecisionOptimWrapper'):
        raise SystemExit(
            f'--amp: the config has optim_wrapper.type={kind!r}, expected '
            "'OptimWrapper'. Leave --amp out, or choose its precision in the config."
        )
    cfg.optim_wrapper.type = 'mmreid_gcl.MixedPrecisionOptimWrapper'


def _set_loading(cfg: Config, args: argparse.Namespace) -> None:
    for name in ('train_dataloader', 'val_dataloader', 'test_dataloader'):
        if cfg.get(name) is None:
            continue
        if args.no_pin_memory:
            cfg[name].pin_memory = False
        if args.no_persistent_workers:
            cfg[name].persistent_workers = False


def _find_data(cfg: Config) -> None:
    """End with one line, before the runner logs hundreds."""
    for name in ('train_dataloader', 'val_dataloader'):
        dataset = (cfg.get(name) or {}).get('dataset') or {}
        if dataset.get('data_root'):
            root = Path(dataset['data_root']).expanduser()
            require_folder(root, f'the images of {name} (data_root)')


def _find_weights(cfg: Config, config: str) -> None:
    """Likewise for the model to begin with."""
    path = cfg.get('load_from')
    if cfg.get('resume') or path is None:
        return
    if not path:
        raise ValueError(
            f'{config} goes on with a trained model, which you give: --cfg-options '
            'load_from=model.pth'
        )
    if '://' not in path and not Path(path).expanduser().is_file():
        raise FileNotFoundError(f'{path} (load_from): there is no such checkpoint.')


def _resume(cfg: Config, checkpoint: str) -> None:
    """``load_from`` is for the first start, a checkpoint of the run for the others."""
    if checkpoint != 'auto':
        cfg.resume, cfg.load_from = True, checkpoint
    elif (Path(cfg.work_dir) / 'last_checkpoint').exists():
        cfg.resume, cfg.load_from = True, None
    else:
        cfg.resume = not cfg.get('load_from')


def main() -> None:
    """Build the runner and train."""
    args = parse_args()
    try:
        cfg = load_config(args.config, args.cfg_options, args.work_dir, args.launcher)
        _find_data(cfg)
    except MENDABLE as error:
        sys.exit(refuse('train', error))
    if args.no_validate:
        cfg.val_cfg = cfg.val_dataloader = cfg.val_evaluator = None
    if args.amp:
        _use_mixed_precision(cfg)
    _set_loading(cfg, args)
    if args.auto_scale_lr:
        if not cfg.get('auto_scale_lr'):
            raise SystemExit(
                f'--auto-scale-lr: {args.config} has no auto_scale_lr, which names the '
                'batch size that the learning rate is for. Add '
                'auto_scale_lr=dict(base_batch_size=128) to it.'
            )
        cfg.auto_scale_lr.enable = True
    if args.resume is not None:
        _resume(cfg, args.resume)
    try:
        _find_weights(cfg, args.config)
    except MENDABLE as error:
        sys.exit(refuse('train', error))
    try:
        if args.launcher == 'none' or dist.is_distributed():
            claim(cfg.work_dir)  # else the processes must first be connected
        runner = RUNNERS.build(cfg) if 'runner_type' in cfg else Runner.from_cfg(cfg)
        runner.train()
    except (WorkDirError, WeightsError, NoImagesError) as error:
        sys.exit(refuse('train', error) if dist.is_main_process() else REFUSED)
    if dist.is_main_process() and args.json:
        last = last_checkpoint(cfg.work_dir)
        show_result(args, dict(work_dir=cfg.work_dir, checkpoint=last))


if __name__ == '__main__':
    with own_stdout(), safe_loading():  # whatever the config's default_scope
        main()
