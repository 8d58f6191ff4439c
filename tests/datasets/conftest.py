# SPDX-License-Identifier: Apache-2.0
import importlib.util
import logging
from pathlib import Path
from types import SimpleNamespace

import pytest
from mmengine.dataset import base_dataset
from mmengine.logging import MMLogger


@pytest.fixture(autouse=True)
def no_garbage_collection(monkeypatch):
    """mmengine collects garbage for every data set: half a second each here."""
    monkeypatch.setattr(base_dataset, 'gc', SimpleNamespace(collect=lambda: 0))


@pytest.fixture
def log_lines():
    """Lines written to the log since: a list of (level name, message)."""
    lines = []

    class Keep(logging.Handler):
        def emit(self, record):
            lines.append((record.levelname, record.getMessage()))

    logger = MMLogger.get_current_instance()
    keep = Keep()
    logger.addHandler(keep)
    yield lines
    logger.removeHandler(keep)


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
