# SPDX-License-Identifier: Apache-2.0
"""Sheet of queries with what they find, right and wrong framed.

Example: ``python tools/analysis/visualize_ranking.py CONFIG CHECKPOINT --out x.png``
"""

import sys
from collections.abc import Sequence

from _model import parser, source_of, write

from mmreid_gcl.apis.figures import ranking_figure
from mmreid_gcl.apis.figures.ranking import PICKS
from mmreid_gcl.cli.command_line import tool


@tool
def main(argv: Sequence[str] | None = None) -> int:
    """Write the sheet."""
    made = parser(__doc__, 'ranking.png')
    made.add_argument('--num-queries', type=int, default=8, help='rows')
    made.add_argument('--topk', type=int, default=10, help='images in a row')
    made.add_argument(
        '--pick',
        choices=PICKS,
        default='random',
        help='which queries; worst and best by average precision',
    )
    args = made.parse_args(argv)
    return write(
        args,
        lambda: ranking_figure(
            source_of(args), args.num_queries, args.topk, args.pick, args.seed
        ),
    )


if __name__ == '__main__':
    sys.exit(main())
