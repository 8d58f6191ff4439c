# SPDX-License-Identifier: Apache-2.0
"""What interrupted trainings are compared with."""

import pytest

from . import tiny_training


@pytest.fixture(scope='session')
def images(tmp_path_factory):
    """A folder of images that tests leave as it is."""
    return tiny_training.draw_images(tmp_path_factory.mktemp('images') / 'data')


@pytest.fixture(scope='session')
def reference(images, tmp_path_factory):
    """The outcome of the training that nothing interrupts."""
    work_dir = tmp_path_factory.mktemp('reference')
    tiny_training.train(tiny_training.make_config(images, work_dir))
    return tiny_training.outcome(work_dir)
