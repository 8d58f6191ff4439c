# SPDX-License-Identifier: Apache-2.0
"""Convert weights of another code base for ``load_from`` or ``init_cfg``.

``python tools/model_converters/convert_weights.py SRC DST --source fast-reid``
"""

import argparse
from pathlib import Path

import torch

from mmreid_gcl.models.key_mapping import SOURCES, convert_state_dict


def main() -> None:
    """Read, rename, write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('src', help='checkpoint of the other code base')
    parser.add_argument('dst', help='where to write the converted one')
    parser.add_argument('--source', choices=sorted(SOURCES), required=True)
    args = parser.parse_args()
    if not Path(args.src).is_file():
        raise SystemExit(f'{args.src}: there is no such file.')
    # weights only: a checkpoint from elsewhere must not run code
    weights = torch.load(args.src, map_location='cpu', weights_only=True)
    converted = convert_state_dict(weights, args.source)
    Path(args.dst).parent.mkdir(parents=True, exist_ok=True)
    torch.save(dict(state_dict=converted), args.dst)
    print(f'{args.dst}: {len(converted)} tensors from {args.src}')


if __name__ == '__main__':
    main()
