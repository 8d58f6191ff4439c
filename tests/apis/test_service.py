# SPDX-License-Identifier: Apache-2.0
"""The HTTP service, asked by clients of a real server."""

import base64
import builtins
import logging
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import cv2
import httpx
import numpy as np
import pytest
import torch
import uvicorn

from mmreid_gcl.apis import page_guard, service
from mmreid_gcl.apis.gallery_index import GalleryIndex
from mmreid_gcl.apis.inferencer import ReIDInferencer
from mmreid_gcl.apis.service import Batcher, Service, open_gallery

from .test_gallery_index import make_calibration
from .tiny import CHANNELS, TEST_PIPELINE, draw, make_model

PNG = {'content-type': 'image/png'}
JSON = {'content-type': 'application/json'}


def png(person, shot=0):
    return cv2.imencode('.png', draw(person, shot))[1].tobytes()


def coded(*images):
    return [base64.b64encode(image).decode() for image in images]


def new(person, camera='hall', **more):
    data = coded(png(person))[0]
    return dict(data=data, path=f'{camera}/{person}.png', camera=camera, **more)


@contextmanager
def served(app):
    """A client of the application on a port of its own."""
    server = uvicorn.Server(
        # its own log_config would close the handlers of all loggers
        uvicorn.Config(
            app, port=0, lifespan='on', log_config=None, log_level=logging.ERROR
        )
    )
    thread = threading.Thread(target=server.run)
    thread.start()
    while not server.started:
        assert thread.is_alive()
        time.sleep(0.005)
    port = server.servers[0].sockets[0].getsockname()[1]
    limits = httpx.Limits(max_connections=None)
    try:
        with httpx.Client(
            base_url=f'http://127.0.0.1:{port}', timeout=60, limits=limits
        ) as client:
            yield client
    finally:
        server.should_exit = True
        thread.join()


@pytest.fixture
def folder(tmp_path):
    (tmp_path / 'gallery').mkdir()
    return tmp_path / 'gallery'


@pytest.fixture
def made(inferencer, folder):
    return Service(inferencer, open_gallery(inferencer, folder), folder)


@pytest.fixture
def client(made):
    with served(made.app) as client:
        yield client


def detail(answer, status):
    assert answer.status_code == status, answer.text
    assert answer.headers['content-type'] == 'application/json'
    return answer.json()['detail']


def test_embeddings_are_those_of_the_inferencer(client, inferencer):
    expected = inferencer([draw(1), draw(2)])
    one = client.post('/embed', content=png(1), headers=PNG).json()
    assert one['model_hash'] == inferencer.model_hash
    np.testing.assert_allclose(one['features'], expected[:1], atol=1e-5)
    both = client.post('/embed', json=dict(images=coded(png(1), png(2)))).json()
    np.testing.assert_allclose(both['features'], expected, atol=1e-5)


def test_add_search_delete(client, inferencer):
    images = [new(1, track=5), new(2, 'entrance', time=100.0), new(3)]
    assert client.post('/add', json=dict(images=images)).json() == dict(ids=[0, 1, 2])

    scores = inferencer(draw(2))[0] @ inferencer([draw(1), draw(2), draw(3)]).T
    found = client.post('/search?topk=2', content=png(2), headers=PNG).json()
    assert found['threshold'] is None
    best, second = found['results'][0]
    other = 0 if scores[0] > scores[2] else 2
    assert [best[key] for key in ('path', 'camera', 'id')] == [
        'entrance/2.png',
        'entrance',
        1,
    ]
    assert (second['id'], second['rank']) == (other, 2)
    np.testing.assert_allclose(
        [best['score'], second['score']], [1, scores[other]], atol=1e-5
    )

    query = dict(images=coded(png(1), png(2)))
    found = client.post('/search?camera=hall&threshold=-1', json=query).json()
    assert [sorted(m['id'] for m in row) for row in found['results']] == [[0, 2]] * 2
    assert found['results'][0][0]['track'] == 5
    found = client.post(f'/search?threshold={1 - 1e-4}', json=query).json()
    assert [[m['id'] for m in row] for row in found['results']] == [[0], [1]]

    assert client.post('/delete', json=dict(before=200)).json() == dict(removed=1)
    found = client.post('/search', json=query).json()
    assert [sorted(m['id'] for m in row) for row in found['results']] == [[0, 2]] * 2
    assert client.get('/health').json()['images'] == 2


def test_not_in_the_gallery(made, client):
    client.post('/add', json=dict(images=[new(1)]))
    known = make_calibration(threshold=0.99, model_hash=made.model_hash)
    made.gallery.calibration = known
    query = dict(images=coded(png(1), png(4)))
    found = client.post('/search', json=query).json()
    assert found['threshold'] == 0.99 == client.get('/health').json()['threshold']
    assert [len(row) for row in found['results']] == [1, 0]
    assert 0 <= found['results'][0][0]['probability'] <= 1


def test_a_gallery_that_outgrew_its_calibration(made, client, log_lines):
    known = make_calibration(images=1, model_hash=made.model_hash)
    made.gallery.calibration = known
    client.post('/add', json=dict(images=[new(1), new(2)]))
    assert client.get('/health').json()['warning'] is None
    for person in (3, 4):
        client.post('/add', json=dict(images=[new(person)]))
    assert 'among 1 images; of 4' in client.get('/health').json()['warning']
    warned = [line for line in log_lines if 'Calibrate again' in line[1]]
    assert len(warned) == 1 and warned[0][0] == 'WARNING'


def test_saved_when_asked_and_at_the_end(made, inferencer, folder):
    on_disk = lambda: GalleryIndex.load(folder, inferencer.model_hash)  # noqa: E731
    with served(made.app) as client:
        client.post('/add', json=dict(images=[new(1), new(2)]))
        assert (len(on_disk()), client.get('/health').json()['unsaved']) == (0, 1)
        assert client.post('/save').json() == dict(images=2)
        assert client.get('/health').json()['unsaved'] == 0
        assert on_disk().paths == ['hall/1.png', 'hall/2.png']
        client.post('/delete', json=dict(ids=[0]))
        assert len(on_disk()) == 2
    assert on_disk().paths == ['hall/2.png']
    np.testing.assert_allclose(on_disk().features, inferencer(draw(2)), atol=1e-5)


def test_saved_now_and_then(inferencer, folder):
    made = Service(inferencer, open_gallery(inferencer, folder), folder, (), 0.01)
    with served(made.app) as client:
        client.post('/add', json=dict(images=[new(1)]))
        while client.get('/health').json()['unsaved']:
            time.sleep(0.01)
        assert len(GalleryIndex.load(folder)) == 1


def test_a_full_disk(made, client, folder, monkeypatch):
    client.post('/add', json=dict(images=[new(1)]))

    def full(*_):
        raise OSError(28, 'No space left on device')

    with monkeypatch.context() as patch:
        patch.setattr('mmreid_gcl.apis.gallery_files.write_atomically', full)
        assert 'No space left' in detail(client.post('/save'), 503)
    assert len(GalleryIndex.load(folder)) == 0
    assert client.get('/health').json()['unsaved'] == 1
    assert client.post('/save').status_code == 200
    assert len(GalleryIndex.load(folder)) == 1


def test_fifty_clients_at_once(model, folder, monkeypatch):
    """All wait while the first batch is embedded; the rest comes in full batches."""
    inferencer = ReIDInferencer(model, pipeline=TEST_PIPELINE, batch_size=16)
    expected = inferencer([draw(person) for person in range(50)])
    made = Service(inferencer, open_gallery(inferencer, folder), folder)
    go_on, sizes, embed = threading.Event(), [], inferencer.embed_prepared

    def slow(batch, names):
        sizes.append(len(batch))
        go_on.wait()
        return embed(batch, names)

    monkeypatch.setattr(inferencer, 'embed_prepared', slow)
    with served(made.app) as client, ThreadPoolExecutor(50) as clients:
        answers = [
            clients.submit(client.post, '/embed', content=png(person), headers=PNG)
            for person in range(50)
        ]
        while not sizes or sizes[0] + made._batcher.waiting.qsize() < 50:
            time.sleep(0.005)
        assert client.get('/health').json()['status'] == 'ok'
        assert 'mmreid_waiting_images 50.0' in client.get('/metrics').text
        go_on.set()
        found = [answer.result().json()['features'][0] for answer in answers]
        text = client.get('/metrics').text
    np.testing.assert_allclose(found, expected, atol=1e-5)
    assert sum(sizes) == 50 and max(sizes) == 16
    assert len(sizes) == 1 + -(-(50 - sizes[0]) // 16)
    assert f'mmreid_batch_images_count {len(sizes)}.0' in text
    assert 'mmreid_batch_images_sum 50.0' in text
    assert 'mmreid_request_seconds_count{path="/embed",status="200"} 50.0' in text


def test_searches_and_changes_at_once(client):
    def visit(person):
        for _ in range(3):
            added = client.post('/add', json=dict(images=[new(person)])).json()
            found = client.post('/search', content=png(person), headers=PNG).json()
            best = found['results'][0][0]
            assert best['path'] == f'hall/{person}.png' and best['score'] > 0.999
            gone = client.post('/delete', json=added).json()
            assert gone == dict(removed=1)

    with ThreadPoolExecutor(8) as clients:
        list(clients.map(visit, range(8)))
    assert client.get('/health').json()['images'] == 0


@pytest.mark.parametrize('broken', [False, True])
def test_one_image_does_not_spoil_a_batch(inferencer, monkeypatch, broken):
    embed = inferencer.embed_prepared

    def fail(batch, names):
        if broken and 'bad' in names:
            raise ValueError('bad: not finite')
        return embed(batch, names)

    monkeypatch.setattr(inferencer, 'embed_prepared', fail)
    batcher = Batcher(inferencer, lambda _: None)
    names = ['a', 'bad', 'b']
    futures = [batcher.submit(n, inferencer.prepare(n, draw(1))) for n in names]
    batcher.close()
    assert [bool(future.exception()) for future in futures] == [False, broken, False]
    for future in (futures[0], futures[2]):
        np.testing.assert_allclose(future.result(), inferencer(draw(1))[0], atol=1e-5)


def test_a_model_that_overflows(made, client, monkeypatch):
    monkeypatch.setattr(
        made.inferencer, '_forward', lambda b: torch.full((len(b), CHANNELS), np.nan)
    )
    answer = client.post('/embed', content=png(1), headers=PNG)
    assert 'not finite' in detail(answer, 500)


BAD = [
    ('/embed', dict(content=b'no image', headers=PNG), 422, 'images[0]: '),
    ('/embed', dict(content=b'', headers=PNG), 422, 'zero bytes'),
    ('/embed', dict(content=png(1)[:-30], headers=PNG), 422, 'cannot be decoded'),
    ('/embed', dict(content=png(1)), 415, 'image/jpeg'),
    ('/embed', dict(data=dict(image='x')), 415, 'application/json'),
    ('/embed', dict(json=dict(images=coded(png(1), b'x'))), 422, 'images[1]: '),
    ('/embed', dict(json=dict(images=['/etc/passwd'])), 422, 'images.0'),
    ('/embed', dict(json=dict(images=[])), 422, 'at least 1'),
    ('/embed', dict(json=dict(images=coded(b'x') * 65)), 413, 'at most 64'),
    ('/embed', dict(json=dict(paths=['x.png'])), 422, 'paths'),
    ('/embed', dict(content='[]', headers=JSON), 422, 'an object'),
    ('/delete', dict(content='{"\\ud800": 1}', headers=JSON), 422, 'valid string'),
    ('/search?topk=0', dict(content=png(1), headers=PNG), 422, 'topk'),
    ('/search?cameras=hall', dict(content=png(1), headers=PNG), 422, 'cameras'),
    ('/search?camera=roof', dict(content=png(1), headers=PNG), 422, "'roof'"),
    ('/search?threshold=nan', dict(content=png(1), headers=PNG), 422, 'threshold'),
    ('/add', dict(content=png(1), headers=PNG), 415, 'application/json'),
    ('/add', dict(json=dict(images=[new(1)])), 422, "'hall/1.png' twice"),
    ('/add', dict(json=dict(images=[new(2), new(2)])), 422, "'hall/2.png' twice"),
    ('/add', dict(json=dict(images=[new(2) | {'path': '/a'}])), 422, 'relative path'),
    ('/add', dict(json=dict(images=[new(2) | {'path': 'a/../../b'}])), 422, "'..'"),
    ('/add', dict(json=dict(images=[new(2, track=2**63)])), 422, 'track'),
    ('/add', dict(json=dict(images=[new(2), dict(data='')])), 422, 'images.1.path'),
    ('/delete', dict(json=dict(camera='hall')), 422, 'camera'),
    ('/delete', dict(json={}), 422, 'say which images'),
    ('/delete', dict(json=dict(ids=[10**30])), 422, 'has no id'),
    ('/delete', dict(json=dict(paths=['hall/9.png'])), 422, "'hall/9.png'"),
    ('/nothing', dict(json={}), 404, 'Not Found'),
]  # fmt: skip


def test_bad_requests_change_nothing(client):
    client.post('/add', json=dict(images=[new(1)]))
    for path, body, status, words in BAD:
        assert words in detail(client.post(path, **body), status), (path, words)
        assert client.get('/health').json()['images'] == 1
    for text in ('{', '[' * 100_000, '{"ids": [' + '1' * 5000 + ']}'):
        for path in ('/delete', '/embed'):
            assert detail(client.post(path, content=text, headers=JSON), 400)
    assert client.post('/search', content=png(1), headers=PNG).status_code == 200


def test_limits(made, client, inferencer, monkeypatch):
    monkeypatch.setattr(inferencer, 'max_pixels', 20 * 40 - 1)
    answer = client.post('/embed', content=png(1), headers=PNG)
    assert 'pixels' in detail(answer, 422)
    monkeypatch.setattr(inferencer, 'max_pixels', 20 * 40)
    assert client.post('/embed', content=png(1), headers=PNG).status_code == 200
    monkeypatch.setattr(service, 'MAX_WAITING', 1)
    answer = client.post('/embed', json=dict(images=coded(png(1), png(2))))
    assert 'wait already' in detail(answer, 503)
    assert answer.headers['retry-after'] == '1'
    monkeypatch.setattr(page_guard, 'MAX_BODY', len(png(1)) - 1)
    answer = client.post('/embed', content=png(1), headers=PNG)
    assert 'Too large' in detail(answer, 413)
    assert made.waiting == 0


def test_other_sites_are_refused(client):
    for headers in ({'host': 'evil.example'}, {'origin': 'http://evil.example'}):
        answer = client.get('/health', headers=headers)
        assert 'Not an address' in detail(answer, 403)


def test_no_file_is_opened_or_served(client, folder, monkeypatch):
    client.get('/health')
    secret = folder.parent / 'secret.png'
    secret.write_bytes(png(7))
    opened, real = [], builtins.open

    def watch(file, *args, **kwargs):
        opened.append(str(file))
        return real(file, *args, **kwargs)

    monkeypatch.setattr(builtins, 'open', watch)
    monkeypatch.setattr('io.open', watch)
    client.post('/add', json=dict(images=[new(1) | {'path': 'secret.png'}]))
    client.post('/embed', content=str(secret).encode(), headers=PNG)
    client.post('/embed', json=dict(images=coded(str(secret).encode())))
    for path in ('secret.png', 'gallery.json', '../secret.png', str(secret), 'docs'):
        assert client.get(f'/{path}').status_code == 404
    assert [name for name in opened if str(folder.parent) in name] == []


def test_openapi_names_what_is_there(client):
    paths = client.get('/openapi.json').json()['paths']
    names = 'embed search add delete save health metrics'
    assert sorted(paths) == sorted(f'/{name}' for name in names.split())
    assert 'image/*' in paths['/search']['post']['requestBody']['content']


def test_names_that_are_no_utf8(inferencer, folder):
    gallery = GalleryIndex(
        inferencer(draw(1)), ['caf\udce9.png'], ['x'], model_hash=inferencer.model_hash
    )
    with served(Service(inferencer, gallery, folder).app) as client:
        answer = client.post('/search', content=png(1), headers=PNG)
    assert answer.json()['results'][0][0]['path'] == 'caf\udce9.png'


def test_open_gallery(inferencer, folder):
    (folder / '.lock').touch()
    assert len(open_gallery(inferencer, folder)) == 0
    assert open_gallery(inferencer, folder).dim == CHANNELS
    (folder / 'gallery.json').unlink()
    with pytest.raises(ValueError, match='expected a saved gallery or an empty'):
        open_gallery(inferencer, folder)
    other = ReIDInferencer(make_model(1), pipeline=TEST_PIPELINE)
    gallery = GalleryIndex(np.eye(CHANNELS), ['a'] * CHANNELS, ['x'] * CHANNELS)
    with pytest.raises(ValueError, match='another model'):
        Service(other, gallery, folder)
