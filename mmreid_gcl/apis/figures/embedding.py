# SPDX-License-Identifier: Apache-2.0
"""A 2-D map of the embeddings of test images."""

from __future__ import annotations

import numpy as np
from matplotlib.figure import Figure

from mmreid_gcl.visualization import embedding_map, project

from .source import ModelSource

_NAMES = {'tsne': 't-SNE', 'umap': 'UMAP', 'pca': 'principal components'}


def embedding_figure(
    *sources: ModelSource,
    num_ids: int = 11,
    max_images: int = 60,
    method: str = 'tsne',
    seed: int = 0,
) -> Figure:
    """Some people of the test set, as one model or several see them.

    Args:
        *sources (ModelSource): Models; the data are those of the first.
        num_ids (int): People, drawn from those that two cameras or more saw; 11 as in
            figure 7 of the paper.
        max_images (int): Of each, drawn likewise.
        method (str): 'tsne', 'umap' or 'pca'.
        seed (int): Of the draws and of the method.

    A ``ValueError`` if no identity is known, an ``ImportError`` if UMAP is asked for
    and not installed.
    """
    data = sources[0].test_set
    pids, camids = data.column('pid'), data.column('camid')
    chosen = choose_images(pids, camids, num_ids, max_images, seed)
    # the images come from the first config, the transforms from each
    panels = {}
    for source in sources:
        view = data.with_pipeline(source.cfg.test_dataloader.dataset.pipeline)
        features = source.embed(view, chosen).numpy()
        panels[source.name] = project(features, method, seed)
    count = len(np.unique(pids[chosen]))
    note = f'{_NAMES[method]} of {len(chosen)} images of {count} people (seed {seed}).'
    if method != 'pca':
        note += ' Distances between groups and their sizes mean little.'
    title = None if len(panels) > 1 else sources[0].name
    return embedding_map(
        panels if title is None else panels[title],
        pids[chosen],
        camids[chosen],
        title,
        note,
        camera_names={c: data.camera_name(c) for c in np.unique(camids).tolist()},
    )


def choose_images(
    pids: np.ndarray, camids: np.ndarray, num_ids: int, max_images: int, seed: int
) -> np.ndarray:
    """Rising indices of at most ``max_images`` images each of ``num_ids`` people.

    Of (N,) ``pids``, 0 (Market-1501's distractors) and -1 (junk, or not known) are
    nobody; people whom two cameras of ``camids`` (N,) or more saw are drawn, if there
    are any.
    """
    people = [
        (pid, len(np.unique(camids[pids == pid])))
        for pid in np.unique(pids[pids > 0]).tolist()
    ]
    if not people:
        raise ValueError(
            'No image of the test set has a known identity; an embedding map needs '
            'some.'
        )
    several = [pid for pid, cameras in people if cameras > 1]
    rng = np.random.default_rng(seed)
    drawn = rng.permutation(several or [pid for pid, _ in people])[:num_ids]
    parts = [rng.permutation(np.flatnonzero(pids == p))[:max_images] for p in drawn]
    return np.sort(np.concatenate(parts))
