# SPDX-License-Identifier: Apache-2.0
"""The commands and the code of docs/own_data.md, one after the other."""

import re
import shlex
import shutil
import sys
from pathlib import Path

import cv2
import pytest
from mmengine.runner import Runner

from mmreid_gcl.apis import load_config
from mmreid_gcl.datasets import PersonFolder
from tests.apis.tiny import draw, write

from .conftest import TOOLS
from .small import write_small_config

DOC = TOOLS.parent / 'docs' / 'own_data.md'
BLOCKS = re.findall(r'```(\w+)\n(.*?)```', DOC.read_text(encoding='utf-8'), re.S)
TRAINED = Path('work_dirs/gcl_folder')


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A working directory with crops, and a small config of the same name."""
    monkeypatch.chdir(tmp_path)
    write_small_config(Path('configs/gcl_folder.py'))
    for number in range(1, 41):
        for camera, name in enumerate(('entrance', 'hall')):
            image = cv2.imencode('.jpg', draw(number % 8, 100 * camera + number))[1]
            path = Path('crops') / name / f'{number:06d}.jpg'
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(image.tobytes())
    codec = cv2.VideoWriter_fourcc(*'MJPG')
    writer = cv2.VideoWriter('hall.avi', codec, 5, (64, 48))
    for number in range(30):
        writer.write(draw(0, number, 48, 64))
    writer.release()
    boxes = [f'{frame},12,8,4,20,40,1' for frame in range(1, 31)]
    Path('hall.txt').write_text('\n'.join(boxes))
    for person in range(8):
        part = f'person-{person}/1.png'
        write(Path('labelled/query/entrance') / part, draw(person, 1000))
        write(Path('labelled/gallery/hall') / part, draw(person, 1001))
    return tmp_path


def run_command(load_tool, monkeypatch, words):
    assert words[0] == 'python'
    name = words[1].removeprefix('tools/').removesuffix('.py')
    # converting to ONNX takes longer than all the rest; test_export.py does it
    words = [word.replace('model.onnx', 'model.pt') for word in words]
    monkeypatch.setattr(sys, 'argv', words[1:])
    assert not load_tool(name).main(), words
    if name == 'train':  # as if it had had all its epochs
        shutil.copy(TRAINED / 'epoch_2.pth', TRAINED / 'epoch_60.pth')


def test_the_page(load_tool, folder, monkeypatch, capsys):
    namespace = {}
    done = []
    for language, code in BLOCKS:
        if language == 'bash':
            for line in code.strip().splitlines():
                run_command(load_tool, monkeypatch, shlex.split(line))
                done.append(line.split()[1])
        elif language == 'python' and code.startswith('# my_folder.py'):
            Path('my_folder.py').write_text(code)
        elif language == 'python':
            exec(compile(code, str(DOC), 'exec'), namespace)
    assert len(done) == 15
    assert len(list(Path('site/hall/track_000012').iterdir())) == 20
    written = ['browse.png', 'clusters/clusters.csv', 'clusters/sheet_001.png']
    written += ['found.csv', 'found.png', 'gallery/index.faiss', 'features.npz']
    written += ['test.npz', 'model.pt', 'similarities.png']
    assert [name for name in written if not Path(name).is_file()] == []
    assert len(list(folder.glob('my_model-????????.pth'))) == 1
    assert '80 embedded, 0 could not be read' in capsys.readouterr().out
    assert namespace['embeddings'].shape == (4, namespace['features'].shape[1])

    cfg = load_config('my_folder.py')
    assert Runner.from_cfg(cfg).val_loop.evaluator.metrics
    dataset = dict(cfg.val_dataloader.dataset)
    assert dataset.pop('type') == 'PersonFolder' and dataset.pop('pipeline')
    assert len(PersonFolder(**dataset)) == 16


def test_messages_of_the_table_exist():
    text = DOC.read_text(encoding='utf-8')
    table = text[text.index('| message |') :]
    quoted = re.findall(
        r'`([^`]+)`', ' '.join(r.split('|')[1] for r in table.splitlines())
    )
    sources = ' '.join(
        re.sub(r"'\s+f?'", '', path.read_text(encoding='utf-8'))
        for path in (TOOLS.parent / 'mmreid_gcl').rglob('*.py')
    )
    assert len(quoted) == 8
    assert [message for message in quoted if message not in sources] == []
