# SPDX-License-Identifier: Apache-2.0
"""The folder of uploads and thumbnails, when the page is killed."""

import os
import signal
import tempfile
from pathlib import Path


def test_the_cache_of_a_killed_page_is_removed(load_tool, tmp_path, monkeypatch):
    cache_folder = load_tool('gallery_app').cache_folder
    monkeypatch.setattr(tempfile, 'tempdir', str(tmp_path))
    reading, writing = os.pipe()
    child = os.fork()
    if not child:
        with cache_folder() as folder:
            (Path(folder) / 'upload').mkdir()
            os.write(writing, folder.encode())
            signal.pause()
    killed = Path(os.read(reading, 4096).decode())
    with cache_folder() as folder:
        assert Path(folder).is_dir() and not list(Path(folder).iterdir())
        assert (killed / 'upload').is_dir()  # that page runs
    assert not Path(folder).exists()
    os.kill(child, signal.SIGKILL)
    assert os.waitpid(child, 0)[1] == signal.SIGKILL
    assert killed.is_dir()
    with cache_folder() as folder:
        left = list(tmp_path.iterdir())
        assert left == [Path(folder).parent]
    assert not list(tmp_path.iterdir())
