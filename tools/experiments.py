# SPDX-License-Identifier: Apache-2.0
"""Run the paper's experiments, and print their tables beside its numbers.

Examples::

    python tools/experiments.py list
    python tools/experiments.py list sweep-eps
    python tools/experiments.py run table2 table3 --seeds 1 2 3 --jobs 2
    python tools/experiments.py table table2 --out table2.md
    python tools/experiments.py collect --out results.json
    python tools/experiments.py table table2 --results results.json
"""

from __future__ import annotations

import argparse
import fnmatch
import os
import platform
import shlex
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from mmreid_gcl.cli.command_line import (
    ConfigOptions,
    add_json_option,
    show_result,
    tool,
)
from mmreid_gcl.config.packaged import find_config, tool_command
from mmreid_gcl.experiments import (
    DATASETS,
    TABLES,
    Experiment,
    Table,
    gather_results,
    named_table,
    read_results,
    resolve,
    write_results,
)
from mmreid_gcl.experiments.markdown import rows_of, to_csv, to_markdown, to_records
from mmreid_gcl.experiments.results import merge
from mmreid_gcl.experiments.running import Pool, Settings, plan
from mmreid_gcl.visualization.canvas import check_figure_path
from mmreid_gcl.work_dir import holder

ROOT = Path(__file__).resolve().parents[1]


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    commands = parser.add_subparsers(dest='command', required=True)
    common = argparse.ArgumentParser(add_help=False)
    common.add_argument(
        'what',
        nargs='+',
        metavar='TABLE|CONFIG',
        help='a name that "list" shows, or a config: file or name',
    )
    common.add_argument(
        '--dataset',
        choices=list(DATASETS),
        help='default: synthetic; for table1 the three of the paper',
    )
    common.add_argument(
        '--rows',
        nargs='+',
        metavar='PATTERN',
        help="rows of these names alone, such as 'recipe*'",
    )
    common.add_argument(
        '--cfg-options',
        nargs='+',
        action=ConfigOptions,
        help='overrides for all of them, as key=value. "hook." stands for the '
        'PseudoLabelHook: hook.graphs.size=8. Give the same to run and table',
    )
    folder = argparse.ArgumentParser(add_help=False)
    folder.add_argument(
        '--work-dir',
        type=Path,
        default=Path('work_dirs/experiments'),
        help='folder of all runs (%(default)s)',
    )
    seeds = argparse.ArgumentParser(add_help=False)
    seeds.add_argument(
        '--seeds', nargs='+', type=int, help='run: default 1 2 3; table: all there are'
    )

    listed = commands.add_parser('list', help='the tables, or the rows of some')
    listed.add_argument('what', nargs='*', metavar='TABLE', help='show its rows')
    listed.add_argument('--dataset', choices=list(DATASETS))
    run = commands.add_parser(
        'run', parents=[common, folder, seeds], help='run what is not done yet'
    )
    run.add_argument('--jobs', type=int, help='runs at a time; default: one a GPU')
    run.add_argument(
        '--data-root', help="folder of the data; default: the configs' own"
    )
    run.add_argument(
        '--checkpoints',
        choices=['last', 'none'],
        default='last',
        help='what stays of a finished run (%(default)s)',
    )
    run.add_argument(
        '--report-every', type=float, default=60, help='seconds between lines'
    )
    run.add_argument('--dry-run', action='store_true', help='only say what would run')
    table = commands.add_parser(
        'table', parents=[common, folder, seeds], help='print as Markdown'
    )
    table.add_argument(
        '--results',
        nargs='+',
        type=Path,
        help='files of "collect", in place of the work dir',
    )
    table.add_argument(
        '--data-root', help='runs on a folder of data of this name alone'
    )
    table.add_argument(
        '--beside', metavar='ROW', help='compare the mAP of all rows with that of this'
    )
    table.add_argument('--out', type=Path, help='also write the Markdown here')
    add_json_option(table, file=True)
    table.add_argument('--csv', type=Path, help='write all runs as CSV')
    table.add_argument(
        '--figure',
        type=Path,
        help='draw the table: a sweep as lines, others as bars; of several tables '
        'each in a file of its own, with the name of the table',
    )
    collect = commands.add_parser(
        'collect', parents=[folder], help='all results in one file'
    )
    collect.add_argument('--out', type=Path, required=True, help='JSON file to write')
    for made in (listed, run, collect):
        add_json_option(made)
    return parser.parse_args(argv)


def tables_of(args: argparse.Namespace) -> list[Table]:
    """The tables that the command line names; configs make one of their own."""
    tables = [named_table(n, args.dataset) for n in args.what if n in TABLES]
    if args.rows:
        tables = chosen_rows(tables, args.rows)
    configs = [name for name in args.what if name not in TABLES]
    rows = []
    for name in configs:
        try:
            path = find_config(name)
        except FileNotFoundError:
            if not name.endswith('.py'):
                named_table(name)  # says which there are
            raise
        rows.append(Experiment(path.stem, str(path.resolve())))
    if configs:
        tables.append(Table('configs', 'Configs', rows))
    return tables


def chosen_rows(tables: Sequence[Table], patterns: Sequence[str]) -> list[Table]:
    """Tables with the rows that a pattern fits; a ValueError if one fits none."""
    labels = [row.label for table in tables for row in table.rows]
    for pattern in patterns:
        if not any(fnmatch.fnmatchcase(label, pattern) for label in labels):
            raise ValueError(
                f'--rows: no table has a row {pattern!r}. There are: '
                f'{"; ".join(labels) or "no tables, but configs"}.'
            )
    return [
        replace(
            table,
            rows=[
                row
                for row in table.rows
                if any(fnmatch.fnmatchcase(row.label, p) for p in patterns)
            ],
        )
        for table in tables
    ]


def resolve_rows(table: Table, args: argparse.Namespace) -> list:
    """The rows of a table with their configs read."""
    return [resolve(row, ROOT, args.cfg_options) for row in table.rows]


def run(args: argparse.Namespace) -> int:
    """Run; 1 if something failed, 130 if interrupted."""
    resolved = [row for table in tables_of(args) for row in resolve_rows(table, args)]
    seeds = args.seeds or [1, 2, 3]
    jobs = plan(resolved, seeds, args.work_dir.resolve())
    device, gpus = devices()
    settings = Settings(
        root=ROOT,
        jobs=args.jobs or max(1, len(gpus)),
        data_root=str(Path(args.data_root).resolve()) if args.data_root else '',
        device=device,
        gpus=gpus if len(gpus) > 1 else (),
        checkpoints=args.checkpoints,
        report_every=args.report_every,
    )
    if settings.jobs < 1:
        raise ValueError(f'--jobs must be at least 1, got {args.jobs}.')
    if args.dry_run:
        for job in jobs:
            state = 'done' if job.result_file.is_file() else 'to run'
            print(f'{state:7} {job.title}: {job.folder}')
        show_result(args, dict(runs=[_record(job) for job in jobs]))
        return 0
    print(f'{len(jobs)} runs, {settings.jobs} at a time, on {device}', flush=True)
    outcome = Pool(settings, lambda line: print(line, flush=True)).run(jobs)
    for job in outcome.busy:
        who = holder(job.folder) or ''
        print(f'left out, another process runs it{who}: {job.title}: {job.folder}')
    for job, log, reason in outcome.failed:
        print(f'FAILED {job.title}: {reason}\n       log: {log}')
    show_result(
        args,
        dict(
            runs=[_record(job) for job in jobs],
            busy=[job.title for job in outcome.busy],
            failed={job.title: reason for job, _, reason in outcome.failed},
            interrupted=outcome.interrupted,
        ),
    )
    if outcome.interrupted:
        print('Interrupted; the same command goes on from the last checkpoints.')
        return 130
    return 1 if outcome.failed else 0


def _record(job) -> dict:
    """A run as plain values."""
    done = job.result_file.is_file()
    return dict(title=job.title, folder=str(job.folder), done=done)


def devices() -> tuple[str, list[str]]:
    """What this machine computes on, and the names of its GPUs."""
    import torch

    count = torch.cuda.device_count()
    if not count:
        return f'CPU ({platform.processor() or platform.machine()})', []
    visible = os.environ.get('CUDA_VISIBLE_DEVICES')
    names = visible.split(',') if visible else [str(n) for n in range(count)]
    return torch.cuda.get_device_name(0), names[:count]


def show(args: argparse.Namespace) -> int:
    """Print tables."""
    if args.figure:
        check_figure_path(args.figure)
    if args.results:
        results = merge(r for path in args.results for r in read_results(path))
    else:
        results = gather_results(args.work_dir)
        if not results:
            print(
                f'experiments: {args.work_dir} holds no finished run. Give the work '
                'dir of "run", or --results.',
                file=sys.stderr,
            )
    if args.seeds:
        results = [r for r in results if r.seed in args.seeds or not r.epochs]
    if args.data_root:
        name = Path(args.data_root).name
        results = [r for r in results if Path(r.data_root).name == name]
    texts, records, drawn = [], [], []
    tables = tables_of(args)
    if args.beside:
        labels = [row.label for table in tables for row in table.rows]
        if args.beside not in labels:
            raise ValueError(
                f'--beside: no row is called {args.beside!r}. There are: '
                f'{"; ".join(labels)}.'
            )
        tables = [replace(table, base=args.beside) for table in tables]
    for table in tables:
        resolved = resolve_rows(table, args)
        rows = rows_of(table, resolved, results)
        notes = []
        if args.cfg_options:
            notes.append(f'All rows with: {words_of(args.cfg_options)}.')
        if not all(found for _, found in rows):
            notes.append(f'Not run yet: `{run_command(table, args)}`.')
        others = {
            r.name
            for row, found in rows
            for r in results
            if not found and r.name == row.name
        }
        if others:
            notes.append(
                'There are results of other settings, which are left out, of: '
                f'{", ".join(sorted(others))}. The config has changed since, or other '
                '--cfg-options were given.'
            )
        texts.append(to_markdown(table, rows, notes))
        records += to_records(table, rows)
        drawn.append((table, rows))
    text = '\n'.join(texts)
    print(text)
    for path, content in (
        (args.out, text),
        (args.csv, to_csv(records)),
    ):
        if path:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(content, encoding='utf-8')
    show_result(args, dict(runs=records))
    for table, rows in drawn if args.figure else ():
        path = args.figure
        if len(drawn) > 1:
            path = path.with_stem(f'{path.stem}-{table.name}')
        draw(table, rows, path, args.cfg_options)
    return 0


def words_of(options: dict) -> str:
    """Overrides as they are typed, in backquotes."""
    return ', '.join(f'`{key}={value}`' for key, value in options.items())


def run_command(table: Table, args: argparse.Namespace) -> str:
    """What runs the rows of a table that are missing."""
    if table.name in TABLES:
        words = [table.name]
    else:  # configs of the command line
        words = [name for name in args.what if name not in TABLES]
    command = [f'{tool_command("experiments")} run', *words]
    if args.dataset:
        command.append(f'--dataset {args.dataset}')
    if args.rows:
        command.append(f'--rows {shlex.join(args.rows)}')
    if args.cfg_options:
        command.append('--cfg-options')
        command += [f'{key}={value}' for key, value in args.cfg_options.items()]
    return ' '.join(command)


def draw(table: Table, rows: list, path: Path, options: dict | None) -> None:
    """A sweep as figure 5, another table as bars."""
    from mmreid_gcl.experiments.drawing import draw_table
    from mmreid_gcl.visualization import save_figure

    default = None
    if table.parameter:  # the row that changes nothing
        plain = Experiment('', table.rows[0].config)
        same = resolve(plain, ROOT, options).fingerprint
        pairs = zip(table.rows, rows)
        default = next((e.value for e, (r, _) in pairs if r.fingerprint == same), None)
    words = ', '.join(f'{key}={value}' for key, value in (options or {}).items())
    figure = draw_table(table, rows, default, f'With {words}.' if words else '')
    print(f'Written: {save_figure(figure, path)}', file=sys.stderr)


def collect(args: argparse.Namespace) -> int:
    """All results in one file."""
    results = gather_results(args.work_dir)
    if not results:
        raise ValueError(
            f'{args.work_dir} holds no finished run (<experiment>/seed<n>/result.json).'
        )
    write_results(args.out, results)
    print(f'{len(results)} results: {args.out}')
    show_result(args, dict(file=args.out, results=len(results)))
    return 0


def names(args: argparse.Namespace) -> int:
    """The tables and how many rows they have, or the rows of some."""
    known = {}
    for name in args.what or TABLES:
        try:
            table = named_table(name, args.dataset)
        except ValueError as error:  # no configs for this data set
            if args.what:
                raise
            print(f'{name:20}  –       {error}')
            continue
        known[table.name] = dict(
            title=table.title,
            rows=[
                dict(
                    label=row.label,
                    config=row.config,
                    options=row.options,
                    measure=row.measure,
                )
                for row in table.rows
            ],
        )
        if not args.what:
            print(f'{name:20} {len(table.rows):2} rows  {table.title}')
            continue
        print(f'{table.name}: {table.title}')
        for row in table.rows:
            options = ' '.join(f'{key}={value}' for key, value in row.options.items())
            if row.measure != 'training':
                options = f'({row.measure})'
            print(f'  {row.label:48} {row.config} {options}'.rstrip())
    show_result(args, dict(tables=known))
    return 0


@tool
def main(argv: Sequence[str] | None = None) -> int:
    """Do what the command line says."""
    args = parse_args(argv)
    commands = dict(list=names, run=run, table=show, collect=collect)
    return commands[args.command](args)


if __name__ == '__main__':
    sys.exit(main())
