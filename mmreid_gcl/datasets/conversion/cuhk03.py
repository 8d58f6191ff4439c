# SPDX-License-Identifier: Apache-2.0
"""CUHK03: from its MATLAB file to folders in the "new protocol"."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from tqdm import tqdm

from ..benchmark import BenchmarkDataset
from ..checksums import file_digest
from .output import Output

#: How the crops were cut out: by hand, or by a detector.
CROPS = ('labeled', 'detected')
FOLDERS = BenchmarkDataset.PARTS
_NAME = re.compile(r'([1-5])_([0-9]{3,4})_([12])_([0-9]{2})\.[a-z]+')


@dataclass(frozen=True)
class Cuhk03Image:
    """One image of the protocol; numbers from 1, as in MATLAB."""

    pair: int  #: Pair of cameras, 1 to 5
    person: int  #: Row in the pair's cell
    view: int  #: Camera of the pair, 1 or 2
    number: int  #: Column in the pair's cell, 1 to 10
    pid: int  #: Identity that the protocol gives

    @property
    def name(self) -> str:
        """'0001_c1_1_001_01.png': identity, camera, pair, person, number."""
        return (
            f'{self.pid:04d}_c{self.view}_{self.pair}_{self.person:03d}_'
            f'{self.number:02d}.png'
        )


def read_protocol(path: str | Path) -> dict[str, list[Cuhk03Image]]:
    """The split into 767 and 700 people (Zhong et al., CVPR 2017).

    From ``cuhk03_new_protocol_config_labeled.mat`` (or detected), or a JSON file that
    other projects made of it: a dict, or a list whose first item is one, with
    ``train``, ``query`` and ``gallery``: lists of [path, identity, camera].
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(
            f"{path}: the split is missing. Expected the authors' "
            'cuhk03_new_protocol_config_labeled.mat or …_detected.mat, or a JSON file '
            'made of one.'
        )
    try:
        rows = _rows_of_json(path) if path.suffix == '.json' else _rows_of_mat(path)
        return {part: [_image(*row[:2]) for row in rows[part]] for part in FOLDERS}
    except (KeyError, IndexError, TypeError, ValueError, NotImplementedError) as error:
        raise ValueError(
            f'{path}: this is not the new protocol of CUHK03 '
            f'({type(error).__name__}: {error}). A .mat file of it holds filelist, '
            'labels, train_idx, query_idx and gallery_idx.'
        ) from error


def _rows_of_mat(path: Path) -> dict[str, list]:
    from scipy.io import loadmat

    content = loadmat(path)
    files = [str(np.ravel(cell)[0]) for cell in content['filelist'].ravel()]
    pids = content['labels'].ravel()
    places = {part: content[f'{part}_idx'].ravel().astype(int) - 1 for part in FOLDERS}
    return {part: [(files[i], pids[i]) for i in places[part]] for part in FOLDERS}


def _rows_of_json(path: Path) -> dict[str, list]:
    content = json.loads(path.read_bytes())
    return content[0] if isinstance(content, list) else content


def _image(name: object, pid: int) -> Cuhk03Image:
    match = _NAME.fullmatch(str(name).replace('\\', '/').rpartition('/')[2])
    if match is None:
        raise ValueError(f'{name!r}: expected a name like 1_001_1_01.png')
    pair, person, view, number = map(int, match.groups())
    return Cuhk03Image(pair, person, view, number, int(pid))


def convert_cuhk03(
    mat: str | Path,
    protocols: Mapping[str, str | Path],
    out: str | Path,
    overwrite: bool = False,
    progress: bool = True,
) -> dict[str, dict[str, int]]:
    """Write the crops of ``cuhk-03.mat`` as PNG files, without loss.

    ``protocols`` has the file of the split for 'labeled', 'detected', or both, see
    :func:`read_protocol`. ``out`` is a folder to fill, see :class:`Output`;
    ``overwrite`` replaces a conversion that is there. Returns the number of images of
    each part for each kind of crop.
    """
    mat = Path(mat)
    unknown = set(protocols) - set(CROPS)
    if unknown or not protocols:
        raise ValueError(f'crops must be some of {CROPS}, got {sorted(protocols)}.')
    parts = {crops: read_protocol(path) for crops, path in protocols.items()}
    with _open(mat) as file:
        cells = {crops: _cells(file, crops, mat) for crops in parts}
        output = Output(out, overwrite)
        counts: dict[str, dict[str, int]] = {}
        for crops, images in parts.items():
            counts[crops] = {}
            for part, wanted in images.items():
                counts[crops][part] = len(wanted)
                title, quiet = f'{crops} {part}', not progress
                for image in tqdm(wanted, title, disable=quiet, mininterval=1):
                    name = f'{crops}/{FOLDERS[part]}/{image.name}'
                    output.write(name, _png(file, cells[crops], crops, image))
    if progress:
        print(f'Checksums of {mat.name} …')
    sources = {str(p.name): file_digest(p) for p in map(Path, protocols.values())}
    output.finish(
        converter='cuhk03',
        source_sha256={mat.name: file_digest(mat), **sources},
        images=counts,
    )
    return counts


def _open(path: Path) -> Any:
    if not path.is_file():
        raise FileNotFoundError(
            f'{path}: no such file; expected cuhk-03.mat of the release of CUHK03.'
        )
    try:
        import h5py
    except ImportError as error:
        raise ImportError(
            f'{path}: reading a MATLAB file of version 7.3 needs h5py: pip install h5py'
        ) from error
    try:
        return h5py.File(path, 'r')
    except OSError as error:
        raise ValueError(
            f'{path}: this is no MATLAB file of version 7.3 (HDF5), or it is cut off '
            f'({error}). Unpack cuhk03_release.zip again.'
        ) from error


def _cells(file: Any, crops: str, path: Path) -> list[Any]:
    """For each pair of cameras an array (person, number) of references."""
    if crops not in file:
        raise ValueError(
            f'{path}: there is no variable {crops!r}; found {sorted(file)}. Expected '
            'cuhk-03.mat.'
        )
    return [file[reference][:].T for reference in np.ravel(file[crops][:])]


def _png(file: Any, cells: Sequence[Any], crops: str, image: Cuhk03Image) -> bytes:
    """One image, encoded; ``cells`` are those of its kind of crops."""
    try:
        reference = cells[image.pair - 1][image.person - 1, image.number - 1]
        pixels = file[reference][:].T  # MATLAB counts columns first
    except IndexError:
        pixels = np.empty(0)
    if pixels.ndim != 3 or pixels.shape[2] != 3 or pixels.dtype != np.uint8:
        raise ValueError(  # none, or an empty cell
            f'{file.filename}: {crops} has no image {image.number} of person '
            f'{image.person} of camera pair {image.pair}, but the split lists it. '
            'Give the split that belongs to these crops.'
        )
    return cv2.imencode('.png', np.ascontiguousarray(pixels[..., ::-1]))[1].tobytes()
