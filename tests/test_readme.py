# SPDX-License-Identifier: Apache-2.0
"""The README's code blocks, run in its order in an empty folder.

The commands run as they stand; training gets options behind them that make
it small (a narrow ResNet-18, two batches, no pretrained weights).
"""

import os
import re
import shutil
import subprocess
import sys

import cv2
import pytest

from .synthetic_training import ROOT, write_people

SMALL = [
    'model.backbone.depth=18',
    'model.backbone.stem_channels=8',
    'model.backbone.base_channels=8',
    'model.backbone.init_cfg=None',
    'model.neck.in_channels=64',
]
SMALL_HEADS = {  # of the recipe, of GCL
    True: ['model.head.0.in_channels=64', 'model.head.1.in_channels=64'],
    False: [
        'model.head.in_channels=64',
        'model.relation_neck.in_channels=64',
        'model.relation_head.in_channels=128',
    ],
}
SMALL_TRAINING = [
    'train_dataloader.sampler.num_identities=4',
    'train_dataloader.sampler.num_instances=4',
    'train_dataloader.sampler.num_batches=2',
    'train_dataloader.num_workers=0',
    'train_dataloader.persistent_workers=False',
    'train_cfg.max_epochs=1',
    'default_hooks.pseudo_labels.clusterer.min_samples=2',
    'default_hooks.pseudo_labels.clusterer.k1=6',
    'default_hooks.pseudo_labels.extract.num_workers=0',
]
SMALL_TEST = [
    'test_dataloader.num_workers=0',
    'test_dataloader.persistent_workers=False',
]
SMALL_VAL = ['val_dataloader.num_workers=0', 'val_dataloader.persistent_workers=False']


def blocks(language: str) -> list[str]:
    """The README's fenced blocks of a language."""
    text = (ROOT / 'README.md').read_text()
    return re.findall(rf'^```{language}\n(.*?)^```', text, re.M | re.S)


def commands() -> list[str]:
    """The lines of the bash blocks, but for the two make commands."""
    lines = [line for block in blocks('bash') for line in block.splitlines()]
    return [line for line in lines if line.strip() and not line.startswith('make ')]


def shrunk(command: str) -> str:
    """The command, with options behind it that make a training small."""
    if 'train' not in command and 'test.py' not in command:
        return command
    options = SMALL + SMALL_HEADS['folder' in command]
    if 'train' in command:
        options += SMALL_TRAINING
    if 'folder' not in command:
        options += SMALL_VAL + SMALL_TEST
    head = '' if '--cfg-options' in command else ' --cfg-options'
    return f'{command}{head} {" ".join(options)}'


@pytest.fixture(scope='module')
def checkout(tmp_path_factory):
    """A folder with the repository's tools and configs, and small data sets."""
    folder = tmp_path_factory.mktemp('checkout')
    for name in ('configs', 'tools', 'mmreid_gcl'):
        (folder / name).symlink_to(ROOT / name)
    people = write_people(folder / 'data' / 'market1501')
    crops = sorted((people / 'bounding_box_train').iterdir())
    for crop in crops:
        camera = folder / 'data' / 'crops' / crop.name.split('_')[1][:2]
        camera.mkdir(parents=True, exist_ok=True)
        shutil.copy(crop, camera / crop.name.split('_', 2)[2])
    cv2.imwrite(str(folder / 'data' / 'query.jpg'), cv2.imread(str(crops[0])))
    return folder


def run(command: str, folder) -> str:
    """Run a line as a user with an activated environment would."""
    bin_folder = os.path.dirname(sys.executable)
    environment = dict(
        os.environ,
        PATH=f'{bin_folder}{os.pathsep}{os.environ["PATH"]}',
        OMP_NUM_THREADS='1',
        PORT='29517',
    )
    done = subprocess.run(
        ['bash', '-c', command],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, (
        f'{command}\n{done.stdout[-2000:]}\n{done.stderr[-3000:]}'
    )
    return done.stdout + done.stderr


def test_there_are_blocks_to_run():
    assert len(commands()) >= 5
    assert len(blocks('python')) >= 2
    assert blocks('bash')[0].startswith('make demo')


@pytest.mark.timeout(900)
def test_all_blocks_in_order(checkout):
    for command in commands():
        run(shrunk(command), checkout)
    assert (checkout / 'work_dirs/gcl_folder/epoch_1.pth').is_file()
    # the README's checkpoint is that of a whole training
    shutil.copy(
        checkout / 'work_dirs/gcl_folder/epoch_1.pth',
        checkout / 'work_dirs/gcl_folder/epoch_60.pth',
    )
    narrow_config(checkout)
    script = checkout / 'block.py'
    for block in blocks('python'):
        script.write_text(block)
        output = run('python block.py', checkout)
        if 'clusters' in block:
            assert '20 clusters' in output


def narrow_config(checkout) -> None:
    """Give the Python block, which takes no options, the small model's config."""
    from mmreid_gcl.apis import load_config

    options = dict(option.split('=') for option in SMALL + SMALL_HEADS[True])
    options = {
        key: None if value == 'None' else int(value) for key, value in options.items()
    }
    cfg = load_config(str(ROOT / 'configs/gcl_folder.py'), options)
    (checkout / 'configs').unlink()
    (checkout / 'configs').mkdir()
    cfg.dump(str(checkout / 'configs/gcl_folder.py'))
