# SPDX-License-Identifier: Apache-2.0
"""Convert weights of another code base for ``load_from`` or ``init_cfg``.

``python tools/model_converters/convert_weights.py SRC DST --source fast-reid``
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

import torch

from mmreid_gcl.checkpoint import read_checkpoint
from mmreid_gcl.cli.command_line import add_json_option, show_result, tool
from mmreid_gcl.models.key_mapping import SOURCES, convert_state_dict


@tool
def main(argv: Sequence[str] | None = None) -> int:
    """Read, rename, write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('src', help='checkpoint of the other code base')
    parser.add_argument('dst', help='where to write the converted one')
    parser.add_argument('--source', choices=sorted(SOURCES), required=True)
    add_json_option(parser)
    args = parser.parse_args(argv)
    weights = read_checkpoint(args.src)
    try:
        converted = convert_state_dict(weights, args.source)
    except ValueError as error:
        raise ValueError(f'{args.src}: {error}') from error
    Path(args.dst).parent.mkdir(parents=True, exist_ok=True)
    torch.save(dict(state_dict=converted), args.dst)
    print(f'{args.dst}: {len(converted)} tensors from {args.src}')
    show_result(args, dict(file=args.dst, tensors=list(converted)))
    return 0


if __name__ == '__main__':
    sys.exit(main())
