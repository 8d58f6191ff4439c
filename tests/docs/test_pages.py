# SPDX-License-Identifier: Apache-2.0
"""Links lead somewhere, names exist, code can be parsed."""

import ast
import inspect
import json
import re
import shlex
import subprocess
from urllib.parse import urlparse

import mmpretrain.models  # noqa: F401  (registers them)
import pytest
from mmengine.config import Config
from mmengine.registry import Registry
from mmengine.runner import set_random_seed
from torch.utils.data import DataLoader

from mmreid_gcl import registry
from mmreid_gcl.datasets import PersonFolder
from mmreid_gcl.engine import ResumableTrainLoop
from mmreid_gcl.evaluation import ReIDMetric

from .pages import DOCS, PAGES, ROOT, anchors, blocks, links, prose, toctrees

IDS = [str(page.relative_to(ROOT)) for page in PAGES]
TEXTS = {page: page.read_text(encoding='utf-8') for page in PAGES}


def broken(page, text):
    """Relative links of a page that lead nowhere."""
    found = []
    for link in links(text):
        if urlparse(link).scheme:
            continue
        path, _, anchor = link.partition('#')
        target = (page.parent / path).resolve() if path else page
        if not target.exists() or not target.is_relative_to(ROOT):
            found.append(link)
        elif anchor and target.suffix == '.md':
            known = anchors(target.read_text(encoding='utf-8'))
            found += [link] * (anchor not in known)
    return found


def test_the_finders_of_this_test():
    text = '# A *b*: c\n[x](y.md#z) ![i](i.png)\n```sh\n[no](no.md)\n```\n## A b c\n'
    assert links(text) == ['y.md#z', 'i.png']
    assert anchors(text) == {'a-b-c', 'a-b-c-1'}
    assert blocks(text) == [('sh', '[no](no.md)\n')]
    page = DOCS / 'method.md'
    assert broken(page, '[a](no.md) [b](#no) [c](faq.md#no) [d](#equations)') == [
        'no.md',
        '#no',
        'faq.md#no',
    ]


@pytest.mark.parametrize('page', PAGES, ids=IDS)
def test_links(page):
    assert broken(page, TEXTS[page]) == []


def test_links_of_notebooks():
    notebooks = sorted(DOCS.glob('notebooks/*.ipynb'))
    assert notebooks
    for path in notebooks:
        for cell in json.loads(path.read_text(encoding='utf-8'))['cells']:
            if cell['cell_type'] == 'markdown':
                assert broken(path, ''.join(cell['source'])) == [], path


def test_every_page_is_in_the_contents():
    index = TEXTS[DOCS / 'index.md']
    listed = toctrees(index)
    pages = {p.stem for p in DOCS.glob('*.md')} - {'index'}
    pages |= {f'notebooks/{p.stem}' for p in DOCS.glob('notebooks/*.ipynb')}
    assert pages - set(listed) == set(), 'add it to a toctree of docs/index.md'
    assert len(listed) == len(set(listed))


@pytest.mark.parametrize('page', PAGES, ids=IDS)
def test_code_can_be_parsed(page):
    for language, code in blocks(TEXTS[page]):
        if language == 'python':
            ast.parse(code)
        elif language == 'bash':
            done = subprocess.run(
                ['bash', '-n'], input=code, capture_output=True, text=True
            )
            assert done.returncode == 0, f'{done.stderr}\n{code}'
        else:  # a language, a directive, or plain
            assert re.fullmatch(r'text|sh|py|\{[a-z-]+\}.*|', language), language


def commands():
    """Every command of the pages that runs a tool."""
    for page, text in TEXTS.items():
        for language, code in blocks(text):
            if language not in ('bash', 'text'):
                continue
            for line in code.replace('\\\n', ' ').splitlines():
                words = line.split('  #')[0]
                if re.match(r'(\S+/)?(python|bash) \S', words) and ' -c ' not in words:
                    yield page, shlex.split(words.replace('$(', '(').replace('…', 'X'))


def test_commands_name_tools_configs_and_options_that_exist():
    checked = 0
    for page, words in commands():
        where = f'{page.name}: {" ".join(words)}'
        tool = ROOT / words[1]
        assert tool.is_file(), where
        for word in words[2:]:
            if word.startswith('configs/'):
                assert (ROOT / word).is_file(), where
        for option in [word for word in words[2:] if word.startswith('--')]:
            name = option.partition('=')[0]
            assert name in options_of(tool), f'{where}: {name}'
            checked += 1
    assert checked > 30


def options_of(tool):
    """Long options that a tool's source, or what it shares, mentions."""
    shared = ['tools/train.py', 'tools/test.py'] if tool.suffix == '.sh' else []
    shared += ['mmreid_gcl/cli/command_line.py', 'tools/analysis/_model.py']
    text = ''.join((ROOT / name).read_text(encoding='utf-8') for name in shared)
    return set(re.findall(r'--[a-z][\w-]+', text + tool.read_text(encoding='utf-8')))


def test_paths_in_prose_exist():
    """`configs/x.py`, `tools/x.py` and `tests/x.py` are files."""
    pattern = re.compile(
        r'`((?:configs|tools|tests|docs|mmreid_gcl)/[\w/.]+\.(?:py|sh|md))`'
    )
    named = {
        (page.name, p) for page, text in TEXTS.items() for p in pattern.findall(text)
    }
    assert len(named) > 30
    assert sorted(n for n in named if not (ROOT / n[1]).is_file()) == []


def config_keys(page):
    """Config keys that a page names: in backquotes or behind --cfg-options."""
    text = TEXTS[page]
    roots = r'model|train_dataloader|val_dataloader|test_dataloader|default_hooks'
    roots += (
        r'|optim_wrapper|param_scheduler|train_cfg|default_hooks|randomness|env_cfg'
    )
    keys = set(re.findall(rf'(?<![\w.])((?:{roots})(?:\.\w+)+)', text))
    return sorted(key for key in keys if not key.endswith(('.onnx', '.pt')))


@pytest.mark.parametrize(
    'name', ['method', 'training', 'migration', 'faq', 'own_data', 'distributed']
)
def test_config_keys_exist(name, monkeypatch):
    """A key is in the config of the paper, or an argument of the module there."""
    monkeypatch.chdir(ROOT)
    cfg = Config.fromfile('configs/gcl_market.py')
    keys = config_keys(DOCS / f'{name}.md')
    assert keys
    for key in keys:
        value = cfg
        for part in key.split('.'):
            if part.isdecimal():
                value = value[int(part)]
            elif part in value:
                value = value[part]
            else:
                assert part in arguments_of(value), f'{name}.md: {key}'
                break


def arguments_of(value):
    """Arguments that a config's module takes, or what has no type there."""
    kinds = [DataLoader, ReIDMetric, ResumableTrainLoop, set_random_seed]
    if 'type' in value:
        registries = [r for r in vars(registry).values() if isinstance(r, Registry)]
        found = [entry.get(value['type']) for entry in registries]
        kinds = [kind for kind in found if kind is not None]
        if value['type'] == 'Market1501':  # in configs/gcl_folder.py it is this one
            kinds.append(PersonFolder)
    return {
        name
        for kind in kinds
        for base in (kind.__mro__[:-1] if isinstance(kind, type) else [kind])
        for name in inspect.signature(base).parameters
    }


def test_config_snippets_of_training(tmp_path, monkeypatch):
    """The two configs of docs/training.md can be loaded and say what they promise."""
    monkeypatch.chdir(ROOT)
    snippets = [c for i, c in blocks(TEXTS[DOCS / 'training.md']) if i == 'python']
    assert len(snippets) == 2
    loaded = []
    for number, code in enumerate(snippets):
        path = tmp_path / f'config_{number}.py'
        path.write_text(code.replace("'configs/", f"'{ROOT}/configs/"))
        loaded.append(Config.fromfile(path))
    assert loaded[0].default_hooks.pseudo_labels.type == 'PseudoLabelHook'
    assert loaded[0].default_hooks.pseudo_labels.clusterer.type == 'HDBSCANClusterer'
    assert loaded[0].train_cfg.max_epochs == 40
    assert loaded[0].train_cfg.val_interval == 5
    assert len(loaded[1].visualizer.vis_backends) == 2


def test_functions_of_the_method_exist():
    """`[file.py](path) (`name`)` of docs/method.md: the file defines the name."""
    text = TEXTS[DOCS / 'method.md']
    pairs = re.findall(r'\]\(\.\./(mmreid_gcl/[\w/]+\.py)\) \(([^)]*)\)', text)
    assert len(pairs) > 20
    for path, names in pairs:
        source = ast.parse((ROOT / path).read_text(encoding='utf-8'))
        defined = {
            node.name
            for node in ast.walk(source)
            if isinstance(node, (ast.FunctionDef, ast.ClassDef))
        }
        named = set(re.findall(r'`(\w+)`', names))
        assert named and named <= defined, f'{path}: {named - defined}'


def test_settings_of_the_method_are_those_of_the_config(monkeypatch):
    """Numbers of the table in docs/method.md."""
    monkeypatch.chdir(ROOT)
    cfg = Config.fromfile('configs/gcl_market.py')
    table = TEXTS[DOCS / 'method.md'].partition('## Settings')[2].partition('\n## ')[0]
    checked = 0
    for row in table.splitlines():
        cells = [cell.strip() for cell in row.split('|')]
        if len(cells) < 6 or not re.fullmatch(r'[\d.e-]+', cells[4]) or cells[4] == '-':
            continue
        for key in re.findall(r'`([\w.]+)`', cells[3]):
            value = cfg
            for part in key.split('.'):
                value = value[int(part) if part.isdecimal() else part]
            assert value == float(cells[4]), key
            checked += 1
    assert checked >= 12


def test_prose_has_no_broken_emphasis_or_todo():
    for page, text in TEXTS.items():
        assert not re.search(r'\bTODO\b|\bFIXME\b|\bXXX\b', prose(text)), page


def test_datasets_page_says_that_duke_was_withdrawn():
    text = ' '.join(TEXTS[DOCS / 'datasets.md'].split())
    assert 'DukeMTMC-reID was withdrawn by its authors' in text
