# SPDX-License-Identifier: Apache-2.0
"""The page: what it finds, what it serves, and in a real browser."""

import json
import os
import re
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
from tests.apis.test_gallery_index import make_calibration
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
    from mmreid_gcl.apis.folder import read_clusters
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
    assert [m.rank for m in others] == [1, 2, 3, 4, 5]
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


def test_not_in_the_gallery(view, monkeypatch):
    image = Image.fromarray(draw(3, 1)[..., ::-1])  # as entrance/03_1.png
    first, second = (m.score for m in view.search(image, None, 2, ['hall']))
    for threshold, shown in ((first + 1e-3, 0), ((first + second) / 2, 1), (-1, 9)):
        known = make_calibration(
            threshold=threshold, model_hash=view.gallery.model_hash
        )
        monkeypatch.setattr(view.gallery, '_calibration', known)
        pictures, message = view.results(image, None, 9, ['hall'])
        assert len(pictures) == shown
        words = f'the best has {first:.3f}, the threshold is {threshold:.3f}'
        assert (words in message) == (not shown)


def test_other_cameras_and_the_best_of_each(view):
    row = view.gallery.paths.index('entrance/03_1.png')
    both = ['entrance', 'hall']
    everything = view.gallery.search(view.gallery.features[row], 60)[0]
    plain = [match for match in everything if match.index != row]
    hall = [match.index for match in plain if match.camera == 'hall']
    there = view.search(None, row, 50, both, other_camera=True)
    assert [match.index for match in there] == hall
    assert [m.rank for m in there] == list(range(1, 31))
    best = view.search(None, row, 50, both, best_per_camera=True)
    first = {m.camera: m.index for m in reversed(plain)}
    assert {m.camera: m.index for m in best} == first and len(best) == 2
    assert [m.rank for m in best] == [1, 2] and best[0].score >= best[1].score
    (match,) = view.search(None, row, 5, both, True, True)
    assert match.index == first['hall'] and match.rank == 1
    image = Image.fromarray(draw(3, 1)[..., ::-1])
    found = view.search(image, None, 5, both, best_per_camera=True)
    assert found[0].index == row and found[1].index == first['hall']
    for query in ((image, None, 5, both, True), (None, row, 5, ['entrance'], True)):
        pictures, message = view.results(*query)
        assert pictures == [] and 'role="alert"' in message


@pytest.mark.parametrize('asked, given', [(99, 50), (0, 1), (-3, 1), (None, 1)])
def test_numbers_out_of_range_are_the_nearest(view, asked, given):
    assert len(view.search(None, 0, asked, view.cameras)) == given
    crops, words, page = view.browse(asked)
    assert page == (2 if asked == 99 else 1)
    assert words.startswith(f'Page {page} of 2: crops {48 * page - 47} to ')
    assert len(crops) == (12 if page == 2 else 48)


def test_large_clusters_have_pages(view, monkeypatch):
    rows = np.arange(59, -1, -1).repeat(2)
    monkeypatch.setitem(view.clusters, 77, rows)
    pages = [view.browse(page, 77) for page in (1, 2, 3)]
    assert [words for _, words, _ in pages] == [
        'Page 1 of 3: crops 1 to 48 of 120',
        'Page 2 of 3: crops 49 to 96 of 120',
        'Page 3 of 3: crops 97 to 120 of 120',
    ]
    captions = [caption for crops, _, _ in pages for _, caption in crops]
    assert captions == [caption for _, caption in view.captioned(rows)]
    cameras = [*view.gallery.cameras[:59], '<hall>']
    monkeypatch.setattr(view.gallery, 'cameras', cameras)
    lines = re.findall('<tr>(.*?)</tr>', view.where(77))
    assert [re.findall('<td>(.*?)</td>', line) for line in lines[1:]] == [
        ['&lt;hall&gt;', '2', '09_2.png', '09_2.png'],
        ['hall', '58', '09_1.png', '00_0.png'],
        ['entrance', '60', '09_2.png', '00_0.png'],
    ]


def test_pages_have_all_crops_once(view):
    rows = [row for page in (1, 2) for row in view.page_rows(page)]
    assert rows == list(range(60))
    pictures, _, _ = view.browse(2)
    assert len(pictures) == 12
    assert pictures[0][1] == 'hall · 06_0.png'
    assert np.array_equal(pictures[0][0], draw(6, 10)[..., ::-1])


def test_clusters(view, world, tmp_path):
    from mmreid_gcl.apis.folder import read_clusters

    choices = view.cluster_choices()
    assert len(choices) == 10 and choices[0] == ('in no cluster: 6 crops', -1)
    captions = [caption for _, caption in view.browse(1, 4)[0]]
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
    button = next(d for d in config['dependencies'] if len(d['inputs']) == 6)
    call = dict(
        data=[image, None, 5, view.cameras, False, False],
        fn_index=button['id'],
        session_hash='s',
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
        assert found['success'], found
        pictures, said = found['output']['data']
        assert len(pictures) == (0 if message else 5)
        assert (message or 'Rank, similarity') in said
        assert ('role="alert"' in said) == bool(message) and '<b>' not in said
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

        # a page that is not there is the last one; a click is a search from rank 1
        page.get_by_role('tab', name='Gallery').click()
        page.locator('#crops-page input').fill('99')
        page.locator('#crops-words').get_by_text('Page 2 of 2: crops 49').wait_for()
        page.get_by_role('button', name='Back').locator('visible=true').click()
        page.locator('#crops-words').get_by_text('Page 1 of 2: crops 1').wait_for()
        assert page.locator('#crops-page input').input_value() == '1'
        page.locator('#crops .caption-label').nth(47).wait_for()
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

        # clusters: what is typed replaces the name that stands there
        page.get_by_role('tab', name='Clusters').click()
        page.locator('#members .caption-label').nth(5).wait_for()
        assert page.locator('#members .caption-label').count() == 6
        page.locator('#cluster input').click()
        page.wait_for_timeout(300)
        page.keyboard.type('cluster 4')
        assert page.locator('#cluster input').input_value() == 'cluster 4'
        page.keyboard.press('Enter')
        page.locator('#members').get_by_text('04_0.png').first.wait_for()
        assert '04_2.png' in page.locator('#where').inner_text()

        # all ranks are there on a telephone; what is no image gives a message
        page.set_viewport_size(dict(width=390, height=844))
        page.get_by_role('tab', name='Search').click()
        results = page.locator('#results .thumbnail-item')
        results.nth(11).scroll_into_view_if_needed()
        for i in range(12):
            box = results.nth(i).bounding_box()
            assert box['x'] >= 0 and box['x'] + box['width'] <= 390
        page.reload()
        broken = dict(name='a.png', mimeType='image/png', buffer=b'broken')
        page.set_input_files('#query input[type=file]', broken)
        page.wait_for_selector('#query img', state='attached')
        page.click('#search')
        message = page.locator('#message').get_by_role('alert')
        message.wait_for(timeout=30_000)
        assert 'a.png: this image cannot be decoded' in message.inner_text()
        assert page.get_by_text('Error', exact=True).count() == 0

        assert errors == []
        assert hosts == {address.split('/')[2]}
        browser.close()


def test_without_gradio(load_tool, monkeypatch, capsys):
    monkeypatch.delitem(sys.modules, 'mmreid_gcl.apis.gallery_page', raising=False)
    monkeypatch.setitem(sys.modules, 'gradio', None)
    tool = load_tool('gallery_app')
    assert tool.main(['model.pth', 'crops']) == 2
    assert 'pip install gradio' in capsys.readouterr().err
