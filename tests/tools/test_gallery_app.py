# SPDX-License-Identifier: Apache-2.0
"""The page: what it finds, what it serves, and in a real browser."""

import json
import os
import shutil
import struct
import sys
import urllib.error
import urllib.request
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from mmreid_gcl.apis import ReIDInferencer, page_guard
from tests.apis.tiny import TEST_PIPELINE, draw, make_model, write, write_crops

pytest.importorskip('gradio')
BROWSER = shutil.which('chromium') or shutil.which('google-chrome')


@pytest.fixture(scope='module')
def world(tmp_path_factory):
    """Sixty crops of ten people under two cameras, a secret beside, clusters."""
    folder = tmp_path_factory.mktemp('app')
    write_crops(folder / 'crops', people=10, shots=3)
    (folder / 'crops' / 'notes.txt').write_text('private')
    write(folder / 'secret.png', draw(77))
    lines = ['path,label,camera']
    for path in sorted((folder / 'crops').rglob('*.png')):
        person = int(path.name[:2])
        name = path.relative_to(folder / 'crops')
        lines.append(f'{name},{person if person < 9 else -1},{path.parent.name}')
    (folder / 'clusters.csv').write_text('\n'.join(lines) + '\n')
    return folder


@pytest.fixture(scope='module')
def view(world):
    from mmreid_gcl.apis.gallery_index import read_clusters
    from mmreid_gcl.apis.gallery_page import GalleryPage

    inferencer = ReIDInferencer(
        make_model(), pipeline=TEST_PIPELINE, progress=False, num_workers=0
    )
    gallery = inferencer.build_gallery(world / 'crops')
    return GalleryPage(
        inferencer, gallery, read_clusters(world / 'clusters.csv', gallery.paths)
    )


@pytest.fixture(scope='module')
def address(view, tmp_path_factory):
    from mmreid_gcl.apis.gallery_page import launch

    patch = pytest.MonkeyPatch()
    patch.setenv('GRADIO_ANALYTICS_ENABLED', 'False')
    patch.setenv('GRADIO_TEMP_DIR', str(tmp_path_factory.mktemp('cache')))
    page = view.build()
    yield launch(page, block=False)
    page.close()
    patch.undo()


def names(matches):
    return [match.path.rsplit('/', 1)[-1] for match in matches]


def test_search_with_an_image_or_a_row(view):
    image = Image.fromarray(draw(3, 1)[..., ::-1])  # as entrance/03_1.png
    found = view.search(image, None, 6, ['entrance', 'hall'])
    assert found[0].camera == 'entrance' and names(found)[0] == '03_1.png'
    row = found[0].index
    others = view.search(image, row, 5, ['entrance', 'hall'])
    assert [m.index for m in others] == [m.index for m in found[1:]]
    assert {m.camera for m in view.search(image, row, 5, ['hall'])} == {'hall'}


@pytest.mark.parametrize('mode', ['L', 'RGBA', 'P', 'I;16'])
def test_images_of_all_kinds(view, mode):
    image = Image.fromarray(draw(3, 1)[..., ::-1])
    image = (
        image.convert('L').convert('I').convert(mode)
        if ';' in mode
        else (image.convert(mode))
    )
    assert len(view.search(image, None, 4, ['hall'])) == 4


def test_what_is_missing_is_said(view):
    with pytest.raises(ValueError, match='at least one camera'):
        view.search(None, 3, 5, [])
    with pytest.raises(ValueError, match='Drop a crop'):
        view.search(None, None, 5, ['hall'])


def test_pages_have_all_crops_once(view):
    rows = [row for page in range(1, view.pages + 1) for row in view.page_rows(page)]
    assert rows == list(range(60)) and view.pages == 2
    pictures = view.browse(2)
    assert len(pictures) == 12
    assert pictures[0][1] == 'hall · 06_0.png'
    assert np.array_equal(pictures[0][0], draw(6, 10)[..., ::-1])


def test_clusters(view, world, tmp_path):
    from mmreid_gcl.apis.gallery_index import read_clusters

    choices = view.cluster_choices()
    assert len(choices) == 10 and choices[0] == ('in no cluster: 6 crops', -1)
    captions = [caption for _, caption in view.cluster(4)]
    assert captions == [
        f'{c} · 04_{i}.png' for c in ('entrance', 'hall') for i in range(3)
    ]
    for text, message in (
        ('a,b\n', 'columns path and label'),
        ('path,label\nx.png,1\n', 'none of its paths'),
        ('path,label\nhall/00_0.png,one\n', "line 2: the label 'one'"),
    ):
        (tmp_path / 'a.csv').write_text(text)
        with pytest.raises(ValueError, match=message):
            read_clusters(tmp_path / 'a.csv', view.gallery.paths)


def test_a_file_that_is_gone(view, monkeypatch):
    monkeypatch.setattr(view.gallery, 'root', view.gallery.root / 'moved')
    assert (view.thumbnail(0) == 128).all()


@pytest.mark.parametrize(
    'path',
    [
        'secret.png',
        'crops/notes.txt',
        'clusters.csv',
        'crops/../secret.png',
        '/etc/passwd',
    ],
)
@pytest.mark.parametrize('route', ['gradio_api/file=', 'gradio_api/file/', 'file='])
def test_serves_no_other_file(address, world, path, route):
    with pytest.raises(urllib.error.HTTPError) as caught:
        urllib.request.urlopen(f'{address}{route}{world / path}', timeout=30)
    assert caught.value.code in (403, 404)


def post(address, route, body, kind='application/json', **headers):
    headers = {'Content-Type': kind, **headers}
    request = urllib.request.Request(f'{address}gradio_api/{route}', body, headers)
    try:
        with urllib.request.urlopen(request, timeout=60) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode()


def upload(address, name, content):
    """Status and the path on the server."""
    body = (
        f'--x\r\nContent-Disposition: form-data; name="files"; filename="{name}"\r\n'
        'Content-Type: image/png\r\n\r\n'
    ).encode() + content
    kind = 'multipart/form-data; boundary=x'
    status, text = post(address, 'upload', body + b'\r\n--x--\r\n', kind)
    return status, json.loads(text)[0] if status == 200 else text


def search_for(address, view, image):
    """The last message of a search with an uploaded file, as the page asks for it."""
    with urllib.request.urlopen(f'{address}config', timeout=60) as answer:
        config = json.loads(answer.read())
    button = next(d for d in config['dependencies'] if len(d['inputs']) == 4)
    call = dict(
        data=[image, None, 5, view.cameras], fn_index=button['id'], session_hash='s'
    )
    status, _ = post(address, 'queue/join', json.dumps(call).encode())
    if status != 200:
        return status
    stream = f'{address}gradio_api/queue/data?session_hash=s'
    with urllib.request.urlopen(stream, timeout=120) as answer:
        for line in answer:
            if b'process_completed' in line:
                return json.loads(line.removeprefix(b'data: '))
    return None


def test_a_query_is_read_as_crops_are(address, view, world):
    good = (world / 'crops' / 'hall' / '03_1.png').read_bytes()
    eps = b'%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n%%EndComments\n'
    size = struct.pack('>II', 9000, 9000)
    head = b'IHDR' + size + b'\x08\x02\0\0\0'
    huge = good[:12] + head + struct.pack('>I', zlib.crc32(head)) + good[33:]
    svg = b'<svg xmlns="http://www.w3.org/2000/svg" width="9" height="9"/>'
    for name, content, message in (
        ('good.png', good, None),
        ('a.png', eps, 'another format than BMP, JPEG, PNG, TIFF, WEBP'),
        ('b.png', huge, 'pixels are too many'),
        ('c.svg', svg, 'cannot be decoded'),
        ('<b>.png', b'x', 'cannot be decoded'),
    ):
        status, path = upload(address, name, content)
        assert status == 200
        meta = {'_type': 'gradio.FileData'}
        image = dict(path=path, orig_name=name, meta=meta)
        found = search_for(address, view, image)
        assert found['success'] == (message is None), found
        if message:
            assert message in found['output']['error']
            assert '<b>' not in found['output']['error']
    inline = dict(url='data:image/png;base64,AAAA', path=None, meta=meta)
    assert not search_for(address, view, inline)['success']
    for path in (str(world / 'secret.png'), '/etc/passwd'):
        for more in ({}, dict(meta=meta), dict(url='x')):
            found = search_for(address, view, dict(path=path, **more))
            assert not found['success'], (path, more, found)
    for path in ('http://localhost:1/x.png', 'HTTPS://example.com/x.png'):
        assert search_for(address, view, dict(path=path, meta=meta)) == 403


def test_uploads_are_bounded(address, view, monkeypatch):
    cache = Path(os.environ['GRADIO_TEMP_DIR'])
    monkeypatch.setattr(page_guard, 'MAX_FILES', 3)
    paths = [upload(address, f'{i}.png', b'%d' % i)[1] for i in range(5)]
    left = [str(path) for path in cache.rglob('*') if path.is_file()]
    assert len(left) == 4 and paths[4] in left
    assert upload(address, 'large.png', bytes(page_guard.MAX_BODY))[0] == 413


@pytest.mark.parametrize('name', ['Host', 'Origin'])
def test_other_sites_cannot_reach_it(address, name):
    here = address.split('/')[2]
    port = here.rpartition(':')[2]
    before = '' if name == 'Host' else 'http://'
    for given, status in (
        (here, 200),
        (f'localhost:{port}', 200 if name == 'Host' else 403),
        ('evil.example', 403),
        (f'127.0.0.1.evil.example:{port}', 403),
    ):
        request = urllib.request.Request(address, headers={name: before + given})
        try:
            assert urllib.request.urlopen(request, timeout=60).status == status
        except urllib.error.HTTPError as error:
            assert error.code == status, given


def test_listens_on_this_machine_only(address):
    assert address.startswith('http://127.0.0.1:')


@pytest.mark.skipif(not BROWSER, reason='needs chromium')
def test_in_a_browser(address, world):
    api = pytest.importorskip('playwright.sync_api')
    with api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=BROWSER, args=['--no-sandbox']
        )
        page = browser.new_page(viewport=dict(width=1300, height=900))
        page.set_default_timeout(90_000)
        hosts, errors = set(), []
        page.on('request', lambda r: hosts.add(r.url.split('/')[2]))
        page.on('pageerror', lambda error: errors.append(str(error)))
        page.goto(address)

        # drop a crop, search in one camera
        page.set_input_files(
            '#query input[type=file]', str(world / 'crops' / 'hall' / '03_1.png')
        )
        page.wait_for_selector('#query img')
        page.get_by_label('entrance').uncheck()
        page.click('#search')
        first = page.locator('#results .caption-label').first
        first.wait_for()
        assert first.inner_text().endswith('hall · 03_1.png')
        captions = page.locator('#results .caption-label').all_inner_texts()
        assert len(captions) == 12 and not any('entrance' in c for c in captions)
        page.wait_for_function(
            '() => document.querySelector("#results img").naturalWidth === 20'
        )

        # click a crop of the gallery: it is searched with, and not found itself
        page.get_by_role('tab', name='Gallery').click()
        page.locator('#crops .caption-label').nth(5).wait_for()
        clicked = page.locator('#crops .caption-label').nth(5).inner_text()
        assert clicked == 'entrance · 01_2.png'
        page.locator('#crops button.thumbnail-item').nth(5).click()
        page.locator('#results').get_by_text('1 · ').first.wait_for()
        page.wait_for_function(
            '() => document.querySelector("#results .caption-label")'
            '.innerText.includes("hall · 01_")'
        )
        assert clicked not in ' '.join(
            page.locator('#results .caption-label').all_inner_texts()
        )

        # clusters
        page.get_by_role('tab', name='Clusters').click()
        page.locator('#members .caption-label').nth(5).wait_for()
        assert page.locator('#members .caption-label').count() == 6

        # what is no image gives a message
        page.reload()
        broken = dict(name='a.png', mimeType='image/png', buffer=b'broken')
        page.set_input_files('#query input[type=file]', broken)
        page.wait_for_selector('#query img', state='attached')
        page.click('#search')
        message = page.locator('.toast-body').first
        message.wait_for(timeout=30_000)
        assert 'a.png: this image cannot be decoded' in message.inner_text()

        assert errors == []
        assert hosts == {address.split('/')[2]}
        browser.close()


def test_without_gradio(load_tool, monkeypatch, capsys):
    monkeypatch.delitem(sys.modules, 'mmreid_gcl.apis.gallery_page', raising=False)
    monkeypatch.setitem(sys.modules, 'gradio', None)
    tool = load_tool('gallery_app')
    assert tool.main(['model.pth', 'crops']) == 2
    assert 'pip install gradio' in capsys.readouterr().err
