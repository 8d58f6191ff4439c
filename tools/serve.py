# SPDX-License-Identifier: Apache-2.0
"""Embed, search, add and delete over HTTP.

``python tools/serve.py MODEL gallery``
"""

from __future__ import annotations

import argparse
import socket
import sys
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from mmreid_gcl.cli.command_line import (
    add_host_arguments,
    add_model_arguments,
    build_inferencer,
    tool,
    warn_if_open,
)


def parse_args(argv: Sequence[str] | None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(
        description='Serve a model and a gallery: /embed, /search, /add, /delete, '
        '/save, /health, /metrics and /openapi.json. It listens on this machine only '
        'unless --host says otherwise.'
    )
    add_model_arguments(parser)
    parser.add_argument(
        'gallery', help='folder of a saved index; a new one is made if it is empty'
    )
    add_host_arguments(parser)
    parser.add_argument('--port', type=int, default=8000, help='0: a free one')
    parser.add_argument(
        '--save-every',
        type=float,
        default=60,
        metavar='SECONDS',
        help='how often a changed gallery is saved, besides at the end',
    )
    args = parser.parse_args(argv)
    if not args.save_every > 0:
        parser.error(f'--save-every must be more than 0, got {args.save_every}')
    return args


def bind(host: str, port: int) -> socket.socket:
    """Take an address before the model is loaded; an OSError that names it if not."""
    sock = socket.socket(socket.AF_INET6 if ':' in host else socket.AF_INET)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        sock.bind((host, port))
    except OSError as error:
        sock.close()
        reason = f'cannot listen on {host}, port {port} ({error.strerror})'
        raise OSError(error.errno, f'{reason}; give another --host or --port') from None
    return sock


@tool
def main(argv: Sequence[str] | None = None) -> int:
    """Serve until the program is stopped."""
    args = parse_args(argv)
    try:
        import uvicorn

        from mmreid_gcl.apis.service import Service, open_gallery
    except ModuleNotFoundError as error:
        if error.name not in ('uvicorn', 'fastapi', 'prometheus_client'):
            raise
        raise ImportError(
            f'The service needs {error.name}, which is not installed: '
            'pip install fastapi uvicorn prometheus-client'
        ) from error
    from mmreid_gcl.apis.gallery_files import sole_writer

    folder = Path(args.gallery)
    folder.mkdir(parents=True, exist_ok=True)
    with bind(args.host, args.port) as sock, sole_writer(folder):
        inferencer = build_inferencer(args)
        gallery = open_gallery(inferencer, folder)
        warn_if_open(args.host, 'searches and changes the gallery')
        hosts = {args.host, *args.allow_host}
        service = Service(inferencer, gallery, folder, hosts, args.save_every)
        config = uvicorn.Config(
            service.app,
            lifespan='on',
            log_config=None,  # its own would close the handlers of all loggers
            access_log=False,
            server_header=False,
            timeout_graceful_shutdown=10,
        )
        host, port = sock.getsockname()[:2]
        print(f'Listening on {host}, port {port}.', flush=True)
        known = gallery.calibration
        print(
            f'{folder}: {len(gallery):,} crops, '
            + (f'threshold {known.threshold:.3f}' if known else 'no threshold'),
            flush=True,
        )
        with suppress(KeyboardInterrupt):
            uvicorn.Server(config).run(sockets=[sock])
    return 1 if service.unsaved else 0  # the log says why


if __name__ == '__main__':
    sys.exit(main())
