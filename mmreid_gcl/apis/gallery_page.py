# SPDX-License-Identifier: Apache-2.0
"""A web page to look at a gallery: search with a crop, browse clusters."""

from __future__ import annotations

import html
import os
from collections.abc import Collection, Sequence
from pathlib import Path

import cv2
import gradio as gr
import numpy as np
from starlette.middleware import Middleware

from .gallery_index import GalleryIndex, Match
from .images import ImageError, read_image
from .inferencer import ReIDInferencer
from .page_guard import PageGuard

_PER_PAGE = 48
_HEIGHT = 256  # of a thumbnail, pixels
#: Captions under the crops, not on them; crops are taller than wide.
_CSS = """
.thumbnail-item { aspect-ratio: auto !important; height: auto !important;
  display: flex !important; flex-direction: column; }
.thumbnail-item img { height: 170px !important; }
.caption-label { position: static !important; max-width: none !important;
  white-space: normal !important; overflow-wrap: anywhere; border: none !important;
  line-height: 1.25; padding: 4px !important; }
.grid-wrap { max-height: none !important; min-height: 0 !important; }
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
        self.cameras = sorted(set(gallery.cameras))
        self.pages = -(-len(gallery) // _PER_PAGE)

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

    def page_rows(self, page: int) -> list[int]:
        """Rows of the gallery on a page, from 1."""
        begin = (int(page) - 1) * _PER_PAGE
        return list(range(len(self.gallery)))[begin : begin + _PER_PAGE]

    def browse(self, page: int) -> list[tuple[np.ndarray, str]]:
        """The crops of a page."""
        return self.captioned(self.page_rows(page))

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

    def cluster(self, label: int) -> list[tuple[np.ndarray, str]]:
        """The first crops of a cluster."""
        return self.captioned(self.clusters[int(label)][: 2 * _PER_PAGE].tolist())

    def search(
        self, image, row: int | None, topk: int, cameras: Collection[str]
    ) -> list[Match]:
        """The ``topk`` best of ``cameras``, for crop ``row`` or an image.

        A crop goes before a Pillow image, and is not among its own matches. What cannot
        be used is an ``ImageError``; no query or no camera a ``ValueError``.
        """
        if not cameras:
            raise ValueError('Choose at least one camera to search.')
        if row is not None:
            feature = self.gallery.features[int(row)]
            found = self.gallery.search(feature, int(topk) + 1, cameras)[0]
            return [match for match in found if match.index != int(row)][: int(topk)]
        if image is None:
            raise ValueError('Drop a crop into the box, or click one of the gallery.')
        feature = self.inferencer([image])
        return self.gallery.search(feature, int(topk), cameras)[0]

    def results(self, *query) -> list[tuple[np.ndarray, str]]:
        """Thumbnails of :meth:`search` with rank, score, camera and name."""
        try:
            found = self.search(*query)
        except ValueError as error:
            raise _shown(error) from error
        return [
            (
                self.thumbnail(m.index),
                f'{m.rank} · {m.score:.3f} · {m.camera} · {Path(m.path).name}',
            )
            for m in found
        ]

    def build(self) -> gr.Blocks:
        """The page."""
        with gr.Blocks(title='Gallery', analytics_enabled=False) as page:
            row = gr.State(None)
            gr.Markdown(f'## {len(self.gallery):,} crops, {len(self.cameras)} cameras')
            with gr.Tabs() as tabs:
                with gr.Tab('Search', id='search-tab'), gr.Row():
                    *settings, button, results = self._search_tab()
                with gr.Tab('Gallery'):
                    number, crops = self._gallery_tab(page)
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
            button.click(self.results, settings, results, **_PRIVATE)
            crops.select(choose, number, [query, row, tabs], **_PRIVATE).then(
                self.results, settings, results, **_PRIVATE
            )
        return page

    def _search_tab(self) -> tuple:
        """Query, how many, cameras; button; results."""
        with gr.Column(scale=1, min_width=220):
            query = _QueryImage(
                label='Query crop',
                image_mode=None,
                sources=['upload', 'clipboard'],
                buttons=[],
                height=300,
                elem_id='query',
            )
            topk = gr.Slider(1, 50, 12, step=1, label='How many')
            cameras = gr.CheckboxGroup(
                self.cameras, value=self.cameras, label='Cameras to search'
            )
            button = gr.Button('Search', variant='primary', elem_id='search')
        with gr.Column(scale=3):
            gr.Markdown('Rank, similarity, camera and name of what was found:')
            results = _gallery('results')
        return query, topk, cameras, button, results

    def _gallery_tab(self, page: gr.Blocks) -> tuple:
        """Number of the page, its crops."""
        number = gr.Slider(
            1, max(self.pages, 2), 1, step=1, label=f'Page of {self.pages}'
        )
        gr.Markdown('Click a crop to search with it.')
        crops = _gallery('crops', preview=False)
        page.load(self.browse, number, crops, **_PRIVATE)
        number.change(self.browse, number, crops, **_PRIVATE)
        return number, crops

    def _clusters_tab(self, page: gr.Blocks) -> None:
        choices = self.cluster_choices()
        label = gr.Dropdown(choices, value=choices[0][1], label='Cluster')
        members = _gallery('members')
        label.change(self.cluster, label, members, **_PRIVATE)
        page.load(self.cluster, label, members, **_PRIVATE)


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
            raise _shown(error) from error


def _shown(error: Exception) -> gr.Error:
    """An error for the visitor; messages may be HTML, names of files must not."""
    return gr.Error(html.escape(str(error), quote=False))


def _gallery(name: str, preview: bool = True) -> gr.Gallery:
    return gr.Gallery(
        label=name,
        show_label=False,
        elem_id=name,
        columns=8,
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
    hosts = {host, *allow_hosts} - {'0.0.0.0', '::'}
    _, address, _ = page.launch(
        server_name=host,
        server_port=port,
        share=False,
        quiet=True,
        prevent_thread_lock=True,
        allowed_paths=[],
        app_kwargs=dict(middleware=[Middleware(PageGuard, folder, hosts)]),
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
