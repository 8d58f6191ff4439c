# SPDX-License-Identifier: Apache-2.0
"""Every public and every registered name is on a page of the API reference."""

import importlib
import pkgutil
import re

import pytest
from mmengine.registry import Registry

import mmreid_gcl
from mmreid_gcl import registry

from .pages import DOCS, blocks, toctrees

ROOMS = [
    'apis',
    'clustering',
    'datasets',
    'engine',
    'evaluation',
    'experiments',
    'models',
    'visualization',
]


def directives(room):
    """(directive, module, options) of a page."""
    text = (DOCS / 'api' / f'{room}.md').read_text(encoding='utf-8')
    found = []
    for info, code in blocks(text):
        match = re.fullmatch(r'\{(\w+)\} (\S+)', info)
        if match:
            found.append((match[1], match[2], code))
    return found


@pytest.mark.parametrize('room', ROOMS)
def test_a_page_documents_its_package(room):
    assert ('public', f'mmreid_gcl.{room}') in [d[:2] for d in directives(room)]


@pytest.mark.parametrize('room', ROOMS)
def test_modules_and_names_of_directives_exist(room):
    for _, module, options in directives(room):
        content = importlib.import_module(module)
        for names in re.findall(r'^:(?:only|except): (.*)$', options, re.M):
            for name in names.split():
                assert hasattr(content, name.strip(',')), f'{module}.{name}'


def test_registered_names_are_on_pages():
    for module in pkgutil.walk_packages(mmreid_gcl.__path__, 'mmreid_gcl.'):
        if module.name.endswith('__main__'):
            continue
        try:
            importlib.import_module(module.name)
        except ModuleNotFoundError as error:  # of a server, optional
            assert error.name in ('gradio', 'fastapi'), error
    rooms = set()
    for entry in vars(registry).values():
        if isinstance(entry, Registry):
            for member in entry.module_dict.values():
                if member.__module__.startswith('mmreid_gcl.'):
                    rooms.add(member.__module__.split('.')[1])
    assert rooms
    for room in rooms:
        listed = [d[1] for d in directives(room) if d[0] == 'registered']
        assert listed == [f'mmreid_gcl.{room}'], f'docs/api/{room}.md'


def test_the_index_lists_the_pages():
    text = (DOCS / 'api' / 'index.md').read_text(encoding='utf-8')
    listed = toctrees(text)
    assert sorted(listed) == sorted(
        p.stem for p in DOCS.glob('api/*.md') if p.stem != 'index'
    )
    assert set(ROOMS) <= set(listed)
