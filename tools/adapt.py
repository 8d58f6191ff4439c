# SPDX-License-Identifier: Apache-2.0
"""Does a model fit a new site, and would it fit better? Without labels.

``python tools/adapt.py CONFIG crops/ --checkpoint model.pth --out adapted.pth``
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch

from mmreid_gcl.apis.folder import FolderImages, list_folder
from mmreid_gcl.cli.command_line import (
    add_folder_arguments,
    add_json_option,
    add_model_arguments,
    build_inferencer,
    checkpoint_argument,
    exit_code,
    folder_options,
    show_result,
    tool,
)
from mmreid_gcl.config_parts import find_pseudo_label_hook, type_name

if TYPE_CHECKING:
    from mmreid_gcl.apis import ReIDInferencer

#: Rows of the table: scalars of the label report, and how they are printed.
ROWS = {
    'clusters': ('clusters', '{:.0f}'),
    'outliers': ('outliers', '{:.0f}'),
    'cross_camera_clusters': ('clusters in two or more cameras', '{:.0f}'),
    'cross_camera_images': ('images in these', '{:.1%}'),
    'silhouette': ('silhouette', '{:.3f}'),
    'stability': ('agreement with the clusters before (ARI)', '{:.3f}'),
    'whole_tracks': ('tracks in one cluster', '{:.1%}'),
    'conflicting_tracks': ('pairs of tracks seen together in one cluster', '{:.1%}'),
}


def parse_args(argv: Sequence[str] | None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(
        description='Estimate the statistics of the batch norms of a model from a '
        'folder of crops (--out), compare it with trained ones (--compare), and show '
        'what clusterings of the folder say of each, without labels. Exit code 2: '
        'nothing was done; 3: done, but some crops could not be read.'
    )
    add_model_arguments(parser)
    parser.add_argument('folder', help='folder of crops')
    parser.add_argument('--out', help='file for the model with the new statistics')
    parser.add_argument(
        '--compare',
        nargs='+',
        default=[],
        type=checkpoint_argument,
        metavar='CHECKPOINT',
        help='other weights of the same model, such as those of a training on the '
        'folder; a work dir for its last ones',
    )
    add_json_option(parser)
    add_folder_arguments(parser)
    args = parser.parse_args(argv)
    if args.out is not None:
        parent = Path(args.out).resolve().parent
        if not args.out.endswith('.pth'):
            parser.error(f'--out {args.out}: expected a name that ends in .pth')
        if not parent.is_dir() or not os.access(parent, os.W_OK):
            parser.error(f'--out: {parent} is no folder that may be written to')
    elif not args.compare:
        parser.error('give --out FILE, --compare CHECKPOINT, or both')
    return args


class Judge:
    """Clusters embeddings of a folder and says what they are worth.

    They are clustered as the config does, but not refined by GCL, which a search does
    not use, and not by tracks, which are to judge: ``DBSCANClusterer`` in place of
    ``TrackClusterer``.
    """

    def __init__(self, inferencer: ReIDInferencer) -> None:
        from mmreid_gcl.clustering import labeller_of

        hook = find_pseudo_label_hook(inferencer.config)
        clusterer = hook.get('clusterer')
        if type_name(clusterer) in ('', 'TrackClusterer'):  # tracks are to judge
            clusterer = dict(type='DBSCANClusterer')
        camera_norm = hook.get('camera_norm')
        self.settings = dict(clusterer=clusterer, camera_norm=camera_norm)
        labeller_of(self.settings)  # a wrong setting costs no embedding
        self.before: np.ndarray | None = None

    def __call__(self, features: np.ndarray, images: FolderImages) -> dict[str, float]:
        """The scalars of the label report; the first call is 'before'.

        Args:
            features (np.ndarray): (N, C).
            images (FolderImages): N images.

        Returns:
            dict[str, float]: Those of :data:`ROWS` that there are.
        """
        from mmreid_gcl.clustering import adjusted_rand_index, labeller_of
        from mmreid_gcl.engine.label_report import report

        order = np.argsort(images.place)  # that of training
        records = images.select(order).records()
        outcome = labeller_of(self.settings)(torch.from_numpy(features[order]), records)
        stability = None
        if self.before is None:
            self.before = outcome.labels
        else:
            stability = adjusted_rand_index(outcome.labels, self.before)
        scalars = report(outcome, stability, records=records)
        return {name: scalars[name] for name in ROWS if name in scalars}


def print_table(columns: dict[str, dict[str, float]]) -> None:
    """Rows of :data:`ROWS`, a column a model; those that no model has are left out."""
    lines = [['', *columns]]
    for name, (title, form) in ROWS.items():
        if any(name in scalars for scalars in columns.values()):
            values = [
                form.format(scalars[name]) if name in scalars else '-'
                for scalars in columns.values()
            ]
            lines.append([title, *values])
    widths = [max(map(len, column)) for column in zip(*lines)]
    for first, *rest in lines:
        cells = [value.rjust(width) for value, width in zip(rest, widths[1:])]
        print('  '.join([first.ljust(widths[0]), *cells]))


@tool
def main(argv: Sequence[str] | None = None) -> int:
    """Judge, estimate, judge again, write."""
    from mmreid_gcl.apis.loading import load_state
    from mmreid_gcl.apis.publish import save_model
    from mmreid_gcl.checkpoint import read_checkpoint

    args = parse_args(argv)
    for path in args.compare:
        read_checkpoint(path, mmap=True)  # before the folder is embedded
    inferencer = build_inferencer(args)
    judge = Judge(inferencer)
    images = list_folder(args.folder, **folder_options(args))
    found = inferencer.extract(images.files())
    images = images.select(found.rows)
    columns = {'before': judge(found.features, images)}
    if args.out is not None:
        # a batch of one camera would hide what the cameras differ in
        shuffled = np.random.default_rng(0).permutation(images.files()).tolist()
        inferencer.reestimate_norms(shuffled)
        features = inferencer(images.files())  # not finite: nothing is written
        columns['statistics'] = judge(features, images)
        epoch = inferencer.epoch
        meta = {} if epoch is None else dict(epoch=epoch)
        save_model(inferencer.model, inferencer.config, args.out, **meta)
    for path in args.compare:
        load_state(inferencer.model, path)
        columns[path] = judge(inferencer(images.files()), images)
    print_table(columns)
    if args.out is not None:
        print(f'{args.out}: the model with the statistics of {len(images):,} images')
    show_result(
        args,
        dict(images=len(images), file=args.out, report=columns, failed=found.failed),
    )
    return exit_code(found.failed)


if __name__ == '__main__':
    sys.exit(main())
