# SPDX-License-Identifier: Apache-2.0
"""The service as a program: its address, its end, what stays on disk."""

import base64
import re
import signal
import socket
import subprocess
import sys
import time

import cv2
import httpx
import pytest

from mmreid_gcl.apis.gallery_index import GalleryIndex
from tests.apis.tiny import draw, save_checkpoint
from tests.docs.pages import ROOT


@pytest.fixture
def start(tmp_path):
    """A function that starts the program and waits for it; killed after the test."""
    model = save_checkpoint(tmp_path / 'tiny.pth')
    tool = ROOT / 'tools' / 'serve.py'
    started = []

    def run():
        program = subprocess.Popen(
            [sys.executable, tool, model, tmp_path / 'g', '--device=cpu', '--port=0'],
            text=True, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
        )  # fmt: skip
        started.append(program)
        line = program.stdout.readline()
        port = re.fullmatch(r'Listening on 127\.0\.0\.1, port (\d+)\.\n', line)[1]
        client = httpx.Client(base_url=f'http://127.0.0.1:{port}', timeout=60)
        while True:
            try:
                client.get('/health')
                return program, client, port
            except httpx.TransportError:
                assert program.poll() is None
                time.sleep(0.02)

    yield run
    for program in started:
        program.kill()
        program.communicate()


def add(client, person):
    data = base64.b64encode(cv2.imencode('.png', draw(person))[1]).decode()
    image = dict(data=data, path=f'{person}.png', camera='hall')
    assert client.post('/add', json=dict(images=[image])).status_code == 200


def test_what_stays_on_disk(start, tmp_path, load_tool, capsys):
    program, client, port = start()
    add(client, 1)
    client.post('/save')
    add(client, 2)
    with socket.socket() as sock:  # another address of this very machine
        assert sock.connect_ex(('127.0.0.2', int(port))) != 0
    serve, model = load_tool('serve').main, str(tmp_path / 'tiny.pth')
    assert serve([model, str(tmp_path / 'other'), f'--port={port}']) == 2
    assert f'cannot listen on 127.0.0.1, port {port}' in capsys.readouterr().err
    assert serve([model, str(tmp_path / 'g'), '--port=0']) == 2
    assert 'somebody else writes this gallery' in capsys.readouterr().err
    assert GalleryIndex.load(tmp_path / 'g').paths == ['1.png']
    program.terminate()
    assert program.wait() in (0, -signal.SIGTERM)
    assert GalleryIndex.load(tmp_path / 'g').paths == ['1.png', '2.png']


def test_a_missing_library(tmp_path, load_tool, capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, 'uvicorn', None)
    assert load_tool('serve').main([str(tmp_path), str(tmp_path)]) == 2
    assert 'pip install fastapi uvicorn prometheus-client' in capsys.readouterr().err


def test_a_wide_address_is_told(load_tool, capsys):
    warn = load_tool('serve').warn_if_open
    warn('127.0.0.1', 'reads')
    assert capsys.readouterr().err == ''
    warn('0.0.0.0', 'reads')
    assert 'whoever reaches this machine reads' in capsys.readouterr().err
