# SPDX-License-Identifier: Apache-2.0
"""Training loops."""

from .resumable_train_loop import ResumableTrainLoop

__all__ = ['ResumableTrainLoop']
