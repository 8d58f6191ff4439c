# SPDX-License-Identifier: Apache-2.0
"""A web page for looking at a gallery: search with a crop, browse clusters.

``python tools/gallery_app.py MODEL gallery/ --clusters clusters/clusters.csv``
"""

from __future__ import annotations

import argparse
import os
import shutil
import signal
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from mmreid_gcl.apis.folder import read_clusters
from mmreid_gcl.apis.gallery_index import is_gallery
from mmreid_gcl.cli.command_line import (
    add_folder_arguments,
    add_host_arguments,
    add_model_arguments,
    build_inferencer,
    folder_options,
    tool,
    warn_if_open,
)
from mmreid_gcl.files import lock

PREFIX = 'gallery_app_'


def parse_args(argv: Sequence[str] | None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(
        description='Serve a page on which to drop or pick a query crop, see what it '
        'finds, and browse clusters. It listens on this machine only unless --host '
        'says otherwise, and serves thumbnails of the gallery and nothing else.'
    )
    add_model_arguments(parser)
    parser.add_argument('gallery', help='folder of crops, or of a saved index')
    parser.add_argument(
        '--root',
        help='folder of the images of a saved index, if they were moved or the index '
        'is from somebody else; default: the one it names',
    )
    parser.add_argument('--clusters', help='clusters.csv of tools/cluster.py')
    add_host_arguments(parser)
    parser.add_argument('--port', type=int, help='default: a free one from 7860 on')
    add_folder_arguments(parser)
    return parser.parse_args(argv)


@contextmanager
def cache_folder() -> Iterator[str]:
    """A temporary folder that is gone when the program ends.

    If it was killed, the next start removes it: who has the lock in it is alive.
    """
    for old in Path(tempfile.gettempdir()).glob(f'{PREFIX}*'):
        with suppress(OSError), open(old / 'lock', 'r+b') as file:
            if lock(file.fileno()) and not old.is_symlink():
                shutil.rmtree(old, ignore_errors=True)
    with (
        tempfile.TemporaryDirectory(prefix=PREFIX) as folder,
        open(Path(folder) / 'lock', 'wb') as file,
    ):
        lock(file.fileno())
        (Path(folder) / 'cache').mkdir()
        yield str(Path(folder) / 'cache')


@tool
def main(argv: Sequence[str] | None = None) -> int:
    """Build the gallery if need be, and serve until the program is stopped."""
    args = parse_args(argv)
    # ends as Ctrl-C does: the thumbnails are deleted
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    os.environ['GRADIO_ANALYTICS_ENABLED'] = 'False'
    with cache_folder() as cache:  # of thumbnails and uploads
        os.environ['GRADIO_TEMP_DIR'] = cache
        try:
            from mmreid_gcl.apis.gallery_page import GalleryPage, launch
        except ModuleNotFoundError as error:
            if error.name != 'gradio':
                raise
            raise ImportError(
                'The page needs Gradio, which is not installed: pip install gradio'
            ) from error

        inferencer = build_inferencer(args)
        if is_gallery(args.gallery):
            gallery = inferencer.load_gallery(args.gallery, args.root)
        else:
            gallery = inferencer.build_gallery(args.gallery, **folder_options(args))
        clusters = None
        if args.clusters:
            clusters = read_clusters(args.clusters, gallery.paths)
        print(f'The page shows images below {gallery.root}.', file=sys.stderr)
        warn_if_open(args.host, 'sees the crops')
        page = GalleryPage(inferencer, gallery, clusters).build()
        launch(page, args.host, args.port, allow_hosts=args.allow_host)
    return 0


if __name__ == '__main__':
    sys.exit(main())
