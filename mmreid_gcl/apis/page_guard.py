# SPDX-License-Identifier: Apache-2.0
"""What a server on one's own machine lets in: own addresses, small bodies."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Collection
from contextlib import suppress
from pathlib import Path
from urllib.parse import urlsplit

#: Of one request, bytes: a file and the lines around it.
MAX_BODY = (20 << 20) + (64 << 10)
#: Of all requests that are being received.
MAX_RECEIVING = 5 * MAX_BODY
#: What stays in the cache folder, uploads and thumbnails; the oldest go first.
MAX_FILES, MAX_BYTES = 5000, 500 << 20
_LOCALHOST = ('localhost', '127.0.0.1', '::1')
#: Of Gradio's own addresses those that its page asks for. Others fetch from elsewhere.
_USED = re.compile(
    r'/gradio_api/(file=/.*|(info|heartbeat|queue|upload|upload_progress|run|call|api|'
    r'startup-events|reset|cancel|app_id|theme\.css)(/.*)?)'
)


class Guard:
    """ASGI middleware that refuses what is not meant for this server.

    A page of another site must not reach it through the visitor's browser: ``Host``
    and ``Origin`` must be this server's. What is uploaded is bounded.

    Args:
        app: The application.
        hosts (Collection[str]): Names of the server besides localhost and the address
            that the request came to.
    """

    def __init__(self, app, hosts: Collection[str] = ()) -> None:
        self.app = app
        self.hosts = {host.lower() for host in hosts} - {'0.0.0.0', '::'}
        self.receiving = 0

    async def __call__(self, scope, receive, send) -> None:
        """Answer a request, or pass it on."""
        if scope['type'] == 'lifespan':
            return await self.app(scope, receive, send)
        if scope['type'] != 'http' or not self._is_ours(scope):
            return await _refuse(scope, send, 403, 'Not an address of this server.')
        if not self.uses(scope['path']):
            return await _refuse(scope, send, 404, 'Not used by this page.')
        if scope['method'] in ('GET', 'HEAD', 'OPTIONS'):
            return await self.app(scope, receive, send)
        body = bytearray()
        try:
            more = True
            while more:
                message = await receive()
                if message['type'] != 'http.request':
                    return None  # gone
                part = message.get('body', b'')
                body += part
                self.receiving += len(part)
                if len(body) > MAX_BODY:
                    reason = f'Too large: at most {MAX_BODY >> 20} MiB a request.'
                    return await _refuse(scope, send, 413, reason)
                if self.receiving > MAX_RECEIVING:
                    reason = 'Too many requests at a time. Try again.'
                    return await _refuse(scope, send, 503, reason)
                more = message.get('more_body', False)
            if not self.takes(body):
                return await _refuse(scope, send, 403, 'Only files are taken.')
            first = iter([dict(type='http.request', body=bytes(body))])

            async def received():
                return next(first, None) or await receive()

            await self.make_room()
            await self.app(scope, received, send)
        finally:
            self.receiving -= len(body)

    def uses(self, path: str) -> bool:
        """Whether this address is used."""
        return True

    def takes(self, body: bytearray) -> bool:
        """Whether a body may be passed on."""
        return True

    async def make_room(self) -> None:
        """Called before a body is passed on."""

    def _is_ours(self, scope) -> bool:
        """Whether Host, and Origin if there is one, are this server's."""
        headers = [(key, value.decode('latin-1')) for key, value in scope['headers']]
        given = [value.lower() for key, value in headers if key == b'host']
        origins = [value.lower() for key, value in headers if key == b'origin']
        bound = {(scope.get('server') or ('',))[0], *_LOCALHOST, *self.hosts} - {''}
        return (
            len(given) == 1
            and _name(given[0]) in bound
            and all(origin.partition('://')[2] == given[0] for origin in origins)
        )


class PageGuard(Guard):
    """Guard of the page: the server fetches nothing, and uploads do not pile up.

    Args:
        app: The application.
        folder (str | Path): Where it keeps uploads and thumbnails, and nothing else.
        hosts (Collection[str]): As for :class:`Guard`.
    """

    def __init__(self, app, folder: str | Path, hosts: Collection[str] = ()) -> None:
        super().__init__(app, hosts)
        self.folder = Path(folder)

    def uses(self, path: str) -> bool:
        """Whether the page asks for this address."""
        return not path.startswith('/gradio_api/') or bool(_USED.fullmatch(path))

    def takes(self, body: bytearray) -> bool:
        """Whether it names no address."""
        return not _names_an_address(body)

    async def make_room(self) -> None:
        """Delete the oldest files."""
        await asyncio.to_thread(remove_oldest, self.folder)


def remove_oldest(
    folder: Path, max_files: int | None = None, max_bytes: int | None = None
) -> None:
    """Delete the oldest files of a folder tree until the others keep the limits.

    Args:
        folder (Path): The folder.
        max_files (int, optional): Defaults to :data:`MAX_FILES`.
        max_bytes (int, optional): Defaults to :data:`MAX_BYTES`.
    """
    files = []
    for path in folder.rglob('*'):
        with suppress(OSError):  # gone meanwhile
            if path.is_file():
                files.append((path.stat().st_mtime_ns, path.stat().st_size, path))
    files.sort(reverse=True)
    kept = 0
    for number, (_, size, path) in enumerate(files):
        kept += size
        if number >= (max_files or MAX_FILES) or kept > (max_bytes or MAX_BYTES):
            with suppress(OSError):
                path.unlink()
                path.parent.rmdir()


def _name(host: str) -> str:
    """A host without its port, '' if it is none."""
    with suppress(ValueError):
        return urlsplit(f'//{host}').hostname or ''
    return ''


def _names_an_address(body: bytearray) -> bool:
    """Whether a call names a file by an address, which Gradio would fetch."""
    with suppress(ValueError):
        return '"path": "http' in json.dumps(json.loads(body)).lower()
    return False


async def _refuse(scope, send, status: int, reason: str) -> None:
    if scope['type'] == 'websocket':
        return await send(dict(type='websocket.close'))
    headers = [(b'content-type', b'application/json'), (b'connection', b'close')]
    body = json.dumps(dict(detail=reason)).encode()
    await send(dict(type='http.response.start', status=status, headers=headers))
    await send(dict(type='http.response.body', body=body))
    return None
