# SPDX-License-Identifier: Apache-2.0
"""What all tests share."""

import importlib.util
import logging
from pathlib import Path

import pytest
import torch
from mmengine.logging import MMLogger
from mmengine.registry import DefaultScope

TOOLS = Path(__file__).parents[1] / 'tools'


def pytest_runtest_setup(item):
    if item.get_closest_marker('gpu') and not torch.cuda.is_available():
        pytest.skip('needs a GPU')


@pytest.fixture(autouse=True)
def keeps_what_is_global():
    """The next test has its own default scope of mmengine, and its own log.

    The log of a Runner goes to the stdout of the test, which is closed after it.
    """
    kinds = DefaultScope, MMLogger
    before = [dict(kind._instance_dict) for kind in kinds]
    yield
    for kind, instances in zip(kinds, before):
        kind._instance_dict.clear()
        kind._instance_dict.update(instances)


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
def load_tool():
    """A tool as a module, without a process of its own."""

    def load(name):
        path = TOOLS / f'{name}.py'
        spec = importlib.util.spec_from_file_location(f'tool_{path.stem}', path)
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        return module

    return load
