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
    show_result,
    tool,
)


@tool
def main(argv: Sequence[str] | None = None) -> int:
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


if __name__ == '__main__':
    sys.exit(main())
