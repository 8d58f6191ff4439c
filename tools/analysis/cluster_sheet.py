# SPDX-License-Identifier: Apache-2.0
"""Contact sheet of the clusters of a checkpoint, the least pure ones first.

Example: ``python tools/analysis/cluster_sheet.py CONFIG CHECKPOINT --out x.png``
"""

import sys
from collections.abc import Sequence

from _model import parser, source_of, write

from mmreid_gcl.apis.figures import cluster_figure
from mmreid_gcl.cli.command_line import tool


@tool
def main(argv: Sequence[str] | None = None) -> int:
    """Write the sheet."""
    made = parser(__doc__, 'clusters.png')
    made.add_argument('--num-clusters', type=int, default=12, help='rows')
    made.add_argument('--per-cluster', type=int, default=12, help='images in a row')
    made.add_argument(
        '--recluster',
        action='store_true',
        help="cluster with the checkpoint's weights, in place of the labels in it",
    )
    args = made.parse_args(argv)
    return write(
        args,
        lambda: cluster_figure(
            source_of(args), args.num_clusters, args.per_cluster, args.recluster
        ),
    )


if __name__ == '__main__':
    sys.exit(main())
