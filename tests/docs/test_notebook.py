# SPDX-License-Identifier: Apache-2.0
"""The notebook runs; its outputs are small and really those of a run."""

import json
import tempfile

import pytest
import torch
from mmengine.registry import DefaultScope

from .pages import DOCS

PATH = DOCS / 'notebooks' / 'crops_to_search.ipynb'
CELLS = json.loads(PATH.read_text(encoding='utf-8'))['cells']
CODE = [cell for cell in CELLS if cell['cell_type'] == 'code']
#: What makes the notebook shorter: it is the same code.
SHORTER = {
    'num_train_ids=20': 'num_train_ids=12',
    "'train_cfg.max_epochs': 6": "'train_cfg.max_epochs': 2",
    'epoch_6.pth': 'epoch_2.pth',
    "'train_dataloader.sampler.num_batches': 10": (
        "'train_dataloader.sampler.num_batches': 4"
    ),
}


@pytest.fixture
def run(tmp_path, monkeypatch):
    """Run the code cells in one namespace, as the kernel does."""
    before = DefaultScope._instance_dict.copy()
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    monkeypatch.chdir(PATH.parent)
    monkeypatch.setattr(tempfile, 'tempdir', str(tmp_path))

    def run(replacements):
        sources = [''.join(cell['source']) for cell in CODE]
        for old, new in replacements.items():
            assert any(old in source for source in sources), old
            sources = [source.replace(old, new) for source in sources]
        namespace = {}
        for number, source in enumerate(sources):
            exec(compile(source, f'cell {number}', 'exec'), namespace)
        return namespace

    yield run
    torch.set_num_threads(threads)
    DefaultScope._instance_dict.clear()
    DefaultScope._instance_dict.update(before)


def check(namespace, epochs):
    count = len(namespace['person'])
    assert len(namespace['labels']) == len(namespace['found'].paths) == count
    # the weights after the last epoch are clustered once more, to be scored
    steps = namespace['scalars'].series['pseudo_labels/clusters'][0].tolist()
    assert steps == list(range(1, epochs + 2))
    assert [len(row) for row in namespace['results']] == [8, 8, 8]
    for row in namespace['results']:
        scores = [match.score for match in row]
        assert scores == sorted(scores, reverse=True)
        assert {match.camera for match in row} <= {'entrance', 'yard'}


def test_a_short_run(run, capsys):
    namespace = run(SHORTER)
    check(namespace, 2)
    printed = capsys.readouterr().out
    assert 'crops of 12 people' in printed
    assert printed.count('%') == 3


@pytest.mark.slow
def test_the_whole_run(run):
    namespace = run({})
    check(namespace, 6)
    right = namespace['first_is_right']
    assert right(namespace['inferencer']) > right(namespace['untrained'])


def test_outputs_are_those_of_a_run_in_order():
    assert [cell['execution_count'] for cell in CODE] == list(range(1, len(CODE) + 1))
    kinds = [output['output_type'] for cell in CODE for output in cell['outputs']]
    assert 'error' not in kinds
    pictures = [
        output
        for cell in CODE
        for output in cell['outputs']
        if {'image/png', 'image/jpeg'} & set(output.get('data', {}))
    ]
    assert len(pictures) == 4


def test_the_file_is_small_and_names_no_folder_of_a_machine():
    assert PATH.stat().st_size < 300_000
    text = PATH.read_text(encoding='utf-8')
    assert '/tmp' not in text and '/home' not in text and '.venv' not in text
