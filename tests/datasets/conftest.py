# SPDX-License-Identifier: Apache-2.0
import logging
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
