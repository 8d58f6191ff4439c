# SPDX-License-Identifier: Apache-2.0
"""What the graphs of the clustering know of identities, and what they change.

For each kind of graphs: how often the nodes of a graph show one person, against
chance, and how well the pseudo-labels fit the identities with and without
refinement. Identities serve this report alone.

Example: ``python tools/analysis/audit_graphs.py CONFIG CHECKPOINT --figure x.png``
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from dataclasses import asdict
from functools import partial
from pathlib import Path

import numpy as np
import torch
from _model import add_loading, source_of
from mmengine.utils import Timer

from mmreid_gcl.apis.figures import ModelSource
from mmreid_gcl.cli.command_line import (
    add_json_option,
    checkpoint_argument,
    show_result,
    tool,
)
from mmreid_gcl.clustering import Labeller, adjusted_rand_index
from mmreid_gcl.clustering.camera_normalization import MODES
from mmreid_gcl.clustering.graph_audit import audit_graphs
from mmreid_gcl.clustering.graphs import NeighbourGraphs, OrderedGraphs
from mmreid_gcl.visualization import save_figure
from mmreid_gcl.visualization.canvas import check_figure_path
from mmreid_gcl.visualization.graph_audit import AuditPanel, graph_audit

KINDS = {
    'filename': 'file name (the paper)',
    'camera_time': 'camera, time',
    'random': 'random',
    'neighbours': 'neighbours',
    'mutual': 'mutual neighbours',
}


def builder(kind: str, size: int, seed: int):
    """The graph builder of a kind, one of :data:`KINDS`."""
    if kind in ('neighbours', 'mutual'):
        return NeighbourGraphs(size, mutual=kind == 'mutual')
    return OrderedGraphs(kind, size, seed)


def audit(
    source: ModelSource,
    size: int,
    seed: int,
    say=print,
    camera_norm: str | None = None,
) -> dict:
    """Audit all kinds of graphs.

    Args:
        source (ModelSource): Model and data.
        size (int): B, nodes in a graph.
        seed (int): Of the random graphs.
        say (Callable): Prints a line of progress.
        camera_norm (str, optional): As of the PseudoLabelHook; None takes the
            hook's.

    Returns:
        dict: ``unrefined``: ARI, clusters and outliers of x; ``kinds``: kind to
        its shares, and to ``ari``, ``clusters``, ``outliers`` where the model
        has a GCL neck.

    Raises:
        ValueError: If the identities are not known, or the config has no
            PseudoLabelHook.
    """
    recipe = source.labeller
    camera_norm = camera_norm or recipe.camera_norm
    dataset = source.train_set
    pids, camids = dataset.column('pid'), dataset.column('camid')
    if not (pids >= 0).any():
        raise ValueError('The identities of the training images are not known.')
    features, neck = source.train_features, source.model.relation_neck
    timer = Timer()
    plain = Labeller(recipe.clusterer, camera_norm=camera_norm)
    outcome = plain(features, source.records)
    result = dict(
        images=len(pids),
        people=len(np.unique(pids[pids >= 0])),
        size=size,
        camera_norm=camera_norm,
    )
    result['unrefined'] = quality(outcome.labels, pids)
    say(f'without graphs: {timer.since_last_check():.0f} s')
    result['kinds'] = {}
    for kind in KINDS:
        graphs = builder(kind, size, seed)
        labeller = Labeller(recipe.clusterer, graphs, camera_norm=camera_norm)
        built = labeller.build_graphs(features, source.records)
        row = asdict(audit_graphs(built, pids, camids))
        if neck is not None:
            labeller.graphs = lambda *_, built=built, **__: built
            outcome = labeller(features, source.records, neck)
            row.update(quality(outcome.labels, pids))
        result['kinds'][kind] = row
        say(f'{kind}: {timer.since_last_check():.0f} s')
    return result


def quality(labels: np.ndarray, pids: np.ndarray) -> dict:
    """What there is to say of pseudo-labels."""
    return dict(
        ari=adjusted_rand_index(labels, pids),
        clusters=int(labels.max(initial=-1)) + 1,
        outliers=int((labels < 0).sum()),
    )


def markdown(result: dict, name: str) -> str:
    """The table."""

    def share(row: dict, key: str) -> str:
        return f'{100 * row[key]:.1f} ({100 * row[f"{key}_chance"]:.1f})'

    def labels(row: dict) -> list[str]:
        if 'ari' not in row:
            return ['–'] * 3
        return [f'{row["ari"]:.3f}', str(row['clusters']), str(row['outliers'])]

    head = ['graphs', 'nodes', 'same person, %', 'with a mate, %']
    head += ['with a mate of another camera, %', 'ARI', 'clusters', 'outliers']
    lines = [head, ['---'] + ['--:'] * (len(head) - 1)]
    lines.append(['none (x is clustered)'] + ['–'] * 4 + labels(result['unrefined']))
    for kind, row in result['kinds'].items():
        shares = [share(row, key) for key in ('same', 'mate', 'far_mate')]
        nodes = f'{row["nodes"] + 1:.1f}'
        lines.append([KINDS[kind], nodes, *shares, *labels(row)])
    text = '\n'.join(f'| {" | ".join(cells)} |' for cells in lines)
    return (
        f'### Graphs of {name}\n\n{text}\n\n{result["images"]} images of '
        f'{result["people"]} people, graphs of at most {result["size"]} nodes. Same '
        'person: of the other nodes in the graph of an image, how many show the same '
        'person. Mate: another image of the same person in the graph. In brackets: '
        'what as many random nodes give. ARI: agreement of the pseudo-labels with the '
        f'identities, with this model.{_norm_note(result)}\n'
    )


def _norm_note(result: dict) -> str:
    mode = result.get('camera_norm')
    return f' Features normalised by camera: {mode}.' if mode else ''


def figure(result: dict, name: str):
    """The table as bars."""
    kinds = result['kinds']
    panels = [
        AuditPanel(
            title,
            [100 * row[key] for row in kinds.values()],
            [100 * row[f'{key}_chance'] for row in kinds.values()],
            100,
        )
        for title, key in (
            ('other nodes that show the same person, %', 'same'),
            ('images with a mate from another camera, %', 'far_mate'),
        )
    ]
    note = (
        f'{result["images"]} images of {result["people"]} people, {result["size"]} '
        'nodes a graph.'
    )
    if any('ari' in row for row in kinds.values()):
        without = max(0.0, result['unrefined']['ari'])
        panels.append(
            AuditPanel(
                'ARI of the pseudo-labels, refined',
                [max(0.0, row.get('ari', np.nan)) for row in kinds.values()],
                [without] * len(kinds),
                1,
                3,
            )
        )
        note += f'{_norm_note(result)} Clustered without refinement, the ARI is '
        note += f'{without:.3f}.'
    return graph_audit(
        [KINDS[kind] for kind in kinds],
        panels,
        [kind == 'filename' for kind in kinds],
        mark='chance; ARI: without refinement',
        title=f'Graphs of the clustering: {name}',
        note=note,
    )


def parse_args(argv: Sequence[str] | None) -> argparse.Namespace:
    """The command line."""
    made = argparse.ArgumentParser(
        description=__doc__.splitlines()[0],
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    made.add_argument('config', help='config file or name')
    made.add_argument(
        'checkpoint',
        nargs='?',
        type=checkpoint_argument,
        default='untrained',
        help='path, or a work dir for its last one; without it, the weights that '
        'training begins with',
    )
    made.add_argument('--size', type=int, default=16, help='nodes in a graph')
    made.add_argument('--seed', type=int, default=0, help='of random graphs and GCL')
    made.add_argument(
        '--camera-norm', choices=MODES, help="of the PseudoLabelHook (the config's)"
    )
    made.add_argument('--out', type=Path, help='also write the table here (Markdown)')
    add_json_option(made, file=True)
    made.add_argument('--figure', type=Path, help='write bars here (png, pdf, svg)')
    add_loading(made)
    return made.parse_args(argv)


@tool
def main(argv: Sequence[str] | None = None) -> int:
    """Print the table."""
    args = parse_args(argv)
    if args.figure:
        check_figure_path(args.figure)
    torch.manual_seed(args.seed)  # an untrained GCL is drawn
    source = source_of(args)
    say = partial(print, file=sys.stderr, flush=True)
    try:
        result = audit(source, args.size, args.seed, say, args.camera_norm)
    except RuntimeError as error:
        raise ValueError(str(error)) from error
    text = markdown(result, source.name)
    print(text)
    if args.out:
        args.out.parent.mkdir(parents=True, exist_ok=True)
        args.out.write_text(text, encoding='utf-8')
    show_result(args, result)
    if args.figure:
        save_figure(figure(result, source.name), args.figure)
        print(f'Written: {args.figure}', file=sys.stderr)
    return 0


if __name__ == '__main__':
    sys.exit(main())
