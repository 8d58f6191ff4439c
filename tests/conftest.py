# SPDX-License-Identifier: Apache-2.0
"""What all tests share."""

import pytest
from mmengine.registry import DefaultScope


@pytest.fixture(autouse=True)
def keeps_the_default_scope():
    """A Runner sets mmengine's global default scope; the next test has its own."""
    before = dict(DefaultScope._instance_dict)
    yield
    DefaultScope._instance_dict.clear()
    DefaultScope._instance_dict.update(before)
