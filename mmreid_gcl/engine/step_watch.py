# SPDX-License-Identifier: Apache-2.0
"""StepWatch: detects whether the optimiser took, skipped or awaits a step."""

from __future__ import annotations

from mmengine.optim import OptimWrapper
from torch.optim import Optimizer


class StepWatch:
    """Tells whether the optimiser stepped since it was last asked.

    With gradient accumulation most iterations have no step, and a gradient scaler skips
    the step when it finds a gradient that is not finite.
    """

    def __init__(self, optim_wrapper: OptimWrapper) -> None:
        self._wrapper = optim_wrapper
        self._stepped = False
        self._handle = optim_wrapper.optimizer.register_step_post_hook(self._mark)

    def _mark(self, optimizer: Optimizer, args: tuple, kwargs: dict) -> None:
        # A fused optimiser is called even when the scaler found an overflow,
        # and looks at this flag on the device.
        found_inf = getattr(optimizer, 'found_inf', None)
        self._stepped = found_inf is None or not bool(found_inf)

    def outcome(self) -> str:
        """'stepped', 'skipped' (there should have been a step), or 'accumulating'."""
        stepped, self._stepped = self._stepped, False
        if stepped:
            return 'stepped'
        return 'skipped' if self._wrapper.should_update() else 'accumulating'

    def close(self) -> None:
        """Stop watching."""
        self._handle.remove()
