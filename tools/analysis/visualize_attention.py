# SPDX-License-Identifier: Apache-2.0
"""Heat map of the attention in a graph of the training set (figure 6).

Example: ``python tools/analysis/visualize_attention.py CONFIG CHECKPOINT --out x.png``
"""

import sys
from collections.abc import Sequence

from _model import parser, source_of, write

from mmreid_gcl.apis.figures import attention_figure
from mmreid_gcl.cli.command_line import tool


@tool
def main(argv: Sequence[str] | None = None) -> int:
    """Write the figure."""
    made = parser(__doc__, 'attention.png')
    made.add_argument(
        '--image',
        type=int,
        help='index of a training image whose graph to show; drawn if not given',
    )
    made.add_argument(
        '--vmax', type=float, help='upper end of the colours; the maximum if not given'
    )
    args = made.parse_args(argv)
    return write(
        args,
        lambda: attention_figure(source_of(args), args.image, args.seed, args.vmax),
    )


if __name__ == '__main__':
    sys.exit(main())
