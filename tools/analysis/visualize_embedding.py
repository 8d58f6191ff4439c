# SPDX-License-Identifier: Apache-2.0
"""Some people of the test set in the plane (figure 7).

Example: ``python tools/analysis/visualize_embedding.py CONFIG CHECKPOINT \
--beside CONFIG untrained --out x.png``
"""

import sys
from collections.abc import Sequence

from _model import parser, source_of, write

from mmreid_gcl.apis.figures import embedding_figure
from mmreid_gcl.cli.command_line import tool
from mmreid_gcl.visualization.projection import METHODS, check_method


@tool
def main(argv: Sequence[str] | None = None) -> int:
    """Write the figure."""
    made = parser(__doc__, 'embedding.png')
    made.add_argument('--method', choices=METHODS, default='tsne')
    made.add_argument('--num-ids', type=int, default=11, help='people')
    made.add_argument('--max-images', type=int, default=60, help='images of each')
    made.add_argument(
        '--beside',
        nargs=2,
        action='append',
        default=[],
        metavar=('CONFIG', 'CHECKPOINT'),
        help='another model, on the same images, in a panel of its own',
    )
    args = made.parse_args(argv)

    def make():
        check_method(args.method)  # before all images are embedded
        return embedding_figure(
            source_of(args),
            *(source_of(args, *other) for other in args.beside),
            num_ids=args.num_ids,
            max_images=args.max_images,
            method=args.method,
            seed=args.seed,
        )

    return write(args, make)


if __name__ == '__main__':
    sys.exit(main())
