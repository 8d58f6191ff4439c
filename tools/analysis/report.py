# SPDX-License-Identifier: Apache-2.0
"""Report of a run as one HTML file: config, results, curves, sheets.

Example: ``python tools/analysis/report.py work_dirs/gcl_synthetic``
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path

from _model import add_loading

from mmreid_gcl.apis import load_config
from mmreid_gcl.apis.figures import ModelSource
from mmreid_gcl.apis.figures.report import find_config, run_report
from mmreid_gcl.cli.command_line import (
    add_json_option,
    checkpoint_argument,
    show_result,
    tool,
)
from mmreid_gcl.work_dir import WorkDirError, last_checkpoint


@tool
def main(argv: Sequence[str] | None = None) -> int:
    """Write the report."""
    made = argparse.ArgumentParser(
        description=__doc__.splitlines()[0],
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    made.add_argument('work_dir', type=Path, help='folder of the run')
    made.add_argument('--out', type=Path, help='file to write; else in the work dir')
    made.add_argument(
        '--config', help='config file or name; else the one in the work dir'
    )
    made.add_argument(
        '--checkpoint',
        type=checkpoint_argument,
        help="checkpoint for the sheets, or 'none'; else the last of the run",
    )
    add_json_option(made)
    add_loading(made)
    args = made.parse_args(argv)
    config = args.config or find_config(args.work_dir)
    cfg = load_config(str(config), args.cfg_options)
    source, checkpoint = None, args.checkpoint
    without = f'{args.work_dir} has no checkpoint.'
    try:
        checkpoint = checkpoint or last_checkpoint(args.work_dir)
    except WorkDirError as error:
        without = str(error)
    if checkpoint == 'none':
        without = 'no checkpoint was asked for (--checkpoint none).'
    elif checkpoint is not None:
        source = partial(
            ModelSource,
            cfg,
            checkpoint,
            args.device,
            args.batch_size,
            args.num_workers,
        )
    page, missing = run_report(args.work_dir, cfg, source, without)
    out = args.out or args.work_dir / 'report.html'
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_text(page, encoding='utf-8')
    for line in missing:
        print(f'report: left out: {line}', file=sys.stderr)
    print(f'Written: {out} ({len(page) / 2**20:.1f} MiB)')
    show_result(args, dict(file=out, left_out=missing))
    return 0


if __name__ == '__main__':
    sys.exit(main())
