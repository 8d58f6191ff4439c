# SPDX-License-Identifier: Apache-2.0
"""Files that describe the project agree with it."""

import ast
from pathlib import Path

import modelindex
import pytest
import yaml
from mmengine.config import Config

from mmreid_gcl import __version__
from mmreid_gcl.config import packaged
from tests.packaging.building import ROOT

LICENCE = '# SPDX-License-Identifier: Apache-2.0'


def entries() -> dict[str, dict]:
    index = yaml.safe_load((ROOT / 'model-index.yml').read_text())
    models = {}
    for file in index['Import']:
        for model in yaml.safe_load((ROOT / file).read_text())['Models']:
            assert Path(model['Config']).parent == Path(file).parent, model['Name']
            assert model['Config'] not in models, f'{model["Config"]} stands twice'
            models[model['Config']] = model
    return models


def test_the_index_is_valid():
    index = modelindex.load(str(ROOT / 'model-index.yml'))
    index.build_models_with_collections()
    assert index.check(silent=True) == []
    assert {model.name for model in index.models} == {
        Path(name).name for name in packaged.configs()
    }


def test_the_index_names_every_config():
    configs = {
        path.relative_to(ROOT).as_posix() for path in packaged.configs().values()
    }
    assert set(entries()) == configs, 'add the new ones to metafile.yml of their folder'


def test_the_index_agrees_with_the_configs():
    for name, model in entries().items():
        cfg = Config.fromfile(ROOT / name)
        sampler = cfg.train_dataloader.sampler
        metadata = model['Metadata']
        assert metadata['Epochs'] == cfg.train_cfg.max_epochs, name
        batch = sampler.num_identities * sampler.num_instances
        assert metadata['Batch Size'] == batch, name


def test_no_results_without_weights():
    for name, model in entries().items():
        assert ('Results' in model) == ('Weights' in model), name


def python_files() -> list[Path]:
    folders = [ROOT / name for name in ('mmreid_gcl', 'tools', 'tests', 'docs')]
    files = [ROOT / 'setup.py', *(file for f in folders for file in f.rglob('*.py'))]
    return [
        file for file in files if not {'.mim', '_build', '__pycache__'} & {*file.parts}
    ]


def test_every_file_begins_with_its_licence():
    bare = [
        file.relative_to(ROOT).as_posix()
        for file in python_files()
        if (text := file.read_text()) and not text.startswith((LICENCE, '#!'))
    ]
    assert bare == []


def test_citation_is_of_this_version():
    citation = yaml.safe_load((ROOT / 'CITATION.cff').read_text())
    assert citation['version'] == __version__
    assert citation['license'] == 'Apache-2.0'
    paper = citation['references'][0]
    assert paper['title'].startswith('Mind Your Clever Neighbours')
    assert [author['family-names'] for author in paper['authors']] == [
        *('Jia', 'Yu', 'Ye', 'Yan', 'Lei', 'Zhang')
    ]


def test_changelog_names_this_version():
    assert __version__ in (ROOT / 'CHANGELOG.md').read_text()


#: What each room may import of the package, as in CONTRIBUTING.md; all of them may
#: import the modules beside the rooms, such as mmreid_gcl.registry.
ROOMS = {
    'datasets': set(),
    'models': set(),
    'clustering': set(),
    'evaluation': {'clustering'},
    'engine': {'datasets', 'models', 'clustering', 'evaluation'},
    'visualization': set(),
    'config': {'datasets', 'models', 'clustering', 'engine'},
    'experiments': {'config', 'visualization'},
    'apis': {
        *('datasets', 'models', 'clustering', 'evaluation', 'engine'),
        *('config', 'visualization'),
    },
    'cli': {'config', 'apis'},
}


def imported(file: Path) -> set[str]:
    """Modules of the package that a file imports, by their full names."""
    package = file.relative_to(ROOT).with_suffix('').parts[:-1]
    names = set()
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            above = package[: len(package) - node.level + 1] if node.level else ()
            module = '.'.join([*above, *filter(None, [node.module])])
            names |= {f'{module}.{alias.name}' for alias in node.names}
    return {name for name in names if name.startswith('mmreid_gcl.')}


def test_who_knows_whom():
    folders = {f.name for f in (ROOT / 'mmreid_gcl').iterdir() if f.name[0] not in '._'}
    assert {name for name in folders if '.' not in name} == set(ROOMS)
    for room, others in ROOMS.items():
        for file in (ROOT / 'mmreid_gcl' / room).rglob('*.py'):
            known = {name.split('.')[1] for name in imported(file)} & set(ROOMS)
            assert known <= others | {room}, file


@pytest.mark.parametrize(
    'name', ['.github/workflows/test.yml', '.pre-commit-config.yaml']
)
def test_yaml_is_readable(name):
    assert isinstance(yaml.safe_load((ROOT / name).read_text()), dict)
