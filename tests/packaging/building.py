# SPDX-License-Identifier: Apache-2.0
"""Wheels and source distributions for the tests, built in a copy of the sources."""

import shutil
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
FILES = (
    'setup.py',
    'pyproject.toml',
    'MANIFEST.in',
    'README.md',
    'LICENSE',
    'CHANGELOG.md',
    'Makefile',
    'requirements.txt',
    'model-index.yml',
)
FOLDERS = ('configs', 'docs', 'mmreid_gcl', 'requirements', 'tests', 'tools')


def copy_sources(target: Path) -> Path:
    """The sources, with none of what building and running leaves in a checkout."""
    target.mkdir(parents=True)
    for name in FILES:
        shutil.copy(ROOT / name, target)
    ignored = shutil.ignore_patterns('__pycache__', '.mim', '_build', '*.pyi')
    for name in FOLDERS:
        shutil.copytree(ROOT / name, target / name, ignore=ignored)
    return target


def build_wheel(sources: Path, target: Path) -> Path:
    """A wheel, without network: the build's requirements are installed."""
    pip = [sys.executable, '-m', 'pip', 'wheel', '--quiet', '--no-deps']
    run([*pip, '--no-build-isolation', '--wheel-dir', str(target), '.'], sources)
    return next(target.glob('*.whl'))


def build_sdist(sources: Path, target: Path) -> Path:
    """A source distribution."""
    target.mkdir(parents=True, exist_ok=True)
    code = (
        f'from setuptools.build_meta import build_sdist; build_sdist({str(target)!r})'
    )
    run([sys.executable, '-c', code], sources)
    return next(target.glob('*.tar.gz'))


def unpack(archive: Path, target: Path) -> Path:
    """The folder in a source distribution."""
    with tarfile.open(archive) as file:
        file.extractall(target, filter='data')
    return next(target.iterdir())


def contents(wheel: Path) -> dict[str, bytes]:
    """Files of a wheel."""
    with zipfile.ZipFile(wheel) as file:
        return {name: file.read(name) for name in file.namelist() if name[-1] != '/'}


def run(command: list[str], folder: Path, **options) -> subprocess.CompletedProcess:
    """Run a command; if it fails, what it said."""
    done = subprocess.run(
        command, cwd=folder, capture_output=True, text=True, **options
    )
    assert done.returncode == 0, f'{command}\n{done.stdout}\n{done.stderr}'
    return done
