# SPDX-License-Identifier: Apache-2.0
import pytest
import torch

from mmreid_gcl.apis.inferencer import ReIDInferencer

from .tiny import TEST_PIPELINE, make_model


@pytest.fixture(autouse=True, scope='session')
def one_thread():
    """Threads that wait for each other on a busy machine cost seconds."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope='session')
def model():
    return make_model()


@pytest.fixture
def inferencer(model):
    return ReIDInferencer(
        model, pipeline=TEST_PIPELINE, batch_size=4, num_workers=2, progress=False
    )
