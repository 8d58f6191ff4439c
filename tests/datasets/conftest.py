# SPDX-License-Identifier: Apache-2.0
from types import SimpleNamespace

import pytest
from mmengine.dataset import base_dataset


@pytest.fixture(autouse=True)
def no_garbage_collection(monkeypatch):
    """mmengine collects garbage for every data set: half a second each here."""
    monkeypatch.setattr(base_dataset, 'gc', SimpleNamespace(collect=lambda: 0))
