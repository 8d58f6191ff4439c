# SPDX-License-Identifier: Apache-2.0
"""Audit of graphs: how many images of one person they hold.

Identities are used here to audit the graphs, never to build them.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class GraphAudit:
    """Shares in [0, 1], and what chance gives."""

    nodes: float  #: Other nodes in an image's graph, on average
    #: Of the other nodes in the graphs of all images, those that show the same person;
    #: NaN without any
    same: float
    same_chance: float  #: The same for random images
    #: Of the images, those with another image of the same person in their graph
    mate: float
    mate_chance: float  #: The same for as many random nodes
    #: Those with an image of the same person *from another camera* in their graph
    far_mate: float
    far_mate_chance: float  #: The same for as many random nodes


def audit_graphs(
    graphs: np.ndarray, pids: np.ndarray, camids: np.ndarray
) -> GraphAudit:
    """Compare graphs with the identities of their nodes.

    Images that follow each other in one camera often show one person: that an
    order finds them together is no leak. A person's images from *other cameras*
    are what unsupervised re-identification has to find; ``far_mate`` is about
    them.

    Args:
        graphs (np.ndarray): (N, B) nodes of each image's graph, itself
            included, -1 for none.
        pids (np.ndarray): (N,) identities. An image with a negative one is
            nobody's mate and is left out of all shares.
        camids (np.ndarray): (N,) cameras.

    Returns:
        GraphAudit: The shares.

    Raises:
        ValueError: If the shapes differ or no image has an identity.
    """
    graphs, pids, camids = map(np.asarray, (graphs, pids, camids))
    count = len(pids)
    if graphs.ndim != 2 or len(graphs) != count or camids.shape != (count,):
        raise ValueError(
            f'audit_graphs: graphs {graphs.shape}, pids {pids.shape} and camids '
            f'{camids.shape} must be (N, B), (N,) and (N,).'
        )
    known = pids >= 0
    if not known.any():
        raise ValueError('audit_graphs: no image has an identity (pid >= 0).')
    images = np.arange(count)[:, None]
    # places of unknown people and empty ones are no nodes; nor is the image
    others = (graphs >= 0) & (graphs != images) & known[graphs] & known[:, None]
    same = others & (pids[graphs] == pids[:, None])
    far = same & (camids[graphs] != camids[:, None])
    sizes = others.sum(axis=1)[known]
    mates, far_mates = mates_of(pids[known], camids[known])
    total = int(known.sum())
    return GraphAudit(
        nodes=float(sizes.mean()),
        same=float(same.sum() / others.sum()) if others.any() else float('nan'),
        same_chance=float(mates.mean() / (total - 1)) if total > 1 else float('nan'),
        mate=float(same.any(axis=1)[known].mean()),
        mate_chance=float(hit_chance(mates, total - 1, sizes).mean()),
        far_mate=float(far.any(axis=1)[known].mean()),
        far_mate_chance=float(hit_chance(far_mates, total - 1, sizes).mean()),
    )


def mates_of(pids: np.ndarray, camids: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(N,) counts of other images of the same person: all, and from other cameras."""
    _, person, of_person = np.unique(pids, return_inverse=True, return_counts=True)
    camera = np.unique(camids, return_inverse=True)[1]
    place = person * (camera.max(initial=0) + 1) + camera
    _, place, of_place = np.unique(place, return_inverse=True, return_counts=True)
    return of_person[person] - 1, of_person[person] - of_place[place]


def hit_chance(wanted: np.ndarray, others: int, draws: np.ndarray) -> np.ndarray:
    """(N,) chances that some of the wanted are among those drawn from ``others``.

    ``1 - C(others - wanted, draws) / C(others, draws)``: hypergeometric, without
    replacement.
    """
    wanted, draws = np.broadcast_arrays(wanted, draws)
    missed = np.ones(wanted.shape)
    for step in range(int(draws.max(initial=0))):
        left = np.maximum(others - wanted - step, 0) / max(others - step, 1)
        missed = np.where(step < draws, missed * left, missed)
    return 1 - missed
