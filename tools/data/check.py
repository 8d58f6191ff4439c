# SPDX-License-Identifier: Apache-2.0
"""Read a whole data set before a long run.

``python tools/data/check.py Market1501 data/Market-1501-v15.09.15`` or
``python tools/data/check.py configs/gcl_market.py``. Every image is decoded.
Exit code 0: nothing stops a run; 1: something does; 2: wrong arguments.
"""

from __future__ import annotations

import argparse
import csv
import sys
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from functools import partial
from pathlib import Path

import numpy as np

from mmreid_gcl.apis import load_config
from mmreid_gcl.cli.command_line import (
    add_dataset_options,
    add_json_option,
    say,
    show_result,
    tool,
)
from mmreid_gcl.config.packaged import UnknownNameError, find_config
from mmreid_gcl.config_parts import find_pseudo_label_hook
from mmreid_gcl.datasets import UNKNOWN, ReIDDataset
from mmreid_gcl.datasets.inspection import ImageReport, inspect_image
from mmreid_gcl.datasets.person_folder import NoImagesError
from mmreid_gcl.parallel import map_with_bar, num_threads
from mmreid_gcl.registry import DATASETS

PARTS = ('train', 'query', 'gallery')
COLUMNS = (
    *('path', 'split', 'pid', 'camid', 'camera', 'sequence', 'frame', 'width'),
    *('height', 'mode', 'checksum', 'errors', 'remarks'),
)
#: How many images a finding shows.
SHOWN = 3


class Findings:
    """Errors and remarks: each a text and the images that it concerns."""

    def __init__(self) -> None:
        self.errors: dict[str, list[str]] = defaultdict(list)
        self.remarks: dict[str, list[str]] = defaultdict(list)

    def print(self) -> None:
        """All of them, the most frequent first."""
        for title, found in (('ERROR', self.errors), ('remark', self.remarks)):
            for text, paths in sorted(found.items(), key=lambda item: -len(item[1])):
                number = f' ({len(paths):,})' if paths else ''
                say(f'{title}: {text}{number}')
                for path in paths[:SHOWN]:
                    say(f'    {path}')
                if len(paths) > SHOWN:
                    say('    …')


def parse_args(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(
        description='Read a whole data set before a long run: counts, cameras, '
        'sizes, unreadable and duplicate images, suspicious names. Exit code 1 if '
        'something would stop or spoil the run.'
    )
    parser.add_argument(
        'source', help='a config file or name, or a type: Market1501, PersonFolder, …'
    )
    parser.add_argument('data_root', nargs='?', help='folder of the data set')
    parser.add_argument('--out', help='CSV file to write, one line an image')
    parser.add_argument('--workers', type=int, default=num_threads(), help='threads')
    parser.add_argument(
        '--min-size',
        nargs=2,
        type=int,
        default=(32, 16),
        metavar=('HEIGHT', 'WIDTH'),
        help='smaller crops are called tiny; default 32 16',
    )
    add_dataset_options(parser)
    add_json_option(parser)
    args = parser.parse_args(arguments)
    name = args.source.split('.')[-1]
    args.is_config = not isinstance(DATASETS.get(name), type)  # modules are found too
    if args.is_config:
        try:
            args.source = str(find_config(args.source))
        except UnknownNameError as error:
            known = sorted(
                name
                for name, kind in DATASETS.module_dict.items()
                if issubclass(kind, ReIDDataset)
            )
            parser.error(f'{error} The types are {", ".join(known)}.')
    elif args.data_root is None:
        parser.error(f'{args.source} needs the folder of the data set after it')
    if args.out and not Path(args.out).resolve().parent.is_dir():
        parser.error(f'--out: there is no folder {Path(args.out).resolve().parent}')
    return args


def dataset_configs(
    args: argparse.Namespace,
) -> tuple[list[dict], list[dict], bool]:
    """Configs of the data sets to read, each once, without a pipeline.

    Returns also those of them that a training evaluates on, and whether graphs of the
    config follow an order of time.
    """
    needed, order = [], None
    if not args.is_config:
        base = {'type': args.source, 'data_root': args.data_root, **args.options}
        found = [{**base, 'split': part} for part in PARTS]
    else:
        root = {'data_root': args.data_root} if args.data_root else None
        cfg = load_config(args.source, root)
        if (cfg.get('model') or {}).get('relation_neck'):
            order = (find_pseudo_label_hook(cfg).get('graphs') or {}).get('order')
        loaders = [cfg.get(f'{name}_dataloader') for name in ('train', 'val', 'test')]
        found = [loader.dataset.to_dict() for loader in loaders if loader]
        needed = [loader.dataset.to_dict() for loader in loaders[1:2] if loader]
    configs: list[dict] = []
    for config in map(without_pipeline, expand(found)):
        if config not in configs:
            configs.append(config)
    evaluated = list(map(without_pipeline, expand(needed)))
    return configs, evaluated, order == 'camera_time'


def without_pipeline(config: dict) -> dict:
    """A data set that is listed and not loaded."""
    config = {**config, 'pipeline': [], 'lazy_init': False}
    config.pop('test_mode', None)
    return config


def expand(found: Iterable[dict]) -> Iterator[dict]:
    """The data sets inside of a ConcatDataset, one by one."""
    for config in found:
        inner = config.get('datasets')
        if not inner:
            yield config
            continue
        if config.get('data_root'):
            raise ValueError(
                'this config joins several data sets; give each its data_root in the '
                'config.'
            )
        shared = {k: config[k] for k in ('split', 'pipeline') if k in config}
        yield from expand({**shared, **item} for item in inner)


def load_parts(
    configs: Iterable[dict],
    needed: Sequence[dict],
    findings: Findings,
    uses_time: bool,
) -> dict[str, list[dict]]:
    """Samples of each split; a split that cannot be listed is an error.

    A folder of crops needs not have all splits, but those in ``needed``.
    """
    parts: dict[str, list[dict]] = {}
    missing = []
    for config in configs:
        try:
            dataset = DATASETS.build(config)
        except (OSError, ValueError, TypeError, ImportError) as error:
            if isinstance(error, NoImagesError) and config not in needed:
                missing.append((config.get('split', 'train'), str(error)))
            else:
                # what is wrong with the folder is wrong with all splits: said once
                known = [text.partition(': ')[2] for text in findings.errors]
                if str(error) not in known:
                    findings.errors[f'{config.get("split", "train")}: {error}'] = []
            continue
        if dataset.split == 'train' and dataset.times_from_names and uses_time:
            text = 'train has no times: the natural order of names is taken for it'
            findings.remarks[text] = []
        for index in range(len(dataset)):
            sample = dataset.get_data_info(index)
            sample['camera'] = dataset.camera_name(sample['camid'])
            part = 'query' if sample['is_query'] else 'gallery'
            part = 'train' if dataset.split == 'train' else part
            parts.setdefault(part, []).append(sample)
    for part, error in missing:
        if parts:  # nobody needs labels to train, or a training set to evaluate
            use = 'training' if part == 'train' else 'evaluation'
            say(f'No {part} images, so no {use}: none are needed.')
        elif not findings.errors:
            findings.errors[error] = []
    return {part: parts[part] for part in PARTS if part in parts}


def inspect_all(
    paths: Sequence[str], min_size: tuple[int, int], workers: int
) -> Iterator[tuple[str, ImageReport]]:
    """Inspect images in parallel, with a bar; decoding frees the interpreter."""
    style = dict(unit=' images', smoothing=0.05, disable=not paths)
    inspect = partial(inspect_image, min_size=min_size)
    return map_with_bar(inspect, paths, workers, **style)


def check_images(reports: dict[str, ImageReport], findings: Findings) -> None:
    """What is wrong with single images."""
    for path, report in reports.items():
        for found, texts in (
            (findings.errors, report.errors),
            (findings.remarks, report.remarks),
        ):
            for text in texts:
                kind, _, detail = text.partition(' (')
                found[kind].append(f'{path} ({detail}' if detail else path)


def check_duplicates(
    parts: dict[str, list[dict]], reports: dict[str, ImageReport], findings: Findings
) -> None:
    """The same pixels more than once, within a split and across splits."""
    copies: dict[str, list[tuple[str, dict]]] = defaultdict(list)
    for part, samples in parts.items():
        for sample in samples:
            checksum = reports[sample['img_path']].checksum
            if checksum:
                copies[checksum].append((part, sample))
    for same in copies.values():
        if len(same) == 1:
            continue
        text = ' = '.join(sample['img_path'] for _, sample in same)
        where = {part for part, _ in same}
        if 'train' in where and len(where) > 1:
            findings.errors['the same image in train and test'].append(text)
        elif len(where) > 1:
            findings.remarks['the same image in query and gallery'].append(text)
        # Identities of train and test are numbered apart in some data sets.
        sides: dict[bool, set[int]] = defaultdict(set)
        for part, sample in same:
            if sample['pid'] > 0:
                sides[part == 'train'].add(sample['pid'])
        if any(len(pids) > 1 for pids in sides.values()):
            findings.errors['the same image under two identities'].append(text)
        if max(Counter(part for part, _ in same).values()) > 1:
            findings.remarks['the same image twice in one split'].append(text)


def check_sets(
    parts: dict[str, list[dict]], findings: Findings, uses_time: bool
) -> None:
    """What is wrong with the splits as a whole.

    ``uses_time``: whether the training puts images into an order of time.
    """
    if 'train' in parts:
        train = parts['train']
        if len({sample['camid'] for sample in train}) == 1:
            findings.remarks['train has one camera only'] = []
        if uses_time and all(s['frame'] == s['sequence'] == UNKNOWN for s in train):
            text = 'train has no times: the order camera_time is one by camera alone'
            findings.remarks[text] = []
    if 'query' in parts and 'gallery' in parts:
        cameras = defaultdict(set)
        for sample in parts['gallery']:
            cameras[sample['pid']].add(sample['camid'])
        alone = [
            sample['img_path']
            for sample in parts['query']
            if not cameras[sample['pid']] - {sample['camid']}
        ]
        if len(alone) == len(parts['query']):
            text = 'no query has a match in another camera: nothing to evaluate'
            findings.errors[text] = alone
        elif alone:
            text = 'query without a match in another camera (left out of the scores)'
            findings.remarks[text] = alone
    folded: dict[str, set[str]] = defaultdict(set)
    for samples in parts.values():
        for sample in samples:
            folded[sample['img_path'].casefold()].add(sample['img_path'])
    for paths in folded.values():
        if len(paths) > 1:
            text = 'names that differ in upper and lower case only'
            findings.remarks[text].append(' / '.join(sorted(paths)))


def counts_of(samples: list[dict]) -> dict[str, int]:
    """What there is in a split."""
    pids = Counter(sample['pid'] for sample in samples)
    unlabelled = pids.pop(-1, 0)
    return dict(
        images=len(samples),
        identities=len(pids),
        unlabelled=unlabelled,
        cameras=len({sample['camid'] for sample in samples}),
    )


def print_table(
    parts: dict[str, list[dict]],
    reports: dict[str, ImageReport],
) -> None:
    """Counts and sizes of each split, then images per camera."""
    header = 'split|images|identities|unlabelled|cameras|height|width'
    rows = [header.split('|')]
    for part, samples in parts.items():
        found = [reports[sample['img_path']] for sample in samples]
        rows.append(
            [
                part,
                *(f'{number:,}' for number in counts_of(samples).values()),
                _spread([report.height for report in found if report.height]),
                _spread([report.width for report in found if report.width]),
            ]
        )
    _print_rows(rows)
    say('(height, width: least / median / greatest, in pixels)\n')
    counts = {
        part: Counter((sample['camid'], sample['camera']) for sample in samples)
        for part, samples in parts.items()
    }
    rows = [['camera = camid', *parts]]
    for camid, name in sorted(set().union(*counts.values())):
        numbers = (count[camid, name] for count in counts.values())
        rows.append([f'{name} = {camid}', *(f'{number:,}' for number in numbers)])
    _print_rows(rows)
    say('')


def _spread(values: list[int]) -> str:
    if not values:
        return '–'
    return f'{min(values)} / {np.median(values):g} / {max(values)}'


def _print_rows(rows: list[list[str]]) -> None:
    widths = [max(map(len, column)) for column in zip(*rows)]
    for row in rows:
        say('  '.join(f'{cell:>{width}}' for cell, width in zip(row, widths)))


def write_csv(
    path: str, parts: dict[str, list[dict]], reports: dict[str, ImageReport]
) -> None:
    """One line for each image of each split."""
    with open(
        path, 'w', newline='', encoding='utf-8', errors='surrogateescape'
    ) as file:
        writer = csv.writer(file)
        writer.writerow(COLUMNS)
        for part, samples in parts.items():
            for sample in samples:
                report = reports[sample['img_path']]
                times = [
                    '' if sample[name] == UNKNOWN else sample[name]
                    for name in ('sequence', 'frame')
                ]
                writer.writerow(
                    [
                        sample['img_path'],
                        part,
                        sample['pid'],
                        sample['camid'],
                        sample['camera'],
                        *times,
                        report.width or '',
                        report.height or '',
                        report.mode,
                        report.checksum,
                        '; '.join(report.errors),
                        '; '.join(report.remarks),
                    ]
                )


@tool
def main(argv: Sequence[str] | None = None) -> int:
    """Check and print."""
    args = parse_args(argv)
    findings = Findings()
    try:
        configs, needed, uses_time = dataset_configs(args)
    except Exception as error:  # a config is a program: it raises all kinds
        kind = type(error).__name__
        print(f'check: {args.source}: {kind}: {error}', file=sys.stderr)
        return 2
    parts = load_parts(configs, needed, findings, uses_time)
    paths = sorted({s['img_path'] for samples in parts.values() for s in samples})
    reports = dict(inspect_all(paths, tuple(args.min_size), args.workers))
    check_images(reports, findings)
    check_duplicates(parts, reports, findings)
    check_sets(parts, findings, uses_time)
    if parts:
        print_table(parts, reports)
    if args.out:
        write_csv(args.out, parts, reports)
        say(f'Written: {args.out}\n')
    findings.print()
    number = len(findings.errors)
    result = f'{number} error{"s" * (number > 1)}.' if number else 'good.'
    say(f'{len(paths):,} images read: {result}')
    show_result(
        args,
        dict(
            good=not number,
            images=len(paths),
            splits={part: counts_of(samples) for part, samples in parts.items()},
            errors=findings.errors,
            remarks=findings.remarks,
            file=args.out,
        ),
    )
    return 1 if number else 0


if __name__ == '__main__':
    sys.exit(main())
