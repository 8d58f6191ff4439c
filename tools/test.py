# SPDX-License-Identifier: Apache-2.0
"""Evaluate a checkpoint: ``python tools/test.py CONFIG CHECKPOINT``."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from mmengine.dist import is_main_process
from mmengine.registry import RUNNERS
from mmengine.runner import Runner

from mmreid_gcl.apis import load_config
from mmreid_gcl.apis.evaluation_output import KeepEvaluation
from mmreid_gcl.checkpoint import safe_loading
from mmreid_gcl.cli.command_line import (
    add_config_options,
    add_json_option,
    add_launcher,
    checkpoint_argument,
    name_local_rank,
    show_result,
    tool,
)

UNTRAINED = 'untrained'


def parse_args(argv: Sequence[str] | None) -> argparse.Namespace:
    """The command line, as in other OpenMMLab projects."""
    parser = argparse.ArgumentParser(description='Evaluate a checkpoint')
    parser.add_argument('config', help='config file or name')
    parser.add_argument(
        'checkpoint',
        type=checkpoint_argument,
        help='path of the checkpoint; a work dir for its last one; "untrained" for '
        'the weights that training begins with',
    )
    parser.add_argument(
        '--work-dir', help="folder of the log; default: test/ in the config's work dir"
    )
    parser.add_argument(
        '--out', help='.npz file for features, identities, cameras, paths and metrics'
    )
    parser.add_argument(
        '--flip', action='store_true', help='average with the mirror image'
    )
    add_json_option(parser)
    add_config_options(parser)
    add_launcher(parser)
    args = parser.parse_args(argv)
    # before minutes go into building model and data sets
    named = '://' in args.checkpoint or args.checkpoint == UNTRAINED
    if not named and not Path(args.checkpoint).is_file():
        parser.error(
            f'{args.checkpoint}: there is no such checkpoint. Give its path, a work '
            f'dir, or {UNTRAINED!r}'
        )
    if args.out and not Path(args.out).resolve().parent.is_dir():
        parser.error(f'--out: there is no folder {Path(args.out).parent}')
    name_local_rank(args.local_rank)
    return args


@safe_loading()  # whatever the config's default_scope
@tool
def main(argv: Sequence[str] | None = None) -> int:
    """Build the runner and test."""
    args = parse_args(argv)
    cfg = load_config(args.config, args.cfg_options, args.work_dir, args.launcher)
    if args.work_dir is None:  # the run's own folder keeps the config it was run with
        cfg.work_dir = str(Path(cfg.work_dir) / 'test')
    cfg.load_from = None
    if args.checkpoint != UNTRAINED:
        cfg.load_from = args.checkpoint
        # the checkpoint has all weights: no other file is needed
        cfg.model.backbone.pop('init_cfg', None)
    if args.flip:
        cfg.model.flip_test = True
    runner = RUNNERS.build(cfg) if 'runner_type' in cfg else Runner.from_cfg(cfg)
    if args.checkpoint == UNTRAINED:
        runner._init_model_weights()
    kept = KeepEvaluation(runner) if args.out else None
    metrics = runner.test()
    if kept and is_main_process():
        kept.save(args.out, metrics)
        print(f'{args.out}: features, identities, cameras, paths and metrics')
    if is_main_process():
        show_result(args, dict(metrics=metrics, file=args.out, log=runner.log_dir))
    return 0


if __name__ == '__main__':
    sys.exit(main())
