# SPDX-License-Identifier: Apache-2.0
"""An ONNX file in INT8, and how far its embeddings are from those of the model."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

from mmreid_gcl.datasets.image_folder import as_path, log
from mmreid_gcl.evaluation.ground_truth import JUNK_PID
from mmreid_gcl.evaluation.ranking import evaluate_ranking
from mmreid_gcl.files import write_atomically

from .export import (
    as_input,
    channel_order,
    export_model,
    onnx_session,
    require_packages,
)
from .folder import list_folder
from .images import read_image
from .inferencer import ReIDInferencer

#: Below one of these, or with more points of mAP lost, a file is not written.
LEAST_COSINE, LEAST_AGREEMENT, MOST_LOST = 0.95, 0.9, 1.0
#: Fewer people say too little of the mAP.
_FEWEST_PEOPLE = 20
#: Crops: most that set the ranges, most that are compared, fewest in a folder.
_CALIBRATION, _COMPARED, _FEWEST = 256, 2000, 8
_BATCH = 32


@dataclass(frozen=True)
class Parity:
    """What INT8 changes, on crops that did not set its ranges."""

    crops: int  #: That were compared
    cosine_mean: float  #: Of the embeddings of a crop by both
    cosine_min: float  #: Of the worst crop
    rank1_agreement: float  #: Share whose most similar other crop is the same
    map_before: float | None  #: In percent, of the model; None: nobody in two cameras
    map_after: float | None  #: Of the file
    people: int = 0  #: In two cameras, who are searched for the mAP

    def __str__(self) -> str:
        text = (
            f'INT8 against the model, {self.crops:,} other crops: cosine mean '
            f'{self.cosine_mean:.4f}, min {self.cosine_min:.4f}; the same rank 1 for '
            f'{self.rank1_agreement:.1%}; '
        )
        if self.map_before is None:
            return text + 'mAP unknown (no identity is known in two cameras)'
        return text + f'mAP {self.map_before:.1f} -> {self.map_after:.1f}'

    @property
    def good(self) -> bool:
        """Whether the limits are kept: of the cosine, and of the search.

        The search is judged by the mAP, and where less than 20 people are known by the
        agreement too, which counts two frames of a track that change places.
        """
        searches = self.rank1_agreement >= LEAST_AGREEMENT
        if self.map_before is not None and self.map_after is not None:
            kept = self.map_before - self.map_after <= MOST_LOST
            searches = kept and (searches or self.people >= _FEWEST_PEOPLE)
        return searches and self.cosine_mean >= LEAST_COSINE


def compare_embeddings(
    before: np.ndarray, after: np.ndarray, pids: np.ndarray, camids: np.ndarray
) -> Parity:
    """Compare embeddings of the same crops by two models.

    Args:
        before (np.ndarray): (N, C), unit length, N at least 2.
        after (np.ndarray): (N, C), unit length.
        pids (np.ndarray): (N,) identities, -1: not known. Each crop is searched in the
            other cameras for the mAP.
        camids (np.ndarray): (N,) cameras.
    """
    cosine = (before * after).sum(1)
    nearest = []
    for features in (before, after):
        similarity = features @ features.T
        np.fill_diagonal(similarity, -np.inf)
        nearest.append(similarity.argmax(1))
    known = pids != JUNK_PID
    cameras_of = {pid: set(camids[pids == pid]) for pid in set(pids[known])}
    searched = {pid for pid, cameras in cameras_of.items() if len(cameras) > 1}
    query = np.isin(pids, list(searched))
    scores: list[float | None] = [None, None]
    if query.any():
        ids = (pids[query], camids[query])
        scores = [
            evaluate_ranking(f[query], *ids, f, pids, camids)['mAP']
            for f in (before, after)
        ]
    return Parity(
        len(before),
        float(cosine.mean()),
        float(cosine.min()),
        float((nearest[0] == nearest[1]).mean()),
        scores[0],
        scores[1],
        len(searched),
    )


def export_int8(
    inferencer: ReIDInferencer,
    path: str | Path,
    folder: str | Path,
    input_type: str = 'uint8',
    preprocess: bool = False,
    force: bool = False,
    **kwargs,
) -> tuple[dict[str, str], Parity]:
    """Write a model as ONNX in INT8, with ranges from crops, and compare the two.

    Every other crop, at most 256, sets the ranges; at most 2,000 of the others are
    compared. Weights have 7 bits a channel, so that processors without VNNI do not
    overflow.

    Args:
        inferencer (ReIDInferencer): The model.
        path (str | Path): The .onnx file to write.
        folder (str | Path): The crops, at least 8, better some hundreds.
        input_type (str): As for :func:`~mmreid_gcl.apis.export.export_model`.
        preprocess (bool): As there.
        force (bool): Write a file beyond the limits, too. Defaults to False.
        **kwargs: As for :func:`~mmreid_gcl.apis.folder.list_folder`.

    Returns:
        tuple[dict[str, str], Parity]: The metadata, as of ``export_model``, with
        ``precision`` and ``parity`` (JSON), and the comparison.

    Raises:
        ImportError: If a package is not installed.
        ValueError: If there are too few crops, the path is not that of an ONNX file, or
            the mean cosine is below 0.95, or the mAP falls by more than 1 point, or,
            of less than 20 known people, the rank-1 agreement is below 0.9: nothing is
            written then, unless ``force``.
    """
    path = as_path(path)
    if path.suffix != '.onnx':
        raise ValueError(f'{path}: INT8 is for ONNX; expected a name with .onnx.')
    require_packages('onnx', 'onnxscript', 'onnxruntime')
    import onnx

    images = list_folder(folder, **kwargs)
    found = inferencer.extract(images.files())
    if len(found) < _FEWEST:
        raise ValueError(
            f'{folder}: INT8 needs at least {_FEWEST} crops that can be read, better '
            f'some hundreds of the cameras where it will run; got {len(found)}.'
        )
    rows = np.arange(len(found))
    ranged, compared = _spread(rows[::2], _CALIBRATION), _spread(rows[1::2], _COMPARED)
    options = (input_type, preprocess)
    with TemporaryDirectory() as temporary:
        whole, small = (Path(temporary) / name for name in ('float.onnx', 'int8.onnx'))
        metadata = export_model(inferencer, whole, None, input_type, None, preprocess)
        batches = _batches(inferencer, [found.paths[row] for row in ranged], *options)
        _quantise(whole, small, batches)
        session = onnx_session(small)
        batches = _batches(inferencer, [found.paths[row] for row in compared], *options)
        after = np.concatenate([session.run(None, feed)[0] for feed in batches])
        model = onnx.load(str(small))
    kept = images.select(found.rows[compared]).columns
    parity = compare_embeddings(
        found.features[compared], after, kept['pid'], kept['camid']
    )
    if not parity.good:
        problem = (
            f'{path}: {parity}. The limits are a mean cosine of {LEAST_COSINE}, and '
            f'{MOST_LOST:g} point of mAP or, of less than {_FEWEST_PEOPLE} people, '
            f'{LEAST_AGREEMENT:.0%} of the same rank 1'
        )
        if not force:
            raise ValueError(
                f'{problem}, so it is not written. Stay with the float file; --force '
                '(force=True) writes it all the same.'
            )
        log(f'{problem}. Do not use this file unless you know why.', logging.WARNING)
    metadata = dict(metadata, precision='int8', parity=json.dumps(asdict(parity)))
    onnx.helper.set_model_props(model, metadata)
    write_atomically(path, model.SerializeToString())
    return metadata, parity


def _spread(rows: np.ndarray, count: int) -> np.ndarray:
    """At most ``count`` of the rows, evenly spread."""
    if len(rows) <= count:
        return rows
    return rows[np.linspace(0, len(rows) - 1, count).round().astype(int)]


def _batches(
    inferencer: ReIDInferencer, files: list[str], input_type: str, preprocess: bool
) -> Iterator[dict[str, np.ndarray]]:
    """What a program feeds a file of ``export_model``."""
    if preprocess:  # images of one size only go together
        for file in files:
            yield dict(images=read_image(file)[None, ..., ::-1].copy())
        return
    flip = slice(None, None, -1 if channel_order(inferencer.model) == 'RGB' else 1)
    for start in range(0, len(files), _BATCH):
        part = files[start : start + _BATCH]
        pixels = [inferencer.prepare(file, file)['inputs'] for file in part]
        batch = np.stack([image.numpy()[flip] for image in pixels])
        yield dict(images=as_input(inferencer.model, batch, input_type))


def _quantise(source: Path, target: Path, batches: Iterator[dict]) -> None:
    import onnx
    from onnxruntime import quantization
    from onnxruntime.quantization.shape_inference import quant_pre_process

    class Reader(quantization.CalibrationDataReader):
        def get_next(self) -> dict | None:
            return next(batches, None)

    # Of MobileNetV2 the first four convolutions lose most of what is lost. Before the
    # first, onnxruntime turns the resizing into a form that it cannot run.
    nodes = onnx.load(str(source), load_external_data=False).graph.node
    convolutions = [node.name for node in nodes if node.op_type == 'Conv']
    first = convolutions[: min(4, 1 + len(convolutions) // 8)]
    # the exporter has folded the batch norms
    options = dict(skip_symbolic_shape=True, skip_optimization=True)
    quant_pre_process(str(source), str(target), **options)
    quantization.quantize_static(
        str(target),
        str(target),
        Reader(),
        # with Clip, ReLU6, the range of a convolution is that of what is left
        op_types_to_quantize=[
            *('Conv', 'Gemm', 'MatMul', 'Add', 'Relu', 'Clip', 'MaxPool')
        ],
        nodes_to_exclude=first,
        per_channel=True,
        reduce_range=True,
        activation_type=quantization.QuantType.QUInt8,
        weight_type=quantization.QuantType.QInt8,
    )
