# SPDX-License-Identifier: Apache-2.0
"""The OpenMMLab stack: installed exactly once, and quiet about what nobody can mend."""

from __future__ import annotations

import io
import logging
import warnings
from collections.abc import Collection
from contextlib import redirect_stdout
from importlib import import_module, metadata, util

#: Import name to the distributions that provide it: original, continuation.
STACK = {
    'mmengine': ('mmengine', 'onedl-mmengine'),
    'mmcv': ('mmcv', 'mmcv-lite', 'onedl-mmcv'),
    'mmpretrain': ('mmpretrain', 'onedl-mmpretrain'),
}

#: Warnings of the stack that a user can do nothing about.
_USELESS = (
    'Fail to import ``MultiScaleDeformableAttention``',
    "Only use 'alpha' for pillow backend",
    r'`torch\.jit\.\w+` is deprecated',
)
#: Messages of mmengine for its log file, not for the screen.
_FILE_ONLY = ('Hooks will be executed', '"FileClient"', '"HardDiskBackend"')


def ignore_useless_warnings() -> None:
    """Ignore those of :data:`_USELESS`; one comes with every image otherwise."""
    for message in _USELESS:
        warnings.filterwarnings('ignore', message)


def import_mmpretrain(*packages: str) -> None:
    """Import ``datasets`` or ``models`` of mmpretrain, which registers its parts.

    It prints a line about a package that nobody has, which is kept back.
    """
    with redirect_stdout(io.StringIO()):
        for name in packages:
            import_module(f'mmpretrain.{name}')


def calm_screen(logger: logging.Logger) -> None:
    """Keep from a run's logger's screen what belongs into its file alone."""
    for handler in logger.handlers:
        if type(handler) is logging.StreamHandler:
            handler.addFilter(lambda r: not r.getMessage().startswith(_FILE_ONLY))


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
    """Refuse a stack that is missing or installed over itself (``ImportError``).

    Two distributions of one import name overwrite each other's files. ``installed`` are
    names of distributions, by default those of this environment.
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
