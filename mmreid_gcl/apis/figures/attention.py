# SPDX-License-Identifier: Apache-2.0
"""Attention within a graph of the training set."""

from __future__ import annotations

import numpy as np
import torch
from matplotlib.figure import Figure

from mmreid_gcl.clustering import OrderedGraphs
from mmreid_gcl.eval_mode import evaluating
from mmreid_gcl.visualization import attention_map

from .source import ModelSource, cameras_of, images_of


def attention_figure(
    source: ModelSource,
    image: int | None = None,
    seed: int = 0,
    vmax: float | None = None,
) -> Figure:
    """The attention that GCL has in one graph of the clustering.

    Args:
        source (ModelSource): Model and data.
        image (int, optional): Show the graph of this training image. None draws one, of
            several people where identities are known.
        seed (int): Of the draw.
        vmax (float, optional): Upper end of the colour scale.

    A ``ValueError`` if the model has no GCL, or there is no such image.
    """
    if source.model.relation_neck is None:
        raise ValueError(
            f'{source.name}: this model has no relation_neck, so there is no attention '
            'to show. Give a config with one (GCLNeck).'
        )
    data = source.train_set
    # an order needs no embeddings: only those of the graph are computed then
    ordered = isinstance(source.labeller.graphs, OrderedGraphs)
    features = torch.empty(len(data), 0) if ordered else source.train_features
    graphs = source.labeller.build_graphs(features, source.records, source.epoch)
    pids = data.column('pid')
    if image is None:
        image = _draw(graphs, pids, seed)
    elif not 0 <= image < len(data):
        raise ValueError(
            f'image must be within 0 and {len(data) - 1}, the number of training '
            f'images, got {image}.'
        )
    nodes = graphs[image][graphs[image] >= 0]
    if (pids >= 0).any():  # people beside each other, cameras within
        nodes = nodes[np.lexsort((nodes, data.column('camid')[nodes], pids[nodes]))]
    neck = source.model.relation_neck
    device = next(neck.parameters()).device
    with torch.inference_mode(), evaluating(neck):
        x = source.embed(data, nodes).to(device)
        attention = neck.attention(x[None])[0].float().cpu().numpy()
    images = images_of(data)
    order = getattr(source.labeller.graphs, 'order', 'NeighbourGraphs')
    return attention_map(
        attention,
        [images[i] for i in nodes],
        pids[nodes].tolist() if (pids >= 0).any() else None,
        cameras_of(data)[nodes].tolist(),
        title=f'{source.name}: attention in a graph ({order})',
        vmax=vmax,
    )


def _draw(graphs: np.ndarray, pids: np.ndarray, seed: int) -> int:
    """An image whose graph has people of two or more images, if there is one."""
    order = np.random.default_rng(seed).permutation(len(graphs)).tolist()
    for image in order:
        mine = pids[graphs[image][graphs[image] >= 0]]
        _, counts = np.unique(mine[mine >= 0], return_counts=True)
        if (counts > 1).sum() > 1:
            return image
    return order[0]
