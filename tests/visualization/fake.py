# SPDX-License-Identifier: Apache-2.0
"""Images for the tests of figures."""

import numpy as np


def image(value: int = 128, height: int = 32, width: int = 16) -> np.ndarray:
    """A grey image with a darker edge."""
    made = np.full((height, width, 3), value, np.uint8)
    made[0] = 0
    return made


def texts(figure) -> list[str]:
    """All texts in the axes of a figure that are not empty."""
    return [t.get_text() for axes in figure.axes for t in axes.texts if t.get_text()]


def by_gid(figure, prefix: str) -> dict:
    """Patches of a figure by their id, where it has the prefix."""
    patches = [p for axes in figure.axes for p in axes.patches if p.get_gid()]
    return {p.get_gid(): p for p in patches if p.get_gid().startswith(prefix)}
