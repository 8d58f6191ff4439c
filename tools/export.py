# SPDX-License-Identifier: Apache-2.0
"""Write a model for other programs.

``python tools/export.py CONFIG model.onnx --checkpoint epoch_60.pth``
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

import numpy as np

from mmreid_gcl.apis import ReIDInferencer
from mmreid_gcl.apis.export import (
    FORMATS,
    INPUT_TYPES,
    compare_exported,
    export_model,
    input_size,
    least_cosine,
)
from mmreid_gcl.cli.command_line import (
    add_json_option,
    add_model_arguments,
    build_inferencer,
    run_tool,
    show_result,
)

#: Unit embeddings may differ by this much; rankings of real crops stay the same.
TOLERANCE = 1e-4
#: Least cosine where the file resizes; OpenCV computes with rounded weights.
LEAST_COSINE = 0.999


def parse_args(argv: Sequence[str] | None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(
        description='Export a model to ONNX, torch.export or TorchScript, with a free '
        'number of images, and compare the file with the model. Size, channel order '
        'and normalisation stand in its metadata.'
    )
    add_model_arguments(parser)
    parser.add_argument(
        'out', help='file: .onnx, .pt2 (torch.export), .pt (TorchScript)'
    )
    parser.add_argument(
        '--format', choices=list(FORMATS), help='default: by the ending'
    )
    parser.add_argument(
        '--input',
        choices=INPUT_TYPES,
        default='uint8',
        help='uint8: pixels, normalised inside; float: normalised by the caller',
    )
    parser.add_argument(
        '--preprocess',
        action='store_true',
        help='resize inside: the input is uint8 RGB images (n, h, w, 3) of any size',
    )
    parser.add_argument(
        '--size', type=int, nargs=2, metavar=('HEIGHT', 'WIDTH'), help='of the images'
    )
    parser.add_argument(
        '--no-check', action='store_true', help='do not compare with the model'
    )
    add_json_option(parser)
    return parser.parse_args(argv)


def export(argv: Sequence[str] | None) -> int:
    """Export and compare."""
    args = parse_args(argv)
    inferencer = build_inferencer(args)
    size = tuple(args.size) if args.size else input_size(inferencer.pipeline)
    metadata = export_model(
        inferencer, args.out, args.format, args.input, size, args.preprocess
    )
    print(f'{args.out}\n  in   {metadata["input"]}\n  out  {metadata["output"]}')
    result = dict(file=args.out, metadata=metadata)
    if args.no_check:
        show_result(args, result)
        return 0
    if args.preprocess:
        return check_preprocessing(inferencer, args.out, size)
    # three images: not the number that was traced
    images = np.random.default_rng(0).integers(0, 256, (3, 3, *size), np.uint8)
    difference = compare_exported(inferencer, args.out, args.input, images)
    print(f'  largest difference to the model: {difference:.1e}')
    if not difference <= TOLERANCE:
        raise ValueError(
            f'{args.out}: embeddings differ from those of the model by '
            f'{difference:.1e}, more than {TOLERANCE:g}. Do not use this file.'
        )
    show_result(args, dict(result, largest_difference=difference))
    return 0


def check_preprocessing(
    inferencer: ReIDInferencer, path: str, size: tuple[int, ...]
) -> int:
    """Compare with the inferencer on images that are larger and smaller."""
    rng = np.random.default_rng(0)
    images = [
        np.kron(rng.integers(0, 256, (h, w, 3)), np.ones((3, 3, 1))).astype(np.uint8)
        for h, w in ((size[0], size[1]), (size[0] // 9 + 5, size[1] // 8 + 3))
    ]
    cosine = least_cosine(inferencer, path, images)
    print(f'  least cosine to the model, with its own resizing: {cosine:.6f}')
    if not cosine >= LEAST_COSINE:
        raise ValueError(
            f'{path}: the cosine to embeddings of the model is {cosine:.4f}, below '
            f'{LEAST_COSINE}. Do not use this file.'
        )
    return 0


def main(argv: Sequence[str] | None = None) -> int:
    """Export; the exit code."""
    return run_tool('export', export, argv)


if __name__ == '__main__':
    sys.exit(main())
