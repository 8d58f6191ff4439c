# SPDX-License-Identifier: Apache-2.0
"""The site builds, with warnings as errors, and holds what it should."""

import subprocess
import sys

import pytest

from .pages import DOCS

pytest.importorskip('sphinx', reason='pip install -r requirements/docs.txt')


@pytest.mark.slow
def test_build(tmp_path):
    for name in ('furo', 'myst_nb', 'sphinx_copybutton'):
        pytest.importorskip(name)
    command = [sys.executable, '-W', 'ignore', '-m', 'sphinx', '-q', '-n', '-W']
    command += ['--keep-going', '-b', 'html', '-d', str(tmp_path / 'trees')]
    done = subprocess.run(
        [*command, str(DOCS), str(tmp_path / 'html')],
        capture_output=True,
        text=True,
        timeout=500,
    )
    assert done.returncode == 0, done.stderr[-4000:]
    page = (tmp_path / 'html' / 'api' / 'models.html').read_text(encoding='utf-8')
    assert 'id="mmreid_gcl.models.GCLNeck"' in page
    assert 'id="mmreid_gcl.models.functional.correlation"' in page
    index = (tmp_path / 'html' / 'index.html').read_text(encoding='utf-8')
    for name in ('installation', 'training', 'faq', 'notebooks/crops_to_search'):
        assert f'href="{name}.html"' in index
    # nothing is loaded from elsewhere when the pages are read
    for html in (tmp_path / 'html').rglob('*.html'):
        text = html.read_text(encoding='utf-8')
        assert 'src="http' not in text and 'rel="stylesheet" href="http' not in text
