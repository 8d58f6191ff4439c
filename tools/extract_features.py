# SPDX-License-Identifier: Apache-2.0
"""Embeddings of a folder of crops, as one ``.npz`` file.

``python tools/extract_features.py CONFIG crops/ --checkpoint epoch_60.pth
--out features.npz``
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from mmreid_gcl.apis.folder import list_folder
from mmreid_gcl.cli.command_line import (
    add_folder_arguments,
    add_json_option,
    add_model_arguments,
    build_inferencer,
    exit_code,
    folder_options,
    show_result,
    tool,
)


def parse_args(argv: Sequence[str] | None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(
        description='Embed a folder of crops. The file holds features (N, C) float32 '
        'of unit length, paths, cameras and identities (names; an empty one is not '
        'known), camids, pids, sequences and frames (-1 is not known), and meta, a '
        "JSON text; numpy.load('features.npz') reads it. Exit code 2: nothing was "
        'done; 3: done, but some crops could not be read.'
    )
    add_model_arguments(parser)
    parser.add_argument('folder', help='folder of crops')
    parser.add_argument('--out', default='features.npz', help='file to write')
    add_json_option(parser)
    add_folder_arguments(parser)
    args = parser.parse_args(argv)
    if not args.out.endswith('.npz'):
        parser.error(f'--out {args.out}: expected a name that ends in .npz')
    parent = Path(args.out).resolve().parent
    if not parent.is_dir():
        parser.error(f'--out: there is no folder {parent}')
    if not os.access(parent, os.W_OK):
        parser.error(f'--out: nothing may be written into {parent}')
    return args


@tool
def main(argv: Sequence[str] | None = None) -> int:
    """Embed and write."""
    args = parse_args(argv)
    inferencer = build_inferencer(args)
    images = list_folder(args.folder, **folder_options(args))
    found = inferencer.extract(images.files())
    kept = images.select(found.rows)
    meta = dict(
        root=str(kept.root),
        model=str(args.model),
        checkpoint=args.checkpoint,
        model_hash=inferencer.model_hash,
        half=args.half,
        failed=found.failed,
    )
    np.savez(
        args.out,
        features=found.features,
        paths=np.array(kept.paths),
        cameras=np.array(kept.cameras),
        identities=np.array(kept.identities),
        camids=kept.columns['camid'],
        pids=kept.columns['pid'],
        sequences=kept.columns['sequence'],
        frames=kept.columns['frame'],
        meta=np.array(json.dumps(meta)),
    )
    count, width = found.features.shape
    print(f'{args.out}: {count:,} embeddings of {width} values')
    show_result(args, dict(meta, file=args.out, images=count, width=width))
    return exit_code(found.failed)


if __name__ == '__main__':
    sys.exit(main())
