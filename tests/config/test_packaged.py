# SPDX-License-Identifier: Apache-2.0
"""Configs and tools by name."""

import pytest

from mmreid_gcl.config import packaged
from tests.packaging.building import ROOT


def test_the_checkout_is_the_root():
    assert packaged.root() == ROOT


@pytest.mark.parametrize(
    'name',
    [
        'ablation/duke_model1',
        'duke_model1',
        'duke_model1.py',
        'configs/ablation/duke_model1.py',
        'mmreid_gcl::ablation/duke_model1.py',
    ],
)
def test_find_config(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert packaged.find_config(name) == ROOT / 'configs/ablation/duke_model1.py'


def test_a_file_goes_before_a_name(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / 'gcl_duke').write_text('')
    assert packaged.find_config('gcl_duke').resolve() == tmp_path / 'gcl_duke'


def test_bases_are_no_configs():
    assert not [name for name in packaged.configs() if '_base_' in name]
    with pytest.raises(packaged.UnknownNameError):
        packaged.find_config('_base_/default_runtime')


@pytest.mark.parametrize('name', ['data/make_synthetic', 'make-synthetic'])
def test_find_tool(name):
    assert packaged.find_tool(name) == ROOT / 'tools/data/make_synthetic.py'


@pytest.mark.parametrize('name', ['_model', 'common'])
def test_a_module_of_tools_is_no_tool(name):
    with pytest.raises(packaged.UnknownNameError, match='there is no such tool'):
        packaged.find_tool(name)


def test_every_script_that_has_a_main_is_a_tool():
    assert {'train', 'test', 'search', 'data/check', 'analysis/report'} <= set(
        packaged.tools()
    )


def test_near_names():
    with pytest.raises(FileNotFoundError) as error:
        packaged.find_config('gcl_duck')
    assert 'gcl_duck: there is no such config file' in str(error.value)
    assert 'gcl_duke' in str(error.value)


def test_a_name_of_several(monkeypatch, tmp_path):
    for folder in ('a', 'b'):
        (tmp_path / 'configs' / folder).mkdir(parents=True)
        (tmp_path / 'configs' / folder / 'same.py').write_text('')
    monkeypatch.setattr(packaged, 'root', lambda: tmp_path)
    with pytest.raises(packaged.UnknownNameError, match='it could be a/same, b/same'):
        packaged.find_config('same')
    assert packaged.find_config('b/same') == tmp_path / 'configs/b/same.py'


@pytest.mark.parametrize(
    ('text', 'expected'),
    [
        ('"""Do it: ``python tools/x.py``.\n\nMore.\n"""\n', 'Do it'),
        ('# SPDX-License-Identifier: Apache-2.0\n"""One. Two."""\n', 'One'),
        ('# On\n# two lines.\nx = 1\n', 'On two lines'),
        ('x = 1\n', ''),
    ],
)
def test_summary(text, expected, tmp_path):
    path = tmp_path / 'x.py'
    path.write_text(text)
    assert packaged.summary(path) == expected


def test_everything_says_what_it_is():
    everything = {**packaged.tools(), **packaged.configs()}
    assert [
        name for name, path in everything.items() if not packaged.summary(path)
    ] == []
