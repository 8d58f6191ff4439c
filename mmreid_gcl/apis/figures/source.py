# SPDX-License-Identifier: Apache-2.0
"""The model, data and embeddings of a figure, each computed once at first use."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from pathlib import Path

import numpy as np
import torch
from mmengine.config import Config
from mmengine.registry import init_default_scope
from torch import Tensor, nn
from torch.utils.data import Dataset, Subset

from mmreid_gcl.clustering import Labeller, labeller_of
from mmreid_gcl.config_parts import find_pseudo_label_hook, find_test_pipeline
from mmreid_gcl.datasets.reid_dataset import image_records
from mmreid_gcl.engine import extract_features
from mmreid_gcl.registry import DATASETS

from ..images import Thumbnails
from ..loading import load_model, trained_epochs


def images_of(dataset: Dataset) -> Thumbnails:
    """The images of a :class:`~mmreid_gcl.datasets.ReIDDataset`, read when needed."""
    return Thumbnails(dataset.column('img_path').tolist())


def cameras_of(dataset: Dataset) -> np.ndarray:
    """(N,) str, the names of the cameras of a data set's images."""
    camids = dataset.column('camid').tolist()
    return np.array([dataset.camera_name(camid) for camid in camids])


class ModelSource:
    """A model and the data sets of its config, for figures.

    ``cfg`` is of :func:`~mmreid_gcl.apis.load_config`; without a ``checkpoint`` the
    model is untrained. The ``device`` is by default the GPU if there is one. Images are
    embedded ``batch_size`` at a time and loaded by ``num_workers`` processes. A
    ``FileNotFoundError`` if the checkpoint is missing, a ``ValueError`` if it does not
    belong to the config.
    """

    def __init__(
        self,
        cfg: Config,
        checkpoint: str | Path | None = None,
        device: str | torch.device | None = None,
        batch_size: int = 128,
        num_workers: int = 2,
    ) -> None:
        init_default_scope(cfg.get('default_scope', 'mmreid_gcl'))
        self.cfg = cfg
        self.checkpoint = checkpoint
        self.model: nn.Module = load_model(cfg, checkpoint, device)
        self._loading = dict(batch_size=batch_size, num_workers=num_workers)

    @property
    def name(self) -> str:
        """Config and checkpoint, in words."""
        config = Path(self.cfg.filename).stem if self.cfg.filename else 'model'
        if self.checkpoint is None:
            return f'{config}, untrained'
        return f'{config}, {Path(self.checkpoint).name}'

    @cached_property
    def labeller(self) -> Labeller:
        """What the config makes pseudo-labels with; a ValueError without it."""
        return labeller_of(find_pseudo_label_hook(self.cfg))

    @cached_property
    def epoch(self) -> int | None:
        """For how many epochs the weights were trained; None if nobody knows."""
        return 0 if self.checkpoint is None else trained_epochs(self.checkpoint)

    @cached_property
    def records(self) -> dict[str, np.ndarray]:
        """What is known of the images of :attr:`train_set`."""
        return image_records(self.train_set)

    @cached_property
    def test_set(self) -> Dataset:
        """Query and gallery images."""
        return DATASETS.build(self.cfg.test_dataloader.dataset)

    @cached_property
    def train_set(self) -> Dataset:
        """Training images through the transforms of the test."""
        dataset = DATASETS.build(self.cfg.train_dataloader.dataset)
        extract = find_pseudo_label_hook(self.cfg).get('extract') or {}
        pipeline = extract.get('pipeline') or find_test_pipeline(self.cfg)
        return dataset.with_pipeline(pipeline)

    @cached_property
    def test_features(self) -> np.ndarray:
        """(N, C) embeddings x of :attr:`test_set`."""
        return self.embed(self.test_set).numpy()

    @cached_property
    def train_features(self) -> Tensor:
        """(N, C) embeddings x of :attr:`train_set`, on the CPU."""
        return self.embed(self.train_set)

    def embed(self, dataset: Dataset, indices: Sequence[int] | None = None) -> Tensor:
        """Embeddings x (n, C) float32 of a data set, or of the images at n indices."""
        if indices is not None:
            dataset = Subset(dataset, [int(i) for i in indices])
        return extract_features(self.model, dataset, **self._loading)
