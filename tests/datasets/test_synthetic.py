# SPDX-License-Identifier: Apache-2.0
import hashlib
import json
import math
import os
import re
import subprocess
import sys
from collections import Counter, defaultdict
from dataclasses import fields, replace

import cv2
import numpy as np
import pytest

from mmreid_gcl.datasets import Market1501
from mmreid_gcl.datasets.synthetic import (
    MANIFEST,
    WORLDS,
    Difficulty,
    Layout,
    World,
    finished_manifest,
    plan_tracklets,
    sample_camera,
    sample_person,
    write_synthetic,
)
from mmreid_gcl.datasets.synthetic.appearance import PATTERNS, WARDROBES, Cloth
from mmreid_gcl.datasets.synthetic.body import project, walking_joints
from mmreid_gcl.datasets.synthetic.figure import draw_person
from mmreid_gcl.datasets.synthetic.textures import pattern_mask
from mmreid_gcl.visualization import figure_to_image
from tools.data.make_synthetic import contact_sheet, difficulty_of, main

TINY = Layout(
    num_train_ids=4,
    num_test_ids=3,
    num_cameras=3,
    tracklet_length=3,
    distractors=0.4,
    junk=0.3,
)
SMALL = dict(height=48, width=24, progress=False)
FOLDERS = ('bounding_box_train', 'query', 'bounding_box_test')
# Written anew from the data set's description, not taken from the code.
NAME = re.compile(
    r'^(?P<pid>-1|\d{4,})_c(?P<cam>\d)s(?P<seq>\d)_(?P<frame>\d{6})_(?P<box>\d{2})\.jpg$'
)


def digest(root):
    """Content of every file by its path."""
    return {
        str(path.relative_to(root)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(root.rglob('*'))
        if path.is_file()
    }


def parse(folder):
    shots = []
    for path in sorted(folder.iterdir()):
        match = NAME.match(path.name)
        assert match, path.name
        shots.append({key: int(value) for key, value in match.groupdict().items()})
    return shots


@pytest.fixture(scope='module')
def root(tmp_path_factory):
    out = tmp_path_factory.mktemp('synthetic') / 'set'
    write_synthetic(out, TINY, seed=3, workers=1, **SMALL)
    return out


def test_same_bytes_with_any_number_of_workers(root, tmp_path):
    manifest = write_synthetic(tmp_path / 'b', TINY, seed=3, workers=3, **SMALL)
    assert manifest['rendered']
    assert digest(root) == digest(tmp_path / 'b')


def test_another_seed_gives_other_images(root, tmp_path):
    write_synthetic(tmp_path / 'c', TINY, seed=4, workers=1, **SMALL)
    old, new = digest(root), digest(tmp_path / 'c')
    assert not {h for k, h in old.items() if k.endswith('jpg')} & set(new.values())


def test_names_and_counts(root):
    manifest = json.loads((root / MANIFEST).read_text())
    shots = {name: parse(root / name) for name in FOLDERS}
    for name in FOLDERS:
        assert len(shots[name]) == manifest['counts']['images'][name] > 0
        pids = {shot['pid'] for shot in shots[name]} - {0, -1}
        assert len(pids) == manifest['counts']['identities'][name]
        assert {shot['cam'] for shot in shots[name]} <= {1, 2, 3}
    gallery = Counter(shot['pid'] for shot in shots[FOLDERS[2]])
    assert gallery[0] == manifest['counts']['distractors'] > 0
    assert gallery[-1] == manifest['counts']['junk'] > 0
    assert not {0, -1} & {s['pid'] for f in FOLDERS[:2] for s in shots[f]}
    assert sorted(os.listdir(root)) == sorted([*FOLDERS, MANIFEST, 'tracks.csv'])


def test_images_have_the_size_asked_for(root):
    for name in FOLDERS:
        for path in (root / name).iterdir():
            image = cv2.imread(str(path))
            assert image.shape == (48, 24, 3)
            assert image.std() > 5


def test_identities_of_training_and_test_are_disjoint(root):
    pids = {n: {s['pid'] for s in parse(root / n)} - {0, -1} for n in FOLDERS}
    assert len(pids[FOLDERS[0]]) == 4
    assert len(pids[FOLDERS[2]]) == 3
    assert pids[FOLDERS[1]] == pids[FOLDERS[2]]
    assert not pids[FOLDERS[0]] & pids[FOLDERS[2]]


def test_one_query_per_identity_and_camera_with_a_match_elsewhere(root):
    queries = parse(root / FOLDERS[1])
    seen = defaultdict(set)
    for shot in parse(root / FOLDERS[2]):
        seen[shot['pid']].add(shot['cam'])
    pairs = [(shot['pid'], shot['cam']) for shot in queries]
    assert len(set(pairs)) == len(pairs)
    assert set(pairs) == {(p, c) for p in seen if p > 0 for c in seen[p]}
    for pid, cam in pairs:
        assert seen[pid] - {cam}


def test_read_by_market1501(root):
    counts = finished_manifest(root)['counts']
    train = Market1501(str(root), split='train')
    gallery = Market1501(str(root), split='gallery')
    assert len(train) == counts['images'][FOLDERS[0]]
    assert len(gallery) == counts['images'][FOLDERS[2]] - counts['junk']
    assert set(train.column('camid')) <= {0, 1, 2}


def test_a_track_is_one_passage_and_its_number_tells_nothing(root):
    lines = (root / 'tracks.csv').read_text().splitlines()
    assert lines[0] == 'path,track'
    given = dict(line.rsplit(',', 1) for line in lines[1:])
    planned = plan_tracklets(TINY, 3)
    images = {}
    for tracklet in planned:
        paths = [f'{folder}/{name}' for folder, name in tracklet.names()]
        assert len({given[path] for path in paths}) == 1
        images[tracklet.camera, int(given[paths[0]])] = len(paths)
    # one number each, 1, 2, ... in a camera
    per_camera = Counter(t.camera for t in planned)
    assert set(images) == {(c, n + 1) for c in per_camera for n in range(per_camera[c])}
    assert sum(images.values()) == len(given)
    # neither in the order of people nor in that of time
    dealt = [int(given['/'.join(next(t.names()))]) for t in planned if t.camera == 1]
    assert dealt != sorted(dealt)
    for split in ('train', 'test'):
        dataset = Market1501(str(root), split=split)
        groups = defaultdict(set)
        for track, camid, path in zip(
            dataset.column('track').tolist(),
            dataset.column('camid').tolist(),
            dataset.column('img_path').tolist(),
        ):
            groups[track].add((camid, given[os.path.relpath(path, root)]))
        assert sorted(groups) == list(range(len(groups)))
        found = [key for keys in groups.values() for key in keys]
        assert len(found) == len(set(found)) == len(groups)


def test_tracks_are_added_to_a_set_that_has_none(root, tmp_path):
    out = tmp_path / 'set'
    write_synthetic(out, TINY, seed=3, workers=1, **SMALL)
    (out / 'tracks.csv').unlink()
    assert (Market1501(str(out)).column('track') == -1).all()
    assert not write_synthetic(out, TINY, seed=3, workers=1, **SMALL)['rendered']
    assert digest(out) == digest(root)


def test_same_arguments_again_change_nothing(root):
    before = {path: path.stat().st_mtime_ns for path in root.rglob('*')}
    manifest = write_synthetic(root, TINY, seed=3, workers=1, **SMALL)
    assert not manifest['rendered']
    assert before == {path: path.stat().st_mtime_ns for path in root.rglob('*')}


def test_other_arguments_are_refused_unless_overwritten(root, tmp_path):
    out = tmp_path / 'set'
    write_synthetic(out, TINY, seed=3, workers=1, **SMALL)
    before = digest(out)
    with pytest.raises(FileExistsError, match='seed is 3, asked for is 5'):
        write_synthetic(out, TINY, seed=5, workers=1, **SMALL)
    assert digest(out) == before == digest(root)
    write_synthetic(out, TINY, seed=5, workers=1, overwrite=True, **SMALL)
    assert finished_manifest(out)['seed'] == 5


@pytest.mark.parametrize('overwrite', [False, True])
def test_foreign_folder_is_refused(tmp_path, overwrite):
    (tmp_path / 'mine.txt').write_text('dear')
    with pytest.raises(FileExistsError, match='not empty'):
        write_synthetic(tmp_path, TINY, workers=1, overwrite=overwrite, **SMALL)
    assert (tmp_path / 'mine.txt').read_text() == 'dear'
    assert os.listdir(tmp_path) == ['mine.txt']
    with pytest.raises(FileExistsError, match='is a file'):
        write_synthetic(tmp_path / 'mine.txt', TINY, workers=1, **SMALL)


def test_empty_folder_is_taken(tmp_path):
    (tmp_path / 'new').mkdir()
    assert write_synthetic(tmp_path / 'new', TINY, workers=1, **SMALL)['rendered']


def test_interrupted_run_leaves_no_set_and_is_cleared(root, tmp_path, monkeypatch):
    out = tmp_path / 'set'
    calls = []
    render = World.render

    def failing(self, tracklet):
        calls.append(tracklet)
        if len(calls) > 9:
            raise KeyboardInterrupt
        return render(self, tracklet)

    monkeypatch.setattr(World, 'render', failing)
    with pytest.raises(KeyboardInterrupt):
        write_synthetic(out, TINY, seed=3, workers=1, **SMALL)
    monkeypatch.undo()
    assert not out.exists()
    write_synthetic(out, TINY, seed=3, workers=1, **SMALL)
    assert digest(out) == digest(root)
    assert os.listdir(tmp_path) == ['set']


def test_partial_folder_of_somebody_else_is_kept(tmp_path):
    (tmp_path / 'set.partial').mkdir()
    (tmp_path / 'set.partial' / 'x').write_text('1')
    with pytest.raises(FileExistsError, match='in the way'):
        write_synthetic(tmp_path / 'set', TINY, workers=1, **SMALL)
    assert os.listdir(tmp_path) == ['set.partial']
    assert (tmp_path / 'set.partial' / 'x').exists()


@pytest.mark.skipif(os.name == 'nt', reason='needs fcntl')
def test_two_at_once_do_not_mix(tmp_path):
    partial = tmp_path / 'set.partial'
    (partial / 'query').mkdir(parents=True)
    (partial / 'query' / 'x').write_text('1')
    holder = """
import fcntl, sys
lock = open(sys.argv[1], 'a')
fcntl.lockf(lock, fcntl.LOCK_EX)
print('held', flush=True)
sys.stdin.read()
"""
    command = [sys.executable, '-c', holder, str(partial / 'being-written')]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, stdin=pipe, stdout=pipe) as process:
        assert process.stdout.readline() == b'held\n'
        with pytest.raises(FileExistsError, match='another process'):
            write_synthetic(tmp_path / 'set', TINY, workers=1, **SMALL)
        assert (partial / 'query' / 'x').exists()
        process.stdin.close()
    # The other one is gone: what it left is in nobody's way.
    write_synthetic(tmp_path / 'set', TINY, workers=1, **SMALL)
    assert not partial.exists()
    parse(tmp_path / 'set' / 'query')


def test_command_line(tmp_path, capsys):
    sheet = tmp_path / 'sheet.png'
    arguments = [str(tmp_path / 'set'), '--num-images', '80', '--height', '32']
    arguments += ['--width', '16', '--tracklet-length', '2', '--workers', '1']
    arguments += ['--difficulty', '0.5', '--nuisance', 'noise=0']
    assert main([*arguments, '--preview', str(sheet)]) == 0
    assert 'images/s' in capsys.readouterr().out
    assert cv2.imread(str(sheet)).shape[1] > 100
    assert main(arguments) == 0
    assert 'already' in capsys.readouterr().out
    assert main([*arguments, '--seed', '9']) == 2
    assert '--overwrite' in capsys.readouterr().err
    stored = finished_manifest(tmp_path / 'set')
    assert stored['difficulty']['noise'] == 0
    assert stored['difficulty']['cast'] == pytest.approx(Difficulty().cast / 2)


@pytest.mark.parametrize('number', [60, 3000, 100_000])
def test_number_of_images_asked_for(number):
    layout = Layout().with_num_images(number)
    total = sum(len(t.frames) for t in plan_tracklets(layout, 0))
    tolerance = 0.03 if number >= 3000 else 0.7
    assert abs(total - number) <= tolerance * number


def test_people_interleave_on_a_camera_clock():
    tracklets = plan_tracklets(Layout(), 0)
    train = [t for t in tracklets if t.folders[0] == FOLDERS[0]]
    names = [name for t in tracklets for _, name in t.names()]
    assert len(set(names)) == len(names)
    rows = sorted((t.camera, t.sequence, f, t.pid) for t in train for f in t.frames)
    pids = np.array([row[3] for row in rows])
    # With 3.5 people in view, the next image is seldom of the same person,
    # but some of the next ones are.
    assert np.mean(pids[1:] == pids[:-1]) < 0.3
    windows = [len(set(pids[i : i + 16])) for i in range(0, len(pids) - 16, 16)]
    assert 3 < np.mean(windows) < 9
    # Two people at one moment have two boxes.
    spots = Counter(
        (t.camera, t.sequence, f, t.box) for t in tracklets for f in t.frames
    )
    assert max(spots.values()) == 1
    for t in tracklets:
        assert all(b - a > 0 for a, b in zip(t.frames, t.frames[1:]))
        assert all(1 <= frame <= 999_999 for frame in t.frames)


@pytest.mark.parametrize(
    'bad',
    [
        dict(num_cameras=1),
        dict(tracklet_length=1),
        dict(num_train_ids=0),
        dict(visit_rate=1.5),
        dict(junk=-0.1),
    ],
)
def test_layout_out_of_range(bad):
    with pytest.raises(ValueError, match=next(iter(bad))):
        Layout(**bad)


def test_difficulty_settings():
    assert difficulty_of(1, []) == Difficulty()
    nothing = difficulty_of(0, [])
    assert all(getattr(nothing, f.name) == 0 for f in fields(nothing))
    assert difficulty_of(2, ['cast=0.5']).cast == 0.5
    assert Difficulty().scaled(100).occlusion == 1
    for settings in (['cats=1'], ['cast'], ['cast=much'], ['cast=-1'], ['cast=nan']):
        with pytest.raises(ValueError, match=settings[0].split('=')[0]):
            difficulty_of(1, settings)
    with pytest.raises(ValueError, match='negative'):
        difficulty_of(-1, [])
    with pytest.raises(ValueError, match='share'):
        Difficulty(occlusion=1.2)


@pytest.mark.parametrize(
    ('change', 'message'),
    [
        (dict(seed=-1), 'seed'),
        (dict(height=8), '16 x 8'),
        (dict(workers=0), 'workers'),
    ],
)
def test_arguments_out_of_range(tmp_path, change, message):
    with pytest.raises(ValueError, match=message):
        write_synthetic(tmp_path / 'x', TINY, **{**SMALL, **change})
    assert not any(tmp_path.iterdir())


def test_no_nuisance_keeps_true_colours():
    camera = sample_camera(0, 1, Difficulty().scaled(0))
    np.testing.assert_allclose(camera.mix, np.eye(3), atol=1e-12)
    assert camera.gamma == camera.exposure == 1
    assert camera.noise == camera.blur == 0
    assert camera.detail == 1


def test_tracklet_does_not_depend_on_what_was_rendered_before():
    tracklets = plan_tracklets(TINY, 0)
    one, other = (World(0, 3, Difficulty(), 48, 24) for _ in range(2))
    for tracklet in tracklets[:5]:
        one.render(tracklet)
    for a, b in zip(one.render(tracklets[5]), other.render(tracklets[5])):
        np.testing.assert_array_equal(a, b)


def test_people_differ_and_stay_themselves():
    people = [sample_person(0, key) for key in range(60)]
    assert people[7] == sample_person(0, 7) != sample_person(1, 7)
    for name in ('hair_style', 'bag', 'bottom', 'hat', 'logo'):
        assert len({getattr(person, name) for person in people}) >= 3
    assert len({person.top.pattern for person in people}) >= 8


def test_person_turns_in_true_perspective():
    person = sample_person(0, 1)
    joints = walking_joints(person, 0.7)
    assert joints[13:15, 1].min() == pytest.approx(0.045)
    front, side = project(joints, 0.0, 0.0), project(joints, math.pi / 2, 0.0)
    np.testing.assert_allclose(front, joints)
    # Walking to the right: forward is right, left is away from the camera.
    np.testing.assert_allclose(side[:, 0], joints[:, 2], atol=1e-12)
    np.testing.assert_allclose(side[:, 2], -joints[:, 0], atol=1e-12)


def test_logo_is_seen_from_the_front_only():
    plain = replace(
        sample_person(0, 1),
        top=Cloth((200, 200, 200), (0, 0, 0)),
        sleeve_cloth=Cloth((200, 200, 200), (0, 0, 0)),
        logo='square',
        print_colour=(0, 0, 250),
        open_front=None,
        back_print=False,
        scarf=None,
        bag='none',
        bottom_cloth=Cloth((90, 90, 90), (0, 0, 0)),
        shoes=(90, 90, 90),
        side_stripe=None,
        hat='none',
        hair=(20, 20, 20),
        skin=(150, 180, 220),
    )

    def red(yaw):
        canvas = np.full((256, 128, 3), 128, np.uint8)
        draw_person(canvas, plain, 230, (64, 250), 1.0, yaw, 0.1)
        blue, _, strong = canvas.astype(int).transpose(2, 0, 1)
        return ((strong > 150) & (blue < 40)).sum()

    assert red(0.0) > 100
    assert red(math.pi) == 0


@pytest.mark.parametrize('pattern', [name for name, _ in PATTERNS])
def test_patterns(pattern):
    cloth = Cloth((0, 0, 0), (255, 255, 255), pattern)
    down, around = np.linspace(0, 0.36, 40)[:, None], np.linspace(-0.4, 0.4, 50)[None]
    mask = pattern_mask(cloth, down, around, 5)
    assert mask.shape == (40, 50)
    assert mask.min() == 0
    assert mask.max() <= 1
    assert (mask.mean() == 0) == (pattern == 'plain')
    np.testing.assert_array_equal(mask, pattern_mask(cloth, down, around, 5))


def test_unknown_pattern_is_named():
    with pytest.raises(ValueError, match='tartan'):
        pattern_mask(Cloth((0,), (0,), 'tartan'), np.zeros((1, 1)), np.zeros((1, 1)), 0)


def test_contact_sheet(root, tmp_path):
    sheet = figure_to_image(contact_sheet(root, identities=3))
    assert sheet.dtype == np.uint8
    assert sheet.shape[0] > 3 * 96
    assert sheet.shape[1] > 3 * 2 * 48
    with pytest.raises(FileNotFoundError, match='no training images'):
        contact_sheet(tmp_path)


def test_the_second_world_is_another_and_the_first_stays(tmp_path):
    """Other clothes and cameras; the same people pass the same cameras."""
    first = write_synthetic(tmp_path / 'first', TINY, height=32, width=16)
    arguments = [str(tmp_path / 'second'), '--world=second', '--height=32']
    arguments += ['--width=16', '--num-train-ids=4', '--num-test-ids=3']
    arguments += ['--num-cameras=3', '--tracklet-length=3', '--distractors=0.4']
    arguments += [f'--junk={TINY.junk}', f'--visit-rate={TINY.visit_rate}']
    assert main([*arguments, '--workers=1']) == 0
    second = finished_manifest(tmp_path / 'second')
    assert (first['world'], second['world']) == ('first', 'second')
    assert second['difficulty'] != first['difficulty']
    names = [sorted(p.name for p in (tmp_path / w / 'query').iterdir())
             for w in ('first', 'second')]  # fmt: skip
    assert names[0] == names[1]
    one, other = (cv2.imread(str(tmp_path / w / 'query' / names[0][0]))
                  for w in ('first', 'second'))  # fmt: skip
    assert np.abs(one.astype(int) - other).mean() > 3
    people = [[sample_person(0, key, w) for key in range(200)] for w in WARDROBES]
    hats = [sum(p.hat != 'none' for p in world) for world in people]
    assert hats[1] > hats[0] + 20
    with pytest.raises(FileExistsError, match='world is second, asked for is first'):
        write_synthetic(tmp_path / 'second', TINY, WORLDS['second'], height=32,
                        width=16)  # fmt: skip
    with pytest.raises(ValueError, match='world must be one of'):
        write_synthetic(tmp_path / 'third', TINY, world='third')
