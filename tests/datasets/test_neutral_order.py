# SPDX-License-Identifier: Apache-2.0
import random
from pathlib import Path

import pytest

from mmreid_gcl.datasets import ReIDDataset
from mmreid_gcl.datasets.neutral_order import neutral_order


def sample(path, camid, sequence, frame):
    return dict(img_path=str(path), camid=camid, sequence=sequence, frame=frame)


def write(folder, contents):
    for name, content in contents.items():
        (folder / name).write_bytes(content)
    return folder


def test_camera_sequence_frame():
    """Numbers, not text: 9 comes before 10. No file is read without a tie."""
    moments = [(0, 1, 9), (0, 1, 10), (0, 2, 3), (1, 0, 0), (10, 0, 0)]
    samples = [sample(f'not/there/{9 - i}.jpg', *m) for i, m in enumerate(moments)]
    for seed in range(5):
        shuffled = samples[:]
        random.Random(seed).shuffle(shuffled)
        assert neutral_order(shuffled) == samples


def test_all_samples_stay(tmp_path):
    write(tmp_path, {f'{i}.jpg': bytes([i]) for i in range(6)})
    samples = [sample(tmp_path / f'{i}.jpg', i % 2, -1, -1) for i in range(6)]
    given = samples[:]
    ordered = neutral_order(samples)
    assert samples == given
    assert sorted(s['img_path'] for s in ordered) == [s['img_path'] for s in given]
    assert [s['camid'] for s in ordered] == [0, 0, 0, 1, 1, 1]


@pytest.mark.parametrize('seed', range(5))
def test_names_play_no_part(tmp_path, seed):
    """The same images under other names come in the same order."""
    contents = [bytes([i, 7 * i % 251]) for i in range(12)]
    names = [f'{i:04d}.jpg' for i in range(12)]
    orders = []
    for attempt in range(2):
        folder = tmp_path / str(attempt)
        folder.mkdir()
        if attempt:
            random.Random(seed).shuffle(names)
        write(folder, dict(zip(names, contents)))
        # the folder is read in the order of the names, as a data set does
        content_of = dict(zip(names, range(12)))
        samples = [sample(folder / n, 0, -1, content_of[n] // 6) for n in sorted(names)]
        orders.append(
            [(folder / s['img_path']).read_bytes() for s in neutral_order(samples)]
        )
    assert orders[0] == orders[1]


def test_checksums_decide_ties(tmp_path):
    """Not the size, and not the bytes in their order: 'b' is before 'a' here."""
    import zlib

    contents = {f'{c}.jpg': c.encode() for c in 'abcdef'}
    write(tmp_path, contents)
    samples = [sample(tmp_path / name, 1, 1, 1) for name in contents]
    expected = sorted(contents, key=lambda name: zlib.crc32(contents[name]))
    ordered = [s['img_path'].rsplit('/', 1)[1] for s in neutral_order(samples)]
    assert ordered == expected != list(contents)


def test_images_whose_crc_collides(tmp_path, monkeypatch):
    """Their names still play no part."""
    import zlib

    monkeypatch.setattr(zlib, 'crc32', lambda data: 7)
    orders = []
    for names in ('abcdef', 'fedcba'):
        folder = tmp_path / names
        folder.mkdir()
        write(folder, {f'{name}.jpg': bytes([i]) for i, name in enumerate(names)})
        samples = [sample(folder / f'{name}.jpg', 0, 0, 0) for name in 'abcdef']
        ordered = neutral_order(samples, workers=3)
        orders.append([Path(s['img_path']).read_bytes() for s in ordered])
    assert orders[0] == orders[1]


def test_many_ties_are_said(tmp_path, monkeypatch, log_lines, capsys):
    from mmreid_gcl.datasets import neutral_order as module

    write(tmp_path, {f'{i}.jpg': bytes([i]) for i in range(4)})
    samples = [sample(tmp_path / f'{i}.jpg', 0, 0, i // 2) for i in range(4)]
    neutral_order(samples)
    assert not log_lines and not capsys.readouterr().err
    monkeypatch.setattr(module, 'MANY', 4)
    assert [s['frame'] for s in neutral_order(samples)] == [0, 0, 1, 1]
    ((level, line),) = log_lines
    assert level == 'INFO' and line.startswith('4 of 4 training images share')
    assert 'order: 100%' in capsys.readouterr().err


class Named(ReIDDataset):
    def load_data_list(self):
        return [
            sample(f'{self.data_root}/{name}.jpg', 0, 0, frame)
            | dict(pid=0, is_query=False)
            for name, frame in (('a', 3), ('b', 1), ('c', 2))
        ]


@pytest.mark.parametrize('split', ['train', 'query', 'gallery', 'test'])
def test_training_images_alone_are_reordered(tmp_path, split):
    paths = Named(str(tmp_path), split=split).column('img_path')
    names = [path[-5] for path in paths]
    assert names == (['b', 'c', 'a'] if split == 'train' else ['a', 'b', 'c'])
