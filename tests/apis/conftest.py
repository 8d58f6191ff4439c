# SPDX-License-Identifier: Apache-2.0
import pytest

from mmreid_gcl.apis.inferencer import ReIDInferencer
from tests.threads import one_thread  # noqa: F401

from .tiny import TEST_PIPELINE, make_model


@pytest.fixture(scope='session')
def model():
    return make_model()


@pytest.fixture
def inferencer(model):
    return ReIDInferencer(
        model, pipeline=TEST_PIPELINE, batch_size=4, num_workers=2, progress=False
    )
