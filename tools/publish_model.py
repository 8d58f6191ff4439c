# SPDX-License-Identifier: Apache-2.0
"""Make a checkpoint fit to give away.

``python tools/publish_model.py work_dirs/gcl_folder/epoch_60.pth my_model.pth`` writes
``my_model-<hash>.pth`` with weights and config, without the optimiser.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from mmreid_gcl.apis.publish import publish_checkpoint
from mmreid_gcl.cli.command_line import (
    add_json_option,
    checkpoint_argument,
    show_result,
    tool,
)
from mmreid_gcl.config.load import read_config
from mmreid_gcl.config.packaged import find_config


@tool
def main(argv: Sequence[str] | None = None) -> int:
    """Read, check, write."""
    parser = argparse.ArgumentParser(
        description='Keep of a checkpoint its weights and the part of its config that '
        'using it needs; put the hash into the name.'
    )
    parser.add_argument(
        'checkpoint',
        type=checkpoint_argument,
        help='checkpoint of a training; a work dir for its last one',
    )
    parser.add_argument('out', help='name of the file, to which the hash is added')
    parser.add_argument(
        '--config', help='config file or name, if the checkpoint has none'
    )
    add_json_option(parser)
    args = parser.parse_args(argv)
    config = read_config(find_config(args.config)) if args.config else None
    path = publish_checkpoint(args.checkpoint, args.out, config)
    megabytes = [Path(name).stat().st_size / 2**20 for name in (args.checkpoint, path)]
    print(f'{path}: {megabytes[1]:.1f} MiB (was {megabytes[0]:.1f})')
    show_result(
        args, dict(file=path, mebibytes=megabytes[1], was_mebibytes=megabytes[0])
    )
    return 0


if __name__ == '__main__':
    sys.exit(main())
