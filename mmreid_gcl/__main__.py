# SPDX-License-Identifier: Apache-2.0
"""``python -m mmreid_gcl`` is the command ``mmreid``."""

import sys

from .cli.console import main

if __name__ == '__main__':
    sys.exit(main())
