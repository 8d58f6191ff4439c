# SPDX-License-Identifier: Apache-2.0
"""Packaging: ``pip install -e ".[mm,faiss-cpu]"``."""

import re
from pathlib import Path

from setuptools import find_packages, setup

ROOT = Path(__file__).parent


def requirements(name: str) -> list[str]:
    """The requirement lines of ``requirements/<name>.txt``."""
    lines = (ROOT / 'requirements' / f'{name}.txt').read_text().splitlines()
    return [line for line in map(str.strip, lines) if line and line[0] != '#']


version = re.search(
    r"__version__ = '(.+)'", (ROOT / 'mmreid_gcl' / 'version.py').read_text()
).group(1)

setup(
    name='mmreid_gcl',
    version=version,
    description='Unsupervised person re-identification with graph correlation '
    'learning and selective contrastive learning, for OpenMMLab',
    long_description=(ROOT / 'README.md').read_text(),
    long_description_content_type='text/markdown',
    license='Apache-2.0',
    python_requires='>=3.10',
    packages=find_packages(include=['mmreid_gcl', 'mmreid_gcl.*']),
    install_requires=requirements('runtime'),
    extras_require={
        'mm': requirements('mminstall'),
        'faiss-cpu': ['faiss-cpu>=1.8'],
        'faiss-gpu': ['faiss-gpu>=1.14'],
        'optional': requirements('optional'),
        'tests': requirements('tests'),
    },
)
