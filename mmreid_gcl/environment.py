# SPDX-License-Identifier: Apache-2.0
"""Is the OpenMMLab stack there, and only once?"""

from __future__ import annotations

from collections.abc import Collection
from importlib import metadata, util

#: Import name to the distributions that provide it: original, continuation.
STACK = {
    'mmengine': ('mmengine', 'onedl-mmengine'),
    'mmcv': ('mmcv', 'mmcv-lite', 'onedl-mmcv'),
    'mmpretrain': ('mmpretrain', 'onedl-mmpretrain'),
}


def installed_distributions() -> set[str]:
    """Those of :data:`STACK` that are installed."""
    found = set()
    for name in (name for names in STACK.values() for name in names):
        try:
            metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
        found.add(name)
    return found


def check_stack(installed: Collection[str] | None = None) -> None:
    """Refuse a stack that is missing or installed over itself.

    Args:
        installed (Collection[str], optional): Names of distributions. Defaults
            to those found in this environment.

    Raises:
        ImportError: If two distributions provide one import name (they
            overwrite each other's files), or none does.
    """
    installed = installed_distributions() if installed is None else installed
    for module, names in STACK.items():
        present = [name for name in names if name in installed]
        if len(present) > 1:
            raise ImportError(
                f'{" and ".join(present)} are both installed and overwrite each '
                f"other's files, since both provide '{module}'. Uninstall both, then "
                f'install one: pip uninstall -y {" ".join(present)} && '
                f'pip install {present[-1]}'
            )
        if not present and util.find_spec(module) is None:
            raise ImportError(
                f"'{module}' is not installed. Install the maintained OpenMMLab "
                f'packages with: pip install "mmreid_gcl[mm]" (in a checkout: '
                'pip install -e ".[mm]"), or keep an environment that has them.'
            )
