# SPDX-License-Identifier: Apache-2.0
"""The Python API. Each name is imported at its first use."""

from importlib import import_module

_FILE_OF = {
    'Embeddings': '.inferencer',
    'GalleryIndex': '.gallery_index',
    'ImageError': '.images',
    'Match': '.gallery_index',
    'QdrantGallery': '.vector_database',
    'ReIDInferencer': '.inferencer',
    'load_config': '..config.load',
    'load_model': '.loading',
    'read_image': '.images',
    'read_parquet': '.vector_database',
    'write_parquet': '.vector_database',
}

__all__ = sorted(_FILE_OF)


def __getattr__(name: str):
    if name not in _FILE_OF:
        raise AttributeError(f'module {__name__!r} has no attribute {name!r}')
    return getattr(import_module(_FILE_OF[name], __name__), name)


def __dir__() -> list[str]:
    return __all__
