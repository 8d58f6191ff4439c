# SPDX-License-Identifier: Apache-2.0
"""A web page to look at a gallery: search with a crop, browse clusters."""

from __future__ import annotations

import html
import os
from collections.abc import Collection, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

import cv2
import gradio as gr
import numpy as np
from starlette.middleware import Middleware

from mmreid_gcl.datasets.image_folder import natural_key
from mmreid_gcl.labels import who_was_where

from .gallery_index import NOBODY, GalleryIndex, Match
from .images import ImageError, read_image
from .inferencer import ReIDInferencer
from .page_guard import PageGuard

_PER_PAGE = 48
_MOST = 50  # results of a search
_HEIGHT = 256  # of a thumbnail, pixels
#: As many columns as there is room for; captions under the crops, not on them; crops
#: are taller than wide.
_CSS = """
.thumbnail-item { aspect-ratio: auto !important; height: auto !important;
  display: flex !important; flex-direction: column; }
.thumbnail-item img { height: 170px !important; }
.caption-label { position: static !important; max-width: none !important;
  white-space: normal !important; overflow-wrap: anywhere; border: none !important;
  line-height: 1.25; padding: 4px !important; }
.grid-wrap { max-height: none !important; min-height: 0 !important; }
.grid-container {
  grid-template-columns: repeat(auto-fill, minmax(90px, 1fr)) !important; }
.refused { color: #b00020; }
#where td { padding: 4px 8px !important; overflow-wrap: anywhere; }
#where td:nth-child(2) { overflow-wrap: normal; }
"""


class GalleryPage:
    """What the page does, without the page.

    Only images of the index are ever read, and they leave as thumbnails: no path comes
    from the browser. ``clusters`` maps labels to rows of the gallery.
    """

    def __init__(
        self,
        inferencer: ReIDInferencer,
        gallery: GalleryIndex,
        clusters: dict[int, np.ndarray] | None = None,
    ) -> None:
        self.inferencer = inferencer
        self.gallery = gallery
        self.clusters = clusters or {}
        self.cameras = sorted(set(gallery.cameras), key=natural_key)

    def thumbnail(self, row: int) -> np.ndarray:
        """(h, w, 3) uint8, red green blue; grey where the file is gone."""
        try:
            image = read_image(self.gallery.path_of(row))
        except ImageError:
            return np.full((_HEIGHT, _HEIGHT // 2, 3), 128, np.uint8)
        height, width = image.shape[:2]
        if height > _HEIGHT:
            size = max(1, round(width * _HEIGHT / height)), _HEIGHT
            image = cv2.resize(image, size, interpolation=cv2.INTER_AREA)
        return np.ascontiguousarray(image[..., ::-1])

    def captioned(self, rows: Sequence[int]) -> list[tuple[np.ndarray, str]]:
        """Thumbnails with camera and name."""
        names = [Path(self.gallery.paths[row]).name for row in rows]
        return [
            (self.thumbnail(row), f'{self.gallery.cameras[row]} · {name}')
            for row, name in zip(rows, names)
        ]

    def page_rows(self, page: int | None, rows: Sequence[int] | None = None) -> range:
        """Places on the nearest page there is, from 1, in ``rows`` or the gallery."""
        count = len(self.gallery) if rows is None else len(rows)
        last = -(-count // _PER_PAGE)
        begin = (min(max(int(page or 1), 1), last) - 1) * _PER_PAGE
        return range(begin, min(begin + _PER_PAGE, count))

    def browse(self, page: int | None, label: int | None = None) -> tuple:
        """Crops of a page of the gallery or a cluster, what they are, its number."""
        rows = range(len(self.gallery)) if label is None else self.clusters[int(label)]
        places = self.page_rows(page, rows)
        number = places.start // _PER_PAGE + 1
        words = (
            f'Page {number} of {-(-len(rows) // _PER_PAGE)}: crops '
            f'{places.start + 1:,} to {places.stop:,} of {len(rows):,}'
        )
        return self.captioned([int(rows[place]) for place in places]), words, number

    def cluster_choices(self) -> list[tuple[str, int]]:
        """Words and label of each cluster, the largest first."""
        order = sorted(self.clusters, key=lambda k: (-len(self.clusters[k]), k))
        return [
            (
                f'cluster {label}: {len(self.clusters[label])} crops'
                if label >= 0
                else f'in no cluster: {len(self.clusters[label])} crops',
                label,
            )
            for label in order
        ]

    def where(self, label: int) -> str:
        """A table in HTML: cameras, crops of a cluster, names of the first and last."""
        rows = self.clusters[int(label)]
        cameras = [self.gallery.cameras[row] for row in rows]
        names = [Path(self.gallery.paths[row]).name for row in rows]
        parts = who_was_where([0] * len(rows), cameras, range(len(rows)))
        lines = [['camera', 'crops', 'first by name', 'last by name']]
        lines += [[c, str(len(m)), names[m[0]], names[m[-1]]] for _, c, m in parts]
        cells = [[f'<td>{html.escape(v)}</td>' for v in line] for line in lines]
        return '<table><tr>' + '</tr><tr>'.join(map(''.join, cells)) + '</tr></table>'

    def search(
        self,
        image,
        row: int | None,
        topk: int | None,
        cameras: Collection[str],
        other_camera: bool = False,
        best_per_camera: bool = False,
    ) -> list[Match]:
        """The ``topk`` best of ``cameras``, for crop ``row`` or an image.

        A crop goes before a Pillow image, and is not among its own matches.
        ``other_camera`` leaves out the crop's camera, ``best_per_camera`` all but the
        best of each. What cannot be used is an ``ImageError``; no query, no camera, or
        an unknown one a ``ValueError``.
        """
        topk = min(max(int(topk or 1), 1), _MOST)
        if not cameras:
            raise ValueError('Choose at least one camera to search.')
        if row is None:
            if isinstance(image, ImageError):
                raise image
            if image is None:
                raise ValueError(
                    'Drop a crop into the box, or click one of the gallery.'
                )
            if other_camera:
                raise ValueError(
                    'The camera of a dropped crop is not known. Untick it in the list '
                    'of cameras, or click a crop of the gallery.'
                )
            feature = self.inferencer([image])
            return self.gallery.search(
                feature, topk, cameras, best_per_camera=best_per_camera
            )[0]
        row = int(row)
        feature, own = self.gallery.features[row], self.gallery.cameras[row]
        others = [camera for camera in cameras if camera != own]
        found: list[Match] = []
        if not best_per_camera and not other_camera:
            found += self.gallery.search(feature, topk + 1, cameras)[0]
        elif others:
            found += self.gallery.search(
                feature, topk, others, best_per_camera=best_per_camera
            )[0]
        elif other_camera:
            raise ValueError(
                f'Choose another camera than {own}, which is that of the crop.'
            )
        if best_per_camera and not other_camera and own in cameras:
            same = self.gallery.search(feature, 2, own)[0]
            found += [match for match in same if match.index != row][:1]
        found = [match for match in found if match.index != row]
        found = sorted(found, key=lambda m: (-m.score, m.index))[:topk]
        return [replace(match, rank=rank) for rank, match in enumerate(found, 1)]

    def results(self, *query) -> tuple[list[tuple[np.ndarray, str]], str]:
        """Thumbnails of :meth:`search` with rank, score, camera, name; a message."""
        try:
            near = self.search(*query)
        except ValueError as error:
            # names of files must not become HTML
            return [], f'<p class="refused" role="alert">{html.escape(str(error))}</p>'
        (found,) = self.gallery.above_threshold([near])
        if near and not found:
            return [], (
                f'<p role="alert">{NOBODY.capitalize()}: the best has '
                f'{near[0].score:.3f}, the threshold is '
                f'{self.gallery.threshold_or():.3f}.</p>'
            )
        pictures = [
            (
                self.thumbnail(m.index),
                f'{m.rank} · {m.score:.3f} · {m.camera} · {Path(m.path).name}',
            )
            for m in found
        ]
        return pictures, _FOUND if found else '<p>Nothing else is there.</p>'

    def build(self) -> gr.Blocks:
        """The page."""
        with gr.Blocks(title='Gallery', analytics_enabled=False) as page:
            row = gr.State(None)
            gr.Markdown(f'## {len(self.gallery):,} crops, {len(self.cameras)} cameras')
            if self.gallery.calibration_warning:
                gr.Markdown(self.gallery.calibration_warning)
            with gr.Tabs() as tabs:
                with gr.Tab('Search', id='search-tab'), gr.Row():
                    *settings, button, message, results = self._search_tab()
                with gr.Tab('Gallery'):
                    gr.Markdown('Click a crop to search with it.')
                    number, crops = self._pages(page, 'crops')
                if self.clusters:
                    with gr.Tab('Clusters'):
                        self._clusters_tab(page)

            def choose(page_number: int, event: gr.SelectData):
                chosen = self.page_rows(page_number)[event.index]
                return self.thumbnail(chosen), chosen, gr.Tabs(selected='search-tab')

            query = settings[0]
            settings.insert(1, row)
            for forget in (query.upload, query.clear):
                forget(lambda: None, None, row, **_PRIVATE)
            found = [results, message]
            button.click(self.results, settings, found, **_PRIVATE)
            crops.select(choose, number, [query, row, tabs], **_PRIVATE).then(
                self.results, settings, found, **_PRIVATE
            )
        return page

    def _search_tab(self) -> tuple:
        """Query, how many, cameras, two choices; button; message, results."""
        with gr.Column(scale=1, min_width=220):
            query = _QueryImage(
                label='Query crop',
                image_mode=None,
                sources=['upload', 'clipboard'],
                buttons=[],
                height=300,
                elem_id='query',
            )
            topk = gr.Number(12, precision=0, label=f'How many, 1 to {_MOST}')
            cameras = gr.CheckboxGroup(
                self.cameras, value=self.cameras, label='Cameras to search'
            )
            other = gr.Checkbox(label="Not the query's camera")
            best = gr.Checkbox(label='The best of each camera')
            button = gr.Button('Search', variant='primary', elem_id='search')
        with gr.Column(scale=3):
            message = gr.HTML(_FOUND, elem_id='message')
            results = _gallery('results')
        return query, topk, cameras, other, best, button, message, results

    def _pages(self, page: gr.Blocks, name: str, label=None) -> tuple:
        """Number of a page and its crops, of the gallery or the cluster ``label``."""
        with gr.Row(equal_height=True):
            back = gr.Button('‹ Back', min_width=80)
            number = gr.Number(
                1, precision=0, show_label=False, min_width=80, elem_id=f'{name}-page'
            )
            forth = gr.Button('Next ›', min_width=80)
        words = gr.Markdown(elem_id=f'{name}-words')
        crops = _gallery(name, preview=label is not None)
        given = [number] if label is None else [number, label]
        shown = dict(inputs=given, outputs=[crops, words, number], **_PRIVATE)

        def turn(step: int, page_number: int | None, chosen: int | None = None):
            pictures, text, now = self.browse((page_number or 1) + step, chosen)
            # who is typing is not interrupted
            stays = now == page_number or page_number is None
            return pictures, text, gr.skip() if stays else now

        page.load(partial(turn, 0), **shown)
        number.input(partial(turn, 0), trigger_mode='always_last', **shown)
        back.click(partial(turn, -1), **shown)
        forth.click(partial(turn, 1), **shown)
        if label is not None:
            label.change(
                partial(self.browse, 1), label, [crops, words, number], **_PRIVATE
            )
        return number, crops

    def _clusters_tab(self, page: gr.Blocks) -> None:
        choices = self.cluster_choices()
        label = gr.Dropdown(
            choices, value=choices[0][1], label='Cluster', elem_id='cluster'
        )
        table = gr.HTML(elem_id='where')
        for event in (page.load, label.change):
            event(self.where, label, table, **_PRIVATE)
        # what is typed takes the place of the name that stands there
        select = '() => setTimeout(() => document.activeElement.select(), 0)'
        label.focus(None, js=select, **_PRIVATE)
        self._pages(page, 'members', label)


_FOUND = '<p>Rank, similarity, camera and name of what was found:</p>'
#: Functions of the page are no public interface.
_PRIVATE = dict(api_visibility='private')


class _QueryImage(gr.Image):
    """Reads a query as crops are read, not with all the formats of Pillow."""

    is_template = True  # looks like its parent

    def preprocess(self, payload):
        if payload is None:
            return None
        cache, path = Path(self.GRADIO_CACHE).resolve(), Path(payload.path or '')
        if not path.resolve().is_relative_to(cache):  # Gradio checks some alone
            raise gr.Error('Only files that were uploaded are searched with.')
        try:
            return read_image(payload.path or '', payload.orig_name or 'the query')
        except ImageError as error:
            return error  # the page says so beside the results, where it stays


def _gallery(name: str, preview: bool = True) -> gr.Gallery:
    return gr.Gallery(
        label=name,
        show_label=False,
        elem_id=name,
        height='auto',
        object_fit='contain',
        allow_preview=preview,
        interactive=False,
        buttons=['fullscreen'] if preview else [],
    )


def launch(
    page: gr.Blocks,
    host: str = '127.0.0.1',
    port: int | None = None,
    block: bool = True,
    allow_hosts: Collection[str] = (),
) -> str:
    """Serve the page, and no file but its own thumbnails; returns its address.

    By default on this machine only, on a free port from 7860 on. ``block`` waits until
    the program is stopped. ``allow_hosts`` are other names under which browsers reach
    the page, for example that of a proxy, which must pass ``Host`` on.
    ``GRADIO_TEMP_DIR`` must name a folder for this page alone, from before the page is
    built, else a ``ValueError``: the oldest files in it are deleted.
    """
    folder = os.environ.get('GRADIO_TEMP_DIR', '')
    if not folder or folder != page.GRADIO_CACHE:
        raise ValueError('Set GRADIO_TEMP_DIR to an empty folder, then build the page.')
    guard = Middleware(PageGuard, folder, {host, *allow_hosts})
    _, address, _ = page.launch(
        server_name=host,
        server_port=port,
        share=False,
        quiet=True,
        prevent_thread_lock=True,
        allowed_paths=[],
        app_kwargs=dict(middleware=[guard]),
        enable_monitoring=False,
        run_history=False,
        ssr_mode=False,
        mcp_server=False,
        pwa=False,
        footer_links=[],
        # fonts of this machine: the page asks nobody else for anything
        css=_CSS,
        theme=gr.themes.Base(font='sans-serif', font_mono='monospace'),
    )
    print(f'Open {address}', flush=True)
    if block:
        page.block_thread()
    return address
