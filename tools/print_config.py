# SPDX-License-Identifier: Apache-2.0
"""Print a config with its bases and overrides: ``tools/print_config.py CONFIG``."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from mmreid_gcl.apis import load_config
from mmreid_gcl.cli.command_line import (
    add_config_options,
    add_json_option,
    run_tool,
    show_result,
)


def print_config(argv: Sequence[str] | None) -> int:
    """Read, override, print."""
    parser = argparse.ArgumentParser(description='Print a complete config')
    parser.add_argument('config', help='config file or name')
    add_json_option(parser)
    add_config_options(parser)
    args = parser.parse_args(argv)
    cfg = load_config(args.config, args.cfg_options)
    print(cfg.pretty_text)
    show_result(args, cfg.to_dict())
    return 0


def main(argv: Sequence[str] | None = None) -> int:
    """Print; the exit code."""
    return run_tool('print_config', print_config, argv)


if __name__ == '__main__':
    sys.exit(main())
