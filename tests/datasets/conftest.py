# SPDX-License-Identifier: Apache-2.0
import importlib.util
from pathlib import Path
from types import SimpleNamespace

import pytest
from mmengine.dataset import base_dataset


@pytest.fixture(autouse=True)
def no_garbage_collection(monkeypatch):
    """mmengine collects garbage for every data set: half a second each here."""
    monkeypatch.setattr(base_dataset, 'gc', SimpleNamespace(collect=lambda: 0))


@pytest.fixture(scope='session')
def load_converter():
    """A tool of tools/dataset_converters as a module."""

    def load(name):
        folder = Path(__file__).parents[2] / 'tools' / 'dataset_converters'
        spec = importlib.util.spec_from_file_location(
            f'converter_{name}', folder / f'{name}.py'
        )
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        return module

    return load
