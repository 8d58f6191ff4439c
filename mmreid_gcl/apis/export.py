# SPDX-License-Identifier: Apache-2.0
"""A trained model as one file for other programs: ONNX, torch.export, TorchScript."""

from __future__ import annotations

import copy
import json
import warnings
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mmreid_gcl.datasets.image_folder import as_path
from mmreid_gcl.version import __version__

from .inferencer import ReIDInferencer

INPUT_TYPES = ('uint8', 'unit', 'float')
#: Interpolations of OpenCV that a file can do itself.
RESIZES = dict(bicubic='INTER_CUBIC, coefficient -0.75', bilinear='INTER_LINEAR')
#: Format to the ending of its files.
FORMATS = {'onnx': '.onnx', 'torch_export': '.pt2', 'torchscript': '.pt'}


class EmbeddingModule(nn.Module):
    """Images to embeddings, with nothing of the training around it.

    A copy of ``model``, which has ``extract_feat`` and a ``data_preprocessor``. With
    ``input_type`` 'uint8' the module normalises, with 'unit', too, pixels divided by
    255, with 'float' its input is normalised; another one is a ``ValueError``. With
    ``size`` (H, W) its input is uint8 RGB images (n, h, w, 3) of any size, which it
    resizes by ``interpolation`` as OpenCV does: bicubic with a = -0.75 or bilinear,
    centres of pixels at halves, no antialiasing, rounded.
    """

    def __init__(
        self,
        model: nn.Module,
        input_type: str = 'uint8',
        size: tuple[int, int] | None = None,
        interpolation: str = 'bicubic',
    ) -> None:
        super().__init__()
        if input_type not in INPUT_TYPES:
            raise ValueError(
                f'input_type must be one of {INPUT_TYPES}, got {input_type!r}.'
            )
        self.input_type = input_type
        self.size = size
        self.interpolation = interpolation
        self.rgb = channel_order(model) == 'RGB'
        scale = 255 if input_type == 'unit' else 1
        mean, std = (np.array(x) / scale for x in normalisation(model))
        self.register_buffer('mean', torch.tensor(mean).float().view(-1, 1, 1))
        self.register_buffer('std', torch.tensor(std).float().view(-1, 1, 1))
        model = copy.deepcopy(model).cpu().float().eval()
        # What makes training fast is not part of what is computed.
        if hasattr(model, 'channels_last'):
            model.channels_last = False
        model.to(memory_format=torch.contiguous_format)
        for module in model.modules():
            module._compiled_call_impl = None
        self.model = model

    def forward(self, images: Tensor) -> Tensor:
        """(n, 3, H, W) uint8 or float32 to (n, C) float32 of unit length.

        With ``size`` (n, h, w, 3) uint8.
        """
        if self.size is not None:
            images = images.permute(0, 3, 1, 2).float()
            images = F.interpolate(images, self.size, mode=self.interpolation)
            images = images.round().clamp(0, 255)
            images = images if self.rgb else images.flip(1)
        if self.input_type != 'float':
            images = (images.float() - self.mean) / self.std
        return self.model.extract_feat(images)


def normalisation(model: nn.Module) -> tuple[list[float], list[float]]:
    """Mean and standard deviation of a model's preprocessor, 0 and 1 if it has none."""
    found = [getattr(model.data_preprocessor, name, None) for name in ('mean', 'std')]
    if any(values is None for values in found):
        return [0.0] * 3, [1.0] * 3
    # the shortest decimals of the float32 numbers: 123.675, not 123.67500305
    mean, std = (
        [float(str(v)) for v in values.flatten().cpu().numpy()]
        for values in found
        if values is not None
    )
    return mean, std


def channel_order(model: nn.Module) -> str:
    """'RGB' or 'BGR': what a model's preprocessor makes of the BGR of data sets."""
    return 'RGB' if getattr(model.data_preprocessor, 'to_rgb', False) else 'BGR'


def input_size(pipeline: list[dict]) -> tuple[int, int]:
    """Height and width that test transforms make; a ``ValueError`` without one size."""
    for step in reversed(pipeline):
        if str(step.get('type')).rpartition('.')[2] == 'Resize':
            scale = step.get('scale')
            if isinstance(scale, int):
                return scale, scale
            if isinstance(scale, (list, tuple)) and len(scale) == 2:
                return int(scale[1]), int(scale[0])
    raise ValueError(
        'The test transforms do not resize to one size, such as '
        "dict(type='Resize', scale=(128, 256)) (width, height); give the size."
    )


def resize_inside(pipeline: list[dict]) -> str:
    """Interpolation of test transforms that a file can do: one resize and no more.

    Others are a ``ValueError``: embeddings would not be those of the model.
    """
    kinds = [str(step.get('type')).rpartition('.')[2] for step in pipeline]
    steps = [k for k in kinds if k not in ('LoadImageFromFile', 'PackInputs')]
    if steps == ['Resize']:
        resize = pipeline[kinds.index('Resize')]
        interpolation = resize.get('interpolation', 'bilinear')
        plain = not resize.get('keep_ratio')
        if plain and resize.get('backend', 'cv2') == 'cv2' and interpolation in RESIZES:
            return interpolation
    raise ValueError(
        'Preprocessing inside the file needs test transforms of one Resize to one size '
        f"by OpenCV (backend='cv2', interpolation one of {', '.join(RESIZES)}); these "
        f'are {pipeline}. Export without it and resize outside.'
    )


def describe(
    inferencer: ReIDInferencer,
    input_type: str,
    size: tuple[int, int],
    preprocess: bool = False,
) -> dict[str, str]:
    """What another program must know to use the file: JSON texts and plain words.

    ``input_type`` is one of ``INPUT_TYPES``, ``size`` (H, W); with ``preprocess`` the
    file resizes.
    """
    model = inferencer.model
    mean, std = normalisation(model)
    order = 'RGB' if preprocess else channel_order(model)
    resizes = [step for step in inferencer.pipeline if 'interpolation' in step]
    last = resizes[-1] if resizes else {}
    interpolation = last.get('interpolation', 'bilinear')
    if last.get('backend', 'cv2') == 'pillow':
        resize = f"Pillow's {interpolation}, which antialiases"
    else:
        resize = f"OpenCV's {interpolation}"
        if interpolation in RESIZES:
            resize += (
                f' ({RESIZES[interpolation]}, half-pixel centres), without '
                "antialiasing: Pillow's and torchvision's antialias and give other "
                'embeddings'
            )
    if input_type == 'uint8':
        expects = 'uint8, 0 to 255; the model normalises'
    elif input_type == 'unit':
        expects = 'float32, 0 to 1; the model normalises'
    else:
        expects = 'float32, (pixel of 0 to 255 - mean) / std'
    images = (
        f'images: (n, 3, {size[0]}, {size[1]}), n x channel x height x width, '
        f'{order}, {expects}'
    )
    if preprocess:
        images = (
            'images: (n, h, w, 3), n x height x width x channel of any one size, RGB, '
            'uint8, 0 to 255; the model resizes and normalises'
        )
    return dict(
        producer=f'mmreid_gcl {__version__}',
        input=images,
        output='embeddings: (n, C) float32, unit length; compare by inner product',
        input_type=input_type,
        preprocess=json.dumps(preprocess),
        channel_order=order,
        height=str(size[0]),
        width=str(size[1]),
        interpolation=interpolation,
        resize=resize,
        mean=json.dumps(mean),
        std=json.dumps(std),
        model_hash=inferencer.model_hash,
    )


def export_model(
    inferencer: ReIDInferencer,
    path: str | Path,
    file_format: str | None = None,
    input_type: str = 'uint8',
    size: tuple[int, int] | None = None,
    preprocess: bool = False,
) -> dict[str, str]:
    """Write a model for other programs; the number of images stays free.

    Args:
        inferencer (ReIDInferencer): The model.
        path (str | Path): File to write.
        file_format (str, optional): 'onnx', 'torch_export' or 'torchscript'.
            Defaults to what the ending says: .onnx, .pt2, .pt.
        input_type (str): 'uint8': pixels go in, the file normalises. 'unit': the same
            with pixels divided by 255. 'float': normalised pixels go in; mean and std
            stand in the metadata. Defaults to 'uint8'.
        size (tuple[int, int], optional): (H, W). Defaults to that of the test
            transforms.
        preprocess (bool): The file resizes, too: uint8 RGB images (n, h, w, 3) of any
            one size go in. Defaults to False.

    Returns:
        dict[str, str]: The metadata in the file: properties of an ONNX model, the
        extra file ``metadata.json`` of the others.

    Raises:
        ImportError: If onnx or onnxscript is not installed.
        ValueError: If the format is unknown, there is no size or one below 1, or the
            file cannot do what ``preprocess`` asks for.
    """
    path = as_path(path)
    if file_format is None:
        endings = {ending: name for name, ending in FORMATS.items()}
        file_format = endings.get(path.suffix)
    if file_format not in FORMATS:
        raise ValueError(
            f'{path}: the format must be one of {", ".join(FORMATS)}, or follow from '
            f'the ending of the file: {", ".join(FORMATS.values())}.'
        )
    size = input_size(inferencer.pipeline) if size is None else size
    if min(size) < 1:
        raise ValueError(
            f'The size (height, width) must be at least 1 x 1 pixels, got {size}.'
        )
    if preprocess and input_type != 'uint8':
        raise ValueError(
            "With preprocess the input is pixels: input_type must be 'uint8', got "
            f'{input_type!r}.'
        )
    inside = (size, resize_inside(inferencer.pipeline)) if preprocess else ()
    module = EmbeddingModule(inferencer.model, input_type, *inside).eval()
    metadata = describe(inferencer, input_type, size, preprocess)
    # two images: one would be taken for a constant
    shape = (2, size[0] + 1, size[1] + 2, 3) if preprocess else (2, 3, *size)
    example = torch.zeros(shape)
    if input_type == 'uint8':
        example = example.byte()
    path.parent.mkdir(parents=True, exist_ok=True)
    writers = dict(onnx=_onnx, torch_export=_torch_export, torchscript=_torchscript)
    with torch.no_grad(), warnings.catch_warnings():
        # tracing warns of what is constant here, and of its own age
        warnings.simplefilter('ignore')
        writers[file_format](module, example, path, metadata)
    return metadata


def _free_sizes(module: nn.Module) -> tuple[dict]:
    """The number of images, and height and width of those that the module resizes."""
    names = ['n'] if module.size is None else ['n', 'h', 'w']
    return ({i: torch.export.Dim(name) for i, name in enumerate(names)},)


def require_packages(*names: str) -> None:
    """Raise an ``ImportError`` that says how to install what is missing."""
    missing = [name for name in names if find_spec(name) is None]
    if missing:
        raise ImportError(
            f'ONNX needs {" and ".join(missing)}: pip install '
            '"mmreid_gcl[optional]" or pip install onnx onnxscript onnxruntime.'
        )


def onnx_session(path: str | Path):
    """An ``InferenceSession`` on the CPU; without onnxruntime an ``ImportError``."""
    require_packages('onnxruntime')
    import onnxruntime

    return onnxruntime.InferenceSession(str(path), providers=['CPUExecutionProvider'])


def _onnx(module: nn.Module, example: Tensor, path: Path, metadata: dict) -> None:
    require_packages('onnx', 'onnxscript')
    import onnx

    torch.onnx.export(
        module,
        (example,),
        str(path),
        input_names=['images'],
        output_names=['embeddings'],
        dynamic_shapes=_free_sizes(module),
        dynamo=True,
        external_data=False,
        verbose=False,
    )
    model = onnx.load(str(path))
    onnx.helper.set_model_props(model, metadata)
    onnx.checker.check_model(model)
    onnx.save(model, str(path))


def _torch_export(
    module: nn.Module, example: Tensor, path: Path, metadata: dict
) -> None:
    program = torch.export.export(
        module, (example,), dynamic_shapes=_free_sizes(module)
    )
    torch.export.save(
        program, str(path), extra_files={'metadata.json': json.dumps(metadata)}
    )


def _torchscript(
    module: nn.Module, example: Tensor, path: Path, metadata: dict
) -> None:
    traced = torch.jit.trace(module, example, check_trace=False)
    torch.jit.save(
        traced, str(path), _extra_files={'metadata.json': json.dumps(metadata)}
    )


def run_exported(path: str | Path, images: np.ndarray) -> np.ndarray:
    """Embed with a file of :func:`export_model`, as another program would.

    ``images`` are (n, 3, H, W), uint8 or float32 as the file expects, or (n, h, w, 3)
    for one that resizes; the result is (n, C) float32. ONNX without onnxruntime is an
    ``ImportError``.
    """
    path = as_path(path)
    if path.suffix == '.onnx':
        return onnx_session(path).run(None, {'images': images})[0]
    if path.suffix == '.pt2':
        module = torch.export.load(str(path)).module()
    else:
        module = torch.jit.load(str(path), map_location='cpu')
    with torch.no_grad():
        return module(torch.from_numpy(images)).numpy()


def compare_exported(
    inferencer: ReIDInferencer, path: str | Path, input_type: str, images: np.ndarray
) -> float:
    """Largest difference between an exported file and the model: absolute, unit length.

    ``input_type`` is what the file expects; ``images`` are (n, 3, H, W) uint8 in the
    model's channel order.
    """
    module = EmbeddingModule(inferencer.model, 'uint8').eval()
    with torch.no_grad():
        expected = module(torch.from_numpy(images)).numpy()
    found = run_exported(path, as_input(inferencer.model, images, input_type))
    return float(np.abs(found - expected).max())


def as_input(model: nn.Module, images: np.ndarray, input_type: str) -> np.ndarray:
    """Pixels (n, 3, H, W) uint8, in the model's channel order, as a file expects."""
    if input_type == 'uint8':
        return images
    if input_type == 'unit':
        return images.astype(np.float32) / 255
    mean, std = (np.array(x, np.float32)[:, None, None] for x in normalisation(model))
    return (images.astype(np.float32) - mean) / std


def least_cosine(
    inferencer: ReIDInferencer, path: str | Path, images: list[np.ndarray]
) -> float:
    """Least cosine of embeddings by a file that resizes and by the inferencer.

    ``images`` are (h, w, 3) uint8 BGR, of any sizes.
    """
    expected = inferencer(images)
    found = [run_exported(path, image[None, ..., ::-1].copy())[0] for image in images]
    return float((np.stack(found) * expected).sum(1).min())
