# SPDX-License-Identifier: Apache-2.0
"""What the page lets in, asked as a server asks it."""

import asyncio
import os

import pytest

from mmreid_gcl.apis import page_guard
from mmreid_gcl.apis.page_guard import PageGuard, remove_oldest

PAGE = [(b'host', b'127.0.0.1:7860')]


def ask(folder, headers=PAGE, path='/', parts=(), hosts=(), kind='http', end=True):
    """(status, body that the application got)."""
    got, sent = [], []

    async def app(scope, receive, send):
        got.append((await receive())['body'] if parts else b'')
        await send(dict(type='http.response.start', status=200))

    messages = [
        dict(type='http.request', body=part, more_body=i < len(parts) - 1 or not end)
        for i, part in enumerate(parts)
    ]
    messages = iter([*messages, dict(type='http.disconnect')])

    async def receive():
        return next(messages)

    async def send(message):
        sent.append(message)

    scope = dict(
        type=kind,
        method='POST' if parts else 'GET',
        path=path,
        headers=headers,
        server=('127.0.0.1', 7860),
    )
    guard = PageGuard(app, folder, hosts)
    asyncio.run(guard(scope, receive, send))
    assert guard.receiving == 0
    status = next((m.get('status', m['type']) for m in sent), None)
    return status, got[0] if got else None


@pytest.mark.parametrize(
    'host,origin,expected',
    [
        ('127.0.0.1:7860', None, 200),
        ('LocalHost:7860', 'http://localhost:7860', 200),
        ('[::1]:7860', 'http://[::1]:7860', 200),
        ('crops.lan', 'https://crops.lan', 200),
        ('127.0.0.1:7860', 'http://127.0.0.1:80', 403),
        ('127.0.0.1:7860', 'http://localhost:7860', 403),
        ('127.0.0.1:7860', 'null', 403),
        ('127.0.0.1:7860', '', 403),
        ('rebound.example:7860', None, 403),
        ('rebound.example', 'http://rebound.example', 403),
        ('localhost.rebound.example', None, 403),
        ('x@localhost', 'http://evil.example', 403),
        ('[::1', None, 403),
        ('', None, 403),
        (None, None, 403),
    ],
)
def test_host_and_origin(tmp_path, host, origin, expected):
    given = [(b'host', host), (b'origin', origin)]
    headers = [(key, value.encode()) for key, value in given if value is not None]
    assert ask(tmp_path, headers, hosts=['Crops.LAN'])[0] == expected


def test_two_hosts_and_websockets_are_refused(tmp_path):
    assert ask(tmp_path, PAGE * 2)[0] == 403
    assert ask(tmp_path, kind='websocket')[0] == 'websocket.close'


@pytest.mark.parametrize(
    'path,expected',
    [
        ('/config', 200),
        ('/gradio_api/queue/data', 200),
        ('/gradio_api/file=/tmp/a.webp', 200),
        ('/gradio_api/file=http://localhost:22/', 404),
        ('/gradio_api/proxy=http://localhost/', 404),
        ('/gradio_api/process_recording', 404),
        ('/gradio_api/deep_link', 404),
    ],
)
def test_addresses_that_fetch_from_elsewhere(tmp_path, path, expected):
    assert ask(tmp_path, path=path)[0] == expected


def test_bodies(tmp_path, monkeypatch):
    assert ask(tmp_path, parts=[b'ab', b'', b'c']) == (200, b'abc')
    monkeypatch.setattr(page_guard, 'MAX_BODY', 9)
    assert ask(tmp_path, parts=[b'12345', b'6789']) == (200, b'123456789')
    assert ask(tmp_path, parts=[b'12345', b'67890'], end=False) == (413, None)
    assert ask(tmp_path, parts=[b'123'], end=False) == (None, None)  # hung up
    monkeypatch.setattr(page_guard, 'MAX_RECEIVING', 3)
    assert ask(tmp_path, parts=[b'1234']) == (503, None)


@pytest.mark.parametrize(
    'body,expected',
    [
        (b'{"data": [{"path": "/tmp/a.png"}]}', 200),
        (b'{"data": [{"path": "http://localhost:22/"}]}', 403),
        (b'{"data": {"a": [{"p\\u0061th":"\\u0068ttps://x"}]}}', 403),
        ('{"path":"http://x"}'.encode('utf-16'), 403),
    ],
)
def test_addresses_in_place_of_files(tmp_path, body, expected):
    assert ask(tmp_path, parts=[body])[0] == expected


def test_the_oldest_files_go(tmp_path):
    for i in range(6):
        path = tmp_path / str(i % 3) / f'{i}.png'
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(bytes(10))
        os.utime(path, (1000 - i, 1000 - i))
    names = lambda: sorted(path.name for path in tmp_path.rglob('*.png'))  # noqa: E731
    remove_oldest(tmp_path, max_files=5)
    assert names() == [f'{i}.png' for i in range(5)]
    remove_oldest(tmp_path, max_bytes=20)
    assert names() == ['0.png', '1.png']
    assert sorted(path.name for path in tmp_path.iterdir()) == ['0', '1']
