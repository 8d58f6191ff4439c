# SPDX-License-Identifier: Apache-2.0
"""WeakView: keeps the image before augmentation."""

from __future__ import annotations

from mmcv.transforms import BaseTransform

from mmreid_gcl.registry import TRANSFORMS


@TRANSFORMS.register_module()
class WeakView(BaseTransform):
    """Keep the image as it is at this place of a training pipeline.

    Heads that compare two views of an image take it
    (``InstanceContrastHead(consistency=...)``). Place it after ``Resize``, and set
    ``algorithm_keys=('weak_view',)`` of ``PackInputs``.

    Required key: ``img``. Added key: ``weak_view``, (H, W, 3) uint8, as in ``img``.
    """

    def transform(self, results: dict) -> dict:
        """Add a copy of the image, which later transforms cannot change."""
        return {**results, 'weak_view': results['img'].copy()}

    def __repr__(self) -> str:
        return f'{type(self).__name__}()'
