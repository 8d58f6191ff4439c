# SPDX-License-Identifier: Apache-2.0
"""An HTTP service: one model, one gallery, images that wait embedded in batches."""

from __future__ import annotations

import asyncio
import json
import logging
import math
import queue
import threading
import time
from collections.abc import AsyncIterator, Callable, Collection, Iterable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import asynccontextmanager
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import numpy as np
from fastapi import Depends, FastAPI, HTTPException, Query, Request, Response
from fastapi.exceptions import RequestValidationError
from prometheus_client import (
    CONTENT_TYPE_LATEST,
    CollectorRegistry,
    Gauge,
    Histogram,
    generate_latest,
)
from pydantic import (
    AfterValidator,
    Base64Bytes,
    BaseModel,
    ConfigDict,
    Field,
    FiniteFloat,
    ValidationError,
)

from mmreid_gcl.config.packaged import tool_command
from mmreid_gcl.datasets.image_folder import as_path, log
from mmreid_gcl.version import __version__

from .gallery_files import NO_TRACK, is_empty, is_gallery, leaves_root
from .gallery_index import GalleryIndex
from .images import ImageError
from .inferencer import ReIDInferencer
from .page_guard import Guard

#: Of one request; its bytes are bounded by :data:`~.page_guard.MAX_BODY`.
MAX_IMAGES = 64
#: Images of all requests that wait for their embeddings.
MAX_WAITING = 1024
#: How long a batch waits for more images, seconds.
_GATHER = 0.005
_STATUS = {'json_invalid': 400, 'too_long': 413}


class _Strict(BaseModel):
    """Refuses names that it does not know: a filter with a typo filters nothing."""

    model_config = ConfigDict(extra='forbid')


def _below_root(path: str) -> str:
    if not path or '\0' in path or leaves_root(path):
        raise ValueError("expected a relative path without '..'")
    return path


class Images(_Strict):
    """Several images."""

    images: list[Base64Bytes] = Field(
        min_length=1, max_length=MAX_IMAGES, description='files in base64'
    )


class NewImage(_Strict):
    """An image and what is known of it."""

    data: Base64Bytes = Field(description='a file in base64')
    path: Annotated[str, AfterValidator(_below_root)] = Field(
        max_length=1000, description='its name in the gallery; nothing is opened'
    )
    camera: str = Field(min_length=1, max_length=1000)
    track: int = Field(NO_TRACK, ge=NO_TRACK, lt=2**62)
    time: FiniteFloat | None = Field(None, description='s since 1970; default: now')


class NewImages(_Strict):
    """Images for the gallery."""

    images: list[NewImage] = Field(min_length=1, max_length=MAX_IMAGES)


class Removal(_Strict):
    """Which images go: those for which all that is given holds."""

    ids: list[int] | None = None
    paths: list[str] | None = None
    cameras: list[str] | None = None
    tracks: list[int] | None = None
    before: FiniteFloat | None = Field(None, description='s since 1970')
    after: FiniteFloat | None = Field(None, description='s since 1970')


class SearchOptions(_Strict):
    """As in ``GalleryIndex.search``."""

    topk: int = Field(10, ge=1, le=1000)
    camera: list[str] = Field([], description='search these only')
    exclude_camera: list[str] = Field([], description='and not these')
    by_track: bool = False
    best_per_camera: bool = False
    exact: bool = True
    threshold: FiniteFloat | None = Field(
        None, description='default: as calibrated, else everybody is named'
    )


class _Json(Response):
    """JSON in ASCII: names of files may be no UTF-8."""

    media_type = 'application/json'

    def render(self, content: Any) -> bytes:
        return json.dumps(content).encode()


def _error(status: int, reason: str, headers: dict | None = None) -> _Json:
    return _Json(dict(detail=reason[:2000]), status, headers)


def _invalid(_: Request, error: RequestValidationError) -> _Json:
    problems = error.errors()
    words = [f'{".".join(map(str, e["loc"]))}: {e["msg"]}' for e in problems[:5]]
    reason = '; '.join(words).removeprefix(': ')  # of the body as a whole
    return _error(_STATUS.get(problems[0]['type'], 422), reason)


def _kind(request: Request) -> str:
    return request.headers.get('content-type', '').partition(';')[0].strip().lower()


def _json_only(request: Request) -> None:
    if _kind(request) != 'application/json':
        raise HTTPException(415, 'Expected Content-Type: application/json.')


async def _images(request: Request) -> list[bytes]:
    """One image as it is, or several in JSON."""
    kind, body = _kind(request), await request.body()
    if kind.startswith('image/') or kind == 'application/octet-stream':
        return [body]
    if kind != 'application/json':
        raise HTTPException(
            415,
            'Expected an image with Content-Type: image/jpeg, image/png, … or '
            'application/octet-stream; or application/json.',
        )
    try:
        return Images.model_validate_json(body).images
    except ValidationError as error:
        problems = error.errors(include_input=False, include_context=False)
        raise RequestValidationError(problems) from error


#: What :func:`_images` reads.
Sent = Annotated[list[bytes], Depends(_images)]
_BODY = dict(
    requestBody=dict(
        required=True,
        content={
            'image/*': dict(schema=dict(type='string', format='binary')),
            'application/json': dict(schema=Images.model_json_schema()),
        },
    )
)


class Batcher:
    """Embeds images that many threads bring, several at a time, in one thread.

    Args:
        inferencer (ReIDInferencer): The model; its ``batch_size`` is the most images.
        observe (Callable): Called with the size of each batch.
    """

    def __init__(
        self, inferencer: ReIDInferencer, observe: Callable[[int], Any]
    ) -> None:
        self.inferencer = inferencer
        self.observe = observe
        self.waiting: queue.Queue = queue.Queue()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def submit(self, name: str, prepared: dict) -> Future:
        """The (C,) embedding of what ``inferencer.prepare`` gave, some time."""
        future: Future = Future()
        self.waiting.put((name, prepared, future))
        return future

    def close(self) -> None:
        """Embed what waits, and end."""
        self.waiting.put(None)
        self._thread.join()

    def _run(self) -> None:
        while batch := self._gather():
            self._embed(batch)

    def _gather(self) -> list[tuple[str, dict, Future]]:
        """The next batch; an empty one at the end."""
        batch: list[tuple[str, dict, Future]] = []
        end = 0.0
        while len(batch) < self.inferencer.batch_size:
            left = max(0.0, end - time.monotonic()) if batch else None
            try:
                item = self.waiting.get(timeout=left)
            except queue.Empty:
                break
            if item is None:
                if batch:
                    self.waiting.put(None)
                break
            if not item[2].set_running_or_notify_cancel():
                continue
            if not batch:
                end = time.monotonic() + _GATHER
            batch.append(item)
        return batch

    def _embed(self, batch: list[tuple[str, dict, Future]]) -> None:
        names, prepared, futures = zip(*batch)
        try:
            features = self.inferencer.embed_prepared(prepared, names).numpy()
        except Exception as error:
            if len(batch) == 1:
                futures[0].set_exception(error)
            else:  # one image must not spoil those of others
                for item in batch:
                    self._embed([item])
            return
        self.observe(len(batch))
        for future, row in zip(futures, features):
            future.set_result(row)


class Service:
    """The application around a model and a gallery; :attr:`app` is ASGI.

    The gallery is in memory, and one request at a time changes it. It is saved, if it
    changed, every ``save_every`` seconds, when ``POST /save`` asks for it, and when the
    server ends. A crash leaves the old or the new index, and loses later changes.

    Args:
        inferencer (ReIDInferencer): The model.
        gallery (GalleryIndex): Of this model.
        folder (str | Path): Where the gallery is saved, by who holds ``sole_writer``
            of it.
        hosts (Collection[str]): Names of the server besides localhost.
        save_every (float): Seconds. Defaults to 60.
    """

    def __init__(
        self,
        inferencer: ReIDInferencer,
        gallery: GalleryIndex,
        folder: str | Path,
        hosts: Collection[str] = (),
        save_every: float = 60,
    ) -> None:
        self.inferencer = inferencer
        self.model_hash = inferencer.model_hash
        gallery.require_model(self.model_hash)
        self.gallery = gallery
        self.folder = as_path(folder)
        self.save_every = save_every
        self.waiting = 0
        self.unsaved = 0
        self._warned = False
        self._warn()
        # whoever changes the gallery holds both; a search goes on while it is saved
        self._changing, self._reading = threading.Lock(), threading.Lock()
        self.app = self._build(hosts)

    def _build(self, hosts: Collection[str]) -> FastAPI:
        app = FastAPI(
            title='mmreid_gcl',
            version=__version__,
            lifespan=self._lifespan,
            docs_url=None,  # these pages fetch scripts from elsewhere
            redoc_url=None,
            exception_handlers={
                RequestValidationError: _invalid,
                HTTPException: lambda _, e: _error(e.status_code, e.detail, e.headers),
                ValueError: lambda _, e: _error(422, str(e)),
                OSError: lambda _, e: _error(503, e.strerror or str(e)),
                Exception: lambda *_: _error(500, 'The server failed; see its log.'),
            },
        )
        json_only = [Depends(_json_only)]
        app.post('/embed', openapi_extra=_BODY)(self.embed)
        app.post('/search', openapi_extra=_BODY)(self.search)
        app.post('/add', dependencies=json_only)(self.add)
        app.post('/delete', dependencies=json_only)(self.delete)
        app.post('/save')(self.save)
        app.get('/health')(self.health)
        app.get('/metrics')(self.metrics)
        app.add_middleware(Guard, hosts=hosts)
        app.middleware('http')(self._timed)

        self.registry = CollectorRegistry()
        for name, words, value in (
            ('gallery_images', 'Images in the gallery.', lambda: len(self.gallery)),
            ('waiting_images', 'Images that wait.', lambda: self.waiting),
            ('unsaved_changes', 'Changes not yet on disk.', lambda: self.unsaved),
        ):
            gauge = Gauge(f'mmreid_{name}', words, registry=self.registry)
            gauge.set_function(value)
        self.seconds = Histogram(
            'mmreid_request_seconds',
            'Seconds until an answer; the count is that of the requests.',
            ['path', 'status'],
            registry=self.registry,
        )
        self.batches = Histogram(
            'mmreid_batch_images',
            'Images in a batch; the sum is that of the images embedded.',
            buckets=[2**i for i in range(11)],
            registry=self.registry,
        )
        return app

    @asynccontextmanager
    async def _lifespan(self, _: FastAPI) -> AsyncIterator[None]:
        self._batcher = Batcher(self.inferencer, self.batches.observe)
        workers = max(1, self.inferencer.num_workers)
        saving = asyncio.create_task(self._keep_saving())
        with ThreadPoolExecutor(workers) as self._readers:
            yield
        saving.cancel()
        await asyncio.to_thread(self._batcher.close)
        await asyncio.to_thread(self._save)

    async def _keep_saving(self) -> None:
        while True:
            await asyncio.sleep(self.save_every)
            try:
                await asyncio.to_thread(self._save)
            except OSError as error:
                log(f'Not saved: {error}', logging.ERROR)

    async def _timed(self, request: Request, call_next: Callable) -> Response:
        begin, status = time.perf_counter(), 500
        try:
            response = await call_next(request)
            status = response.status_code
            return response
        finally:
            path = getattr(request.scope.get('route'), 'path', 'other')
            self.seconds.labels(path, status).observe(time.perf_counter() - begin)

    async def _embed(self, images: Sequence[bytes]) -> np.ndarray:
        """(n, C) embeddings; every image must be readable."""
        if self.waiting + len(images) > MAX_WAITING:
            reason = f'{self.waiting} images wait already. Try again.'
            raise HTTPException(503, reason, {'Retry-After': '1'})
        self.waiting += len(images)
        try:
            loop = asyncio.get_running_loop()
            names = [f'images[{i}]' for i in range(len(images))]
            prepare = partial(loop.run_in_executor, self._readers)
            prepared = await _all(
                prepare(self.inferencer.prepare, *pair) for pair in zip(names, images)
            )
            futures = map(self._batcher.submit, names, prepared)
            return np.stack(await _all(map(asyncio.wrap_future, futures)))
        except ImageError:
            raise
        except ValueError as error:  # not finite: the weights are damaged
            raise HTTPException(500, str(error)) from error
        finally:
            self.waiting -= len(images)

    async def embed(self, images: Sent) -> _Json:
        """Embeddings of unit length."""
        features = await self._embed(images)
        return _Json(dict(features=features.tolist(), model_hash=self.model_hash))

    async def search(
        self, images: Sent, options: Annotated[SearchOptions, Query()]
    ) -> _Json:
        """For each image those of the gallery, best first; none: not in the gallery."""
        features = await self._embed(images)
        return _Json(await asyncio.to_thread(self._search, features, options))

    def _search(self, features: np.ndarray, options: SearchOptions) -> dict:
        with self._reading:
            threshold = self.gallery.threshold_or(options.threshold)
            found = self.gallery.search(
                features,
                options.topk,
                options.camera or None,
                options.exclude_camera or None,
                best_per_camera=options.best_per_camera,
                by_track=options.by_track,
                exact=options.exact,
            )
            results = [
                [
                    dict(asdict(match), path=self.gallery.paths[match.index])
                    for match in matches
                ]
                for matches in self.gallery.above_threshold(found, threshold)
            ]
        return dict(results=results, threshold=_finite(threshold))

    async def add(self, new: NewImages) -> _Json:
        """Put images into the gallery, all of them or none; their ids."""
        features = await self._embed([image.data for image in new.images])
        return _Json(await asyncio.to_thread(self._add, features, new.images))

    def _add(self, features: np.ndarray, images: Sequence[NewImage]) -> dict:
        now = time.time()
        with self._changing, self._reading:
            ids = self.gallery.add(
                features,
                [image.path for image in images],
                [image.camera for image in images],
                [image.track for image in images],
                [now if image.time is None else image.time for image in images],
            )
            self.unsaved += 1
            self._warn()
        return dict(ids=ids.tolist())

    def _warn(self) -> None:
        """Log once that the gallery has outgrown its calibration."""
        if self.gallery.calibration_warning and not self._warned:
            self._warned = True
            log(self.gallery.calibration_warning, logging.WARNING)

    async def delete(self, removal: Removal) -> _Json:
        """Take images out of the gallery; how many."""
        return _Json(await asyncio.to_thread(self._delete, removal))

    def _delete(self, removal: Removal) -> dict:
        with self._changing, self._reading:
            removed = self.gallery.remove(**removal.model_dump())
            self.unsaved += bool(removed)
        return dict(removed=removed)

    async def save(self) -> _Json:
        """Bring the gallery to the disk now."""
        await asyncio.to_thread(self._save)
        return _Json(dict(images=len(self.gallery)))

    def _save(self) -> None:
        with self._changing:
            if self.unsaved:
                self.gallery.write(self.folder)
                self.unsaved = 0

    async def health(self) -> _Json:
        """Whether it runs, and with what."""
        return _Json(
            dict(
                status='ok',
                model_hash=self.model_hash,
                images=len(self.gallery),
                dim=self.gallery.dim,
                threshold=_finite(self.gallery.threshold_or()),
                warning=self.gallery.calibration_warning or None,
                unsaved=self.unsaved,
            )
        )

    async def metrics(self) -> Response:
        """Numbers for Prometheus."""
        return Response(generate_latest(self.registry), media_type=CONTENT_TYPE_LATEST)


def _finite(threshold: float) -> float | None:
    return threshold if math.isfinite(threshold) else None


async def _all(parts: Iterable) -> list:
    """Wait for all; the first error in their order is raised."""
    done = await asyncio.gather(*parts, return_exceptions=True)
    for part in done:
        if isinstance(part, BaseException):
            raise part
    return done


def open_gallery(inferencer: ReIDInferencer, folder: str | Path) -> GalleryIndex:
    """The saved gallery of this model in a folder; a new one is made if it is empty.

    Call it as the folder's ``sole_writer``. A ``ValueError`` if the folder holds other
    files or the gallery is of another model.
    """
    folder = as_path(folder)
    if is_gallery(folder):
        return GalleryIndex.load(folder, inferencer.model_hash)
    if not is_empty(folder):
        raise ValueError(
            f'{folder}: expected a saved gallery or an empty folder. Build one from a '
            f'folder of crops with: {tool_command("search")} MODEL CROPS QUERY '
            '--save-index FOLDER'
        )
    dim = inferencer(np.zeros((64, 32, 3), np.uint8)).shape[1]
    gallery = GalleryIndex(
        np.zeros((0, dim)), [], [], folder.resolve(), inferencer.model_hash
    )
    gallery.write(folder)
    return gallery
