# SPDX-License-Identifier: Apache-2.0
"""Write a model for other programs.

``python tools/export.py CONFIG model.onnx --checkpoint epoch_60.pth``
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from dataclasses import asdict

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
from mmreid_gcl.apis.quantize import export_int8
from mmreid_gcl.cli.command_line import (
    add_folder_arguments,
    add_json_option,
    add_model_arguments,
    build_inferencer,
    folder_options,
    show_result,
    tool,
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
        help='uint8: pixels, normalised inside; unit: the same, divided by 255; float: '
        'normalised by the caller',
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
        '--int8',
        action='store_true',
        help='quantise the ONNX file with crops of --calibrate (read as --split and so '
        'on say), and compare it with the model on the others',
    )
    parser.add_argument(
        '--calibrate', metavar='FOLDER', help='crops of the cameras where it will run'
    )
    parser.add_argument(
        '--force',
        action='store_true',
        help='write an INT8 file whose embeddings are far from those of the model',
    )
    parser.add_argument(
        '--no-check', action='store_true', help='do not compare with the model'
    )
    add_folder_arguments(parser)
    add_json_option(parser)
    args = parser.parse_args(argv)
    if args.int8 != bool(args.calibrate):
        parser.error('--int8 and --calibrate FOLDER go together')
    if args.int8 and (args.size or args.no_check or args.format not in (None, 'onnx')):
        parser.error('--int8 is for ONNX, without --size and --no-check')
    return args


@tool
def main(argv: Sequence[str] | None = None) -> int:
    """Export and compare."""
    args = parse_args(argv)
    inferencer = build_inferencer(args)
    if args.int8:
        metadata, parity = export_int8(
            inferencer,
            args.out,
            args.calibrate,
            args.input,
            args.preprocess,
            args.force,
            **folder_options(args),
        )
        print_metadata(args.out, metadata)
        print(f'  {parity}')
        show_result(args, dict(file=args.out, metadata=metadata, parity=asdict(parity)))
        return 0
    size = tuple(args.size) if args.size else input_size(inferencer.pipeline)
    metadata = export_model(
        inferencer, args.out, args.format, args.input, size, args.preprocess
    )
    print_metadata(args.out, metadata)
    result = dict(file=args.out, metadata=metadata)
    if args.no_check:
        show_result(args, result)
        return 0
    if args.preprocess:
        cosine = check_preprocessing(inferencer, args.out, size)
        show_result(args, dict(result, least_cosine=cosine))
        return 0
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


def print_metadata(path: str, metadata: dict[str, str]) -> None:
    """What goes into a file and what comes out of it."""
    print(f'{path}\n  in   {metadata["input"]}\n  out  {metadata["output"]}')


def check_preprocessing(
    inferencer: ReIDInferencer, path: str, size: tuple[int, ...]
) -> float:
    """Least cosine to the inferencer, on images that are larger and smaller."""
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
    return cosine


if __name__ == '__main__':
    sys.exit(main())
