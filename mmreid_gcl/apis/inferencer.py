# SPDX-License-Identifier: Apache-2.0
"""ReIDInferencer: embeds images and searches galleries."""

from __future__ import annotations

import logging
import time
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from mmengine.config import Config
from mmengine.dataset import Compose, pseudo_collate
from torch import Tensor, nn
from tqdm import tqdm

from mmreid_gcl.config.load import read_config
from mmreid_gcl.config_parts import find_test_pipeline
from mmreid_gcl.datasets.image_folder import as_path, log, one_line
from mmreid_gcl.environment import import_mmpretrain
from mmreid_gcl.eval_mode import evaluating
from mmreid_gcl.models import reestimate_norms
from mmreid_gcl.precision import exact_float32
from mmreid_gcl.registry import TRANSFORMS

from .folder import FolderImages, list_folder
from .gallery_index import GalleryIndex, Match
from .images import MAX_PIXELS, ImageError, own, read_image
from .inputs import in_batches, is_single, list_inputs, load_ahead
from .loading import (
    load_model,
    load_state,
    model_fingerprint,
    to_device,
    trained_epochs,
)


@dataclass(frozen=True, eq=False)
class Embeddings:
    """Embeddings of the images that could be read."""

    features: np.ndarray  #: (n, C) float32, unit length
    paths: list[str]  #: n paths; of what has no path 'inputs[<position>]'
    rows: np.ndarray  #: (n,) positions among the inputs
    #: Path of an image that was skipped, and why
    failed: dict[str, str] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.paths)


class ReIDInferencer:
    """A trained model, ready to use on any images.

    Args:
        model (str | Path | Config | nn.Module): A config file, a config, a
            model, or a checkpoint that carries its config (one of
            ``tools/publish_model.py``, or as training leaves it).
        weights (str | Path, optional): The checkpoint. Without it, a model
            from a config is untrained, which a warning says.
        device (str | torch.device, optional): Defaults to the GPU if there is
            one, else the CPU; a given ``nn.Module`` stays where it is, and in its
            mode: it is in eval mode only while it embeds.
        pipeline (Sequence[dict], optional): Test transforms, after the image is
            loaded. Defaults to the config's; needed with an ``nn.Module``.
        batch_size (int): Images the model embeds at a time. Defaults to 64.
        num_workers (int): Threads that read images. Defaults to 4.
        half (bool): Half precision: float16 on a GPU, bfloat16 on a CPU.
            Embeddings are float32 all the same. Defaults to False.
        progress (bool): Show a bar for more than one batch. Defaults to True.
        max_pixels (int): Larger images are refused. Defaults to 50 million.

    Raises:
        FileNotFoundError: If a file is missing.
        TypeError: If ``model`` is nothing of the above.
        ValueError: If the checkpoint does not fit, there is no pipeline, or a
            number is out of its range.

    Examples:
        >>> inferencer = ReIDInferencer('configs/gcl_folder.py', 'epoch_60.pth')
        >>> inferencer('crop.jpg').shape
        (1, 2048)
        >>> gallery = inferencer.build_gallery('crops', out='gallery')
        >>> inferencer.search('query.jpg', gallery, topk=5)[0].path
        'crops/hall/000017.jpg'
    """

    def __init__(
        self,
        model: str | Path | Config | nn.Module,
        weights: str | Path | None = None,
        device: str | torch.device | None = None,
        pipeline: Sequence[dict] | None = None,
        batch_size: int = 64,
        num_workers: int = 4,
        half: bool = False,
        progress: bool = True,
        max_pixels: int = MAX_PIXELS,
    ) -> None:
        if batch_size < 1 or num_workers < 0:
            raise ValueError(
                'batch_size must be at least 1 and num_workers at least 0, got '
                f'{batch_size} and {num_workers}.'
            )
        if isinstance(model, nn.Module):
            self.model, self.config = model, getattr(model, '_config', None)
            if weights is not None:
                load_state(model, weights)
            if device is not None:
                to_device(model, device)
        elif isinstance(model, (str, Path, Config)):
            self.config, weights = _read_config(model, weights)
            self.model = load_model(self.config, weights, device)
            if weights is None:
                log(
                    'ReIDInferencer: no weights were given; this model is untrained.',
                    logging.WARNING,
                )
        else:
            raise TypeError(
                'model must be a config file, a Config, an nn.Module or a checkpoint '
                f'with its config, got a {type(model).__name__}.'
            )
        if not hasattr(self.model, 'data_preprocessor'):
            raise TypeError(
                f'{type(self.model).__name__} has no data_preprocessor, so nobody '
                'knows how images are normalised. Give a model of mmengine, such as '
                'UnsupervisedReID.'
            )
        self._weights = weights
        self.batch_size = batch_size
        self.num_workers = num_workers
        self.half = half
        self.progress = progress
        self.max_pixels = max_pixels
        self.gallery: GalleryIndex | None = None
        self._set_pipeline(pipeline)

    def _set_pipeline(self, pipeline: Sequence[dict] | None) -> None:
        if pipeline is None:
            if self.config is None:
                raise ValueError(
                    'An nn.Module does not say how images become its input. Give '
                    "pipeline=[dict(type='Resize', scale=(128, 256)), "
                    "dict(type='PackInputs')] (width, height), as in training."
                )
            pipeline = find_test_pipeline(self.config)
        loaders = [step for step in pipeline if _is_loader(step)]
        self._load_options = {
            key: step[key]
            for step in loaders
            for key in ('color_type', 'imdecode_backend')
            if key in step
        }
        #: Test transforms, without the one that loads.
        self.pipeline = [dict(step) for step in pipeline if not _is_loader(step)]
        import_mmpretrain('datasets')  # registers them

        self._transform = Compose([TRANSFORMS.build(step) for step in self.pipeline])

    @property
    def device(self) -> torch.device:
        """Where the model is."""
        return next(self.model.parameters()).device

    @cached_property
    def epoch(self) -> int | None:
        """For how many epochs the weights were trained; None if nobody knows."""
        if self._weights is None:
            return None if self.config is None else 0
        return trained_epochs(self._weights)

    @property
    def model_hash(self) -> str:
        """Hash of all that decides on embeddings: weights and transforms, as they are.

        Computed anew each time: weights change in place, and no counter of torch
        sees all that do (``parameter.data`` passes by it).
        """
        return model_fingerprint(self.model, self.pipeline)

    def __call__(self, inputs: Any, batch_size: int | None = None) -> np.ndarray:
        """Embed images; every one must be readable.

        Args:
            inputs (Any): A path, an array (H, W, 3) uint8 in the order blue
                green red (or grey, with transparency, or uint16), a Pillow
                image, the bytes of a file; a folder; or a list, an array
                (n, H, W, 3), a generator of them.
            batch_size (int, optional): Instead of the inferencer's.

        Returns:
            np.ndarray: (n, C) float32, unit length, in the order of the inputs;
            those of a folder sorted by path.

        Raises:
            ImageError: If an image cannot be used; the first such one.
            FileNotFoundError: If a folder holds no image.
            TypeError: If this is no image and no collection.
            ValueError: If there is no image.
        """
        return self.extract(inputs, batch_size, on_error='raise').features

    def extract(
        self, inputs: Any, batch_size: int | None = None, on_error: str = 'skip'
    ) -> Embeddings:
        """Embed images in a long job that one bad image does not end.

        Args:
            inputs (Any): As for :meth:`__call__`.
            batch_size (int, optional): Instead of the inferencer's.
            on_error (str): 'skip': report and skip what cannot be read, and list
                it at the end. 'raise': stop. Defaults to 'skip'.

        Returns:
            Embeddings: With paths in the order of the rows.

        Raises:
            ImageError: If no image is readable, or the first bad one.
            ValueError: If there is no image, or the model gives NaN.
        """
        if on_error not in ('skip', 'raise'):
            raise ValueError(f"on_error must be 'skip' or 'raise', got {on_error!r}.")
        batch_size = self.batch_size if batch_size is None else batch_size
        items, total = list_inputs(inputs)
        features: list[np.ndarray] = []
        paths: list[str] = []
        rows: list[int] = []
        failed: dict[str, str] = {}
        with tqdm(
            total=total,
            desc='embed',
            unit='img',
            mininterval=1,
            disable=not self.progress or (total or batch_size + 1) <= batch_size,
        ) as bar:
            good = self._good(self._loaded(items, batch_size), failed, on_error, bar)
            for batch in in_batches(good, batch_size):
                positions, names, data = zip(*batch)
                features.append(self.embed_prepared(data, names))
                paths.extend(names)
                rows.extend(positions)
        _report(failed, len(paths))
        if not paths:
            if failed:
                raise ImageError(
                    f'None of {len(failed):,} images can be read. The first: '
                    f'{next(iter(failed.values()))}'
                )
            raise ValueError('There is no image to embed: the input is empty.')
        return Embeddings(
            torch.cat(features).numpy(), paths, np.array(rows, np.int64), failed
        )

    def _loaded(self, items: Iterable, batch_size: int) -> Iterator[tuple]:
        """(position, name, data or error) of every input, loaded ahead."""

        def load(item: tuple) -> tuple:
            position, name, source = item
            try:
                return position, name, self.prepare(name, source)
            except ImageError as error:
                return position, name, error

        color_type = self._load_options.get('color_type', 'color')
        owned = (  # in this thread, before the next is asked for
            (position, name, own(source, name, color_type, self.max_pixels))
            for position, (name, source) in enumerate(items)
        )
        ahead = 2 * batch_size + self.num_workers
        return load_ahead(owned, load, self.num_workers, ahead)

    def prepare(self, name: str, source: Any) -> dict:
        """What :meth:`embed_prepared` takes of one image; many threads may do so.

        ``source`` is an image as for :meth:`__call__`, ``name`` how messages call it.
        An ``ImageError`` if it cannot be used.
        """
        if isinstance(source, ImageError):
            raise source
        image = read_image(
            source, name, max_pixels=self.max_pixels, **self._load_options
        )
        size = image.shape[:2]
        sample = dict(img=image, img_path=name, img_shape=size, ori_shape=size)
        try:
            data = self._transform(sample)
        except Exception as error:
            raise ImageError(
                f'{name}: the test transforms fail on this image of {size[1]} x '
                f'{size[0]} pixels ({one_line(error)}).'
            ) from error
        if data is None:
            raise ImageError(f'{name}: the test transforms return nothing for it.')
        return data

    @staticmethod
    def _good(loaded: Iterable, failed: dict, on_error: str, bar: tqdm) -> Iterator:
        """What could be loaded; the rest goes to ``failed``."""
        for position, name, data in loaded:
            bar.update()
            if not isinstance(data, ImageError):
                yield position, name, data
                continue
            if on_error == 'raise':
                raise data
            failed[name] = str(data)
            log(f'Skipped: {data}', logging.WARNING)

    @torch.inference_mode()
    def embed_prepared(self, batch: Sequence[dict], names: Sequence[str]) -> Tensor:
        """(n, C) float32, unit length, of one batch, by one thread at a time.

        A ``ValueError`` that names an image whose embedding is not finite.
        """
        with evaluating(self.model):
            features = self._forward(list(batch))
        bad = ~torch.isfinite(features).all(dim=1)
        if bad.any():
            raise ValueError(
                f'{names[int(bad.nonzero()[0])]}: its embedding is not finite. The '
                'weights are damaged, or half precision is too little for this '
                'model: try half=False.'
            )
        return features

    def _inputs(self, batch: list[dict]) -> Tensor:
        return self.model.data_preprocessor(pseudo_collate(batch), False)['inputs']

    def _forward(self, batch: list[dict]) -> Tensor:
        inputs = self._inputs(batch)
        kind = inputs.device.type
        dtype = torch.bfloat16 if kind == 'cpu' else torch.float16
        # as the training set is embedded: no TF32 behind the caller's back
        exact = exact_float32(not self.half)
        with exact, torch.autocast(kind, dtype, enabled=self.half):
            features = self.model(inputs, mode='tensor')
        if not isinstance(features, Tensor) or features.ndim != 2:
            raise TypeError(
                f"{type(self.model).__name__}: mode='tensor' must give one vector an "
                'image, (n, C). Use a model such as UnsupervisedReID.'
            )
        features = features.float()
        length = torch.linalg.vector_norm(features, dim=1, keepdim=True)
        # a second division would change last bits of what training clusters
        whole = (length - 1).abs() < 1e-5
        return torch.where(whole, features, F.normalize(features)).cpu()

    def reestimate_norms(self, inputs: Any) -> int:
        """Give the model the batch norm statistics of unlabelled images, in place.

        The cheap first step of adapting it to a new site (docs/adapt.md); see
        :func:`~mmreid_gcl.models.reestimate_norms`. The gallery is then one of
        another model.

        Args:
            inputs (Any): Images as for :meth:`__call__`, those of all cameras mixed:
                shuffle a list of files that is sorted by camera.

        Returns:
            int: How many images were used.

        Raises:
            ImageError: If an image cannot be used.
            ValueError: If there are fewer than two images, or the model has no batch
                norm. The model is then as it was.
        """
        items, total = list_inputs(inputs)
        with tqdm(
            total=total,
            desc='statistics',
            unit='img',
            mininterval=1,
            disable=not self.progress or (total or 0) <= self.batch_size,
        ) as bar:
            good = self._good(self._loaded(items, self.batch_size), {}, 'raise', bar)
            batches = in_batches(good, self.batch_size)
            with exact_float32():
                return reestimate_norms(
                    self.model,
                    (self._inputs([data for *_, data in batch]) for batch in batches),
                )

    def build_gallery(
        self, folder: str | Path, out: str | Path | None = None, **kwargs
    ) -> GalleryIndex:
        """Embed a folder tree of crops into a gallery; later searches use it.

        Args:
            folder (str | Path): The crops; the first sub-folder is the camera.
                Crops that cannot be read are skipped and listed. Their times are
                the folder's timestamps, else now; their tracks ``own_track`` of
                :class:`~mmreid_gcl.apis.folder.FolderImages`.
            out (str | Path, optional): Folder in which to save the index.
            **kwargs: ``split``, ``camera``, ``pattern`` and ``annotation`` of
                :func:`~mmreid_gcl.apis.folder.list_folder`.

        Returns:
            GalleryIndex: Also kept as :attr:`gallery`.

        Raises:
            FileNotFoundError: If the folder or images in it are missing.
            ImageError: If no image can be read.
        """
        self.gallery = self.embed_folder(list_folder(folder, **kwargs))
        if out is not None:
            self.gallery.save(out)
        return self.gallery

    def embed_folder(self, images: FolderImages) -> GalleryIndex:
        """A gallery of listed images, as :meth:`build_gallery` makes it.

        To add what is new in a folder to a gallery::

            new = gallery.absent(list_folder('crops'))
            if len(new):
                gallery.merge(inferencer.embed_folder(new), same_tracks=True)

        An ``ImageError`` if no image can be read, a ``ValueError`` if there is none.
        """
        model_hash = self.model_hash
        found = self.extract(images.files())
        kept = images.select(found.rows)
        times = kept.columns['time']
        return GalleryIndex(
            found.features,
            kept.paths,
            kept.cameras,
            images.root,
            model_hash,
            found.failed,
            kept.columns['own_track'],
            np.where(np.isnan(times), time.time(), times),
        )

    def load_gallery(
        self, path: str | Path, root: str | Path | None = None
    ) -> GalleryIndex:
        """Take a saved gallery of this very model for later searches.

        It is :attr:`gallery` from then on. ``root`` says where its images are now, if
        they were moved. A ``FileNotFoundError`` if there is none, a ``ValueError`` if
        it is damaged or of another model.
        """
        self.gallery = GalleryIndex.load(path, self.model_hash, root)
        return self.gallery

    def search(
        self,
        query: Any,
        gallery: GalleryIndex | str | Path | None = None,
        topk: int = 10,
        cameras: Collection[str] | str | None = None,
        exclude_cameras: Collection[str] | str | None = None,
        threshold: float | None = None,
        **kwargs,
    ) -> list[Match] | list[list[Match]]:
        """Find a person again.

        Args:
            query (Any): An image, or several, as for :meth:`__call__`.
            gallery (GalleryIndex | str | Path, optional): Where to search; a
                path is that of a saved index. Defaults to the gallery built or
                loaded last.
            topk (int): How many to name. Defaults to 10.
            cameras (Collection[str] | str, optional): Search these only.
            exclude_cameras (Collection[str] | str, optional): And not these, for
                example the query's own.
            threshold (float, optional): Name nobody below this similarity. Defaults to
                that of the gallery's calibration; without one everybody is named, as
                with -1.
            **kwargs: ``query_cameras``, ``best_per_camera``, ``by_track`` and ``exact``
                of :meth:`GalleryIndex.search`.

        Returns:
            list[Match] | list[list[Match]]: For one image, what it found, best
            first; for several, one such list each. An empty one: not in the gallery.

        Raises:
            ImageError: If a query cannot be read.
            ValueError: If there is no gallery, it is of another model, or a
                camera is unknown.
        """
        if isinstance(gallery, (str, Path)):
            gallery = self.load_gallery(gallery)
        else:
            gallery = self.gallery if gallery is None else gallery
            if gallery is None:
                raise ValueError(
                    'There is no gallery to search. Call build_gallery(folder) or '
                    'load_gallery(path) first, or give gallery=.'
                )
            gallery.require_model(self.model_hash)
        found = gallery.search(self(query), topk, cameras, exclude_cameras, **kwargs)
        found = gallery.above_threshold(found, threshold)
        return found[0] if is_single(query) else found


def _read_config(
    model: str | Path | Config, weights: str | Path | None
) -> tuple[Config, str | Path | None]:
    """The config, and the weights to load."""
    if isinstance(model, Config):
        return model, weights
    path = as_path(model)
    if not path.is_file():
        raise FileNotFoundError(
            f'{path}: there is no such file; expected a config (.py) or a checkpoint '
            'with its config.'
        )
    if path.suffix in ('.py', '.json', '.yaml', '.yml'):
        return read_config(path), weights
    from mmreid_gcl.config.embedded import config_of_checkpoint

    return config_of_checkpoint(path), path if weights is None else weights


def _is_loader(step: dict) -> bool:
    return str(step.get('type')).rpartition('.')[2] == 'LoadImageFromFile'


def _report(failed: dict[str, str], done: int) -> None:
    """What was skipped, once more at the end, where it is seen."""
    if not failed:
        return
    shown = list(failed)[:20]
    more = f'\n  … and {len(failed) - 20:,} more' if len(failed) > 20 else ''
    log(
        f'{done:,} images were embedded, {len(failed):,} could not be read:\n  '
        + '\n  '.join(shown)
        + more,
        logging.WARNING,
    )
