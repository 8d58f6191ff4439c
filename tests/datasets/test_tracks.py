# SPDX-License-Identifier: Apache-2.0
"""From what a tracker writes to crops, and from crops to records."""

import json
import os
import re

import cv2
import numpy as np
import pytest

from mmreid_gcl.datasets import PersonFolder
from mmreid_gcl.datasets.conversion import convert_tracks, read_mot
from mmreid_gcl.datasets.conversion.tracks import spread_rows
from tools.dataset_converters.tracks_to_crops import main

from .layouts import write_image, write_images

HEIGHT, WIDTH, FRAMES = 96, 128, 12
MOT = dict(min_size=(8, 4), progress=False)


def frame(number):
    """A picture whose brightness is ten times its number."""
    return np.full((HEIGHT, WIDTH, 3), 10 * number, np.uint8)


def write_video(path, frames=FRAMES):
    size = (WIDTH, HEIGHT)
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*'MJPG'), 5, size)
    assert writer.isOpened()
    for number in range(1, frames + 1):
        writer.write(frame(number))
    writer.release()
    return path


def write_frames(folder, first=1):
    folder.mkdir(parents=True)
    for number in range(1, FRAMES + 1):
        name = f'{number - 1 + first:06d}.png'
        assert cv2.imwrite(str(folder / name), frame(number))
    return folder


@pytest.fixture(params=['video', 'frames', 'frames from 0'])
def source(request, tmp_path):
    if request.param == 'video':
        return write_video(tmp_path / 'hall.avi')
    return write_frames(tmp_path / 'img1', 0 if request.param.endswith('0') else 1)


def write_mot(path, *lines):
    path.write_text('\n'.join(lines) + '\n')
    return path


def files(out):
    return sorted(path.relative_to(out).as_posix() for path in out.rglob('*.jpg'))


def test_crops_are_cut_from_their_frames(source, tmp_path):
    tracks = write_mot(
        tmp_path / 'hall.txt',
        '12,4,10.4,20.6,30,40,0.9,-1,-1,-1',
        '2, 4, 10, 20, 30, 40, 0.8, -1, -1, -1',
        '',
        '2,17,-10,60,30,90,1,-1,-1,-1',  # leaves the picture on two sides
        '3,17,126,60,30,90,1,-1,-1,-1',  # two columns are left
        '4,17,200,0,30,40,1,-1,-1,-1',  # outside
        '5,17,10,10,0,40,1,-1,-1,-1',  # empty
        '6,-1,10,10,30,40,1,-1,-1,-1',  # a detection
        '7,17,10,10,30,40,0.2,-1,-1,-1',
    )
    out = tmp_path / 'crops' / 'hall'
    options = dict(min_confidence=0.5, min_visible=0.2, **MOT)
    counts = convert_tracks(tracks, source, out, **options)
    assert counts == {
        'crops': 3,
        'tracks': 2,
        'clipped': 1,
        'tiny': 3,
        'hidden': 0,
        'missing': 0,
        'empty_tracks': 0,
        'without an id': 1,
        'below the confidence 0.5': 1,
    }
    expected = {
        'track_000004/000002.jpg': (40, 30, 20),
        'track_000004/000012.jpg': (40, 30, 120),
        'track_000017/000002.jpg': (36, 20, 20),
    }
    assert files(out) == sorted(expected)
    for name, (height, width, brightness) in expected.items():
        image = cv2.imread(str(out / name))
        assert image.shape == (height, width, 3)
        assert abs(float(image.mean()) - brightness) < 3
    assert json.loads((out / 'conversion.json').read_text())['counts'] == counts
    assert len((out / 'SHA256SUMS').read_text().splitlines()) == 3


def test_the_ground_truth_of_mot17(tmp_path):
    tracks = write_mot(
        tmp_path / 'gt.txt',
        '1,1,10,10,30,40,1,1,0.9',
        '1,2,10,10,30,40,0,1,1',  # not to be considered
        '1,3,10,10,30,40,1,7,1',  # somebody who stands
        '2,1,10,10,30,40,1,1,0.1',
    )
    boxes = read_mot(tracks)
    assert (boxes.frames.tolist(), boxes.tracks.tolist()) == ([1, 2], [1, 1])
    assert boxes.left_out == {'not to be considered (conf 0)': 1, 'of class 7': 1}
    assert read_mot(tracks, classes=[1, 7]).lines.tolist() == [1, 4, 3]
    left = r'no row is left \(2 of class 1, 1 not to be .* \(conf 0\), 1 of class 7\)'
    with pytest.raises(ValueError, match=left):
        read_mot(tracks, classes=[2])


def test_columns_by_blanks_from_frame_0(tmp_path):
    tracks = write_mot(tmp_path / 't.txt', '1 5 1 2 3 4', '0 5 1.5 2 3 4')
    boxes = read_mot(tracks, first_frame=0)
    assert boxes.frames.tolist() == [0, 1] and boxes.lines.tolist() == [2, 1]
    assert boxes.corners.tolist() == [[1.5, 2, 4.5, 6], [1, 2, 4, 6]]
    source = write_frames(tmp_path / 'img1', first=0)
    counts = convert_tracks(
        tracks, source, tmp_path / 'out', first_frame=0, min_size=(1, 1), progress=False
    )
    assert counts['crops'] == 2
    image = cv2.imread(str(tmp_path / 'out/track_000005/000000.jpg'))
    assert abs(float(image.mean()) - 10) < 3  # the first picture


@pytest.mark.parametrize(
    ('line', 'message'),
    [
        ('3,4,1,2,30', 'expected numbers frame,id,x,y,w,h'),
        ('a,b,c,d,e,f', 'expected numbers'),
        ('3,4,,2,30,40', 'expected numbers'),
        ('3,4,1,2,nan,40', 'w is nan; expected a number'),
        ('3,4,1,inf,30,40', 'y is inf'),
        ('3,4,1,2,30,40,1,nan', 'class is nan'),
        ('3,4,1,2,-30,40', 'w x h is -30 x 40'),
        ('3.5,4,1,2,30,40', 'frame is 3.5; expected a whole number'),
        ('3,1e300,1,2,30,40', 'id is 1e.300; expected a whole number'),
        ('0,4,1,2,30,40', 'frame is 0, but 1 is the first'),
        ('2,4,1,2,30,40', 'frame 2 has the id 4 twice, first in line 1'),
    ],
)
def test_a_bad_line_is_named_and_nothing_written(tmp_path, line, message):
    tracks = write_mot(tmp_path / 'hall.txt', '2,4,10,20,30,40', line)
    source = write_frames(tmp_path / 'img1')
    with pytest.raises(ValueError, match=rf'hall\.txt, line 2: .*{message}'):
        convert_tracks(tracks, source, tmp_path / 'out', **MOT)
    assert not (tmp_path / 'out').exists()


@pytest.mark.parametrize(
    ('tracks', 'source', 'message'),
    [
        ('none.txt', 'img1', 'none.txt: no such file'),
        ('det.txt', 'img1', r'det.txt: no row is left \(1 without an id\)'),
        ('far.txt', 'img1', 'far.txt: no box has 8 x 4 pixels'),
        ('binary.txt', 'img1', 'binary.txt: this is no text file'),
        ('good.txt', 'none.mp4', 'none.mp4: no such video'),
        ('good.txt', 'broken.mp4', 'broken.mp4: OpenCV cannot decode this'),
        ('good.txt', 'good.txt', 'good.txt: OpenCV cannot decode this'),
        ('good.txt', 'broken', 'broken: OpenCV cannot decode this'),
        ('good.txt', 'img1/000001.png', '000001.png: this is one picture'),
        ('good.txt', 'empty', 'empty: expected images'),
        ('good.txt', 'names', 'names.*a.png: expected a name that ends in the number'),
        ('good.txt', 'twice', 'twice.*a1.png: .* but 1.png has it'),
    ],
)
def test_files_that_cannot_be_used(tmp_path, tracks, source, message, capsys):
    write_frames(tmp_path / 'img1')
    write_mot(tmp_path / 'det.txt', '1,-1,10,10,30,40')
    write_mot(tmp_path / 'far.txt', '1,1,1000,10,30,40')
    write_mot(tmp_path / 'good.txt', '1,1,10,10,30,40')
    (tmp_path / 'binary.txt').write_bytes(b'\xff\xfe\x00\x01')
    (tmp_path / 'broken.mp4').write_bytes(b'no video')
    (tmp_path / 'broken').mkdir()
    (tmp_path / 'broken' / '1.jpg').write_bytes(b'no picture')
    (tmp_path / 'empty').mkdir()
    write_images(tmp_path / 'names', ['a.png'])
    write_images(tmp_path / 'twice', ['1.png', 'a1.png'])
    out = tmp_path / 'out'
    paths = [str(tmp_path / tracks), str(tmp_path / source), str(out)]
    with pytest.raises((ValueError, FileNotFoundError), match=message):
        convert_tracks(*paths, **MOT)
    assert main([*paths, '--min-size', '8', '4']) == 2
    assert capsys.readouterr().err.startswith('tracks_to_crops: ')
    assert not out.exists()


@pytest.mark.parametrize('share, left', [(0, 3), (0.25, 2), (0.5, 1), (1, 0)])
def test_boxes_of_which_too_much_is_outside(tmp_path, share, left):
    source = write_frames(tmp_path / 'img1')
    lines = ['1,1,-20,10,40,40', '1,2,-30,10,40,40', '1,3,-36,10,40,40']
    tracks = write_mot(tmp_path / 'a.txt', *lines, '2,4,10,10,40,40')
    options = dict(min_size=(2, 2), min_visible=share)
    counts = convert_tracks(tracks, source, tmp_path / 'out', progress=False, **options)
    assert counts['hidden'] == 3 - left and counts['crops'] == left + 1
    expected = [f'track_00000{n}' for n in (*range(1, left + 1), 4)]
    assert sorted(p.name for p in (tmp_path / 'out').glob('track_*')) == expected


def test_settings_are_checked(tmp_path):
    for wrong in (
        dict(every=0),
        dict(at_most=0),
        dict(quality=101),
        dict(min_visible=2),
    ):
        with pytest.raises(ValueError, match=next(iter(wrong))):
            convert_tracks('t', 's', tmp_path, **wrong)
    with pytest.raises(ValueError, match='min_size'):
        convert_tracks('t', 's', tmp_path, min_size=(0, 4))


def test_a_video_that_ends_early(tmp_path, capsys, log_lines):
    tracks = write_mot(
        tmp_path / 'hall.txt',
        '90,4,10,20,30,40',
        '11,4,10,20,30,40',
        '80,5,10,20,30,40',
    )
    video = write_video(tmp_path / 'hall.avi')
    words = [str(tracks), str(video), str(tmp_path / 'out')]
    assert main(words) == 3
    assert files(tmp_path / 'out') == ['track_000004/000011.jpg']
    printed = capsys.readouterr().out
    assert '2 boxes left out: their frame is missing' in printed
    assert '1 tracks without a crop' in printed
    message = 'cannot read frame 80 of .*hall.txt, line 3, and 1 more of 3 boxes'
    assert any(re.search(message, line) for _, line in log_lines)
    tracks.write_text('80,5,10,20,30,40\n')
    with pytest.raises(
        ValueError,
        match=message.replace('1 more of 3', '0 more of 1').replace('line 3', 'line 1'),
    ):
        convert_tracks(tracks, video, tmp_path / 'other')


def test_pictures_of_two_sizes(tmp_path):
    source = write_frames(tmp_path / 'img1')
    write_image(source / '000013.png', height=HEIGHT, width=WIDTH + 1)
    tracks = write_mot(tmp_path / 't.txt', '1,4,1,2,30,40', '13,4,1,2,30,40')
    with pytest.raises(ValueError, match=r'000013\.png: this picture has 96 x 129'):
        convert_tracks(tracks, source, tmp_path / 'out', **MOT)
    assert files(tmp_path / 'out') == ['track_000004/000001.jpg']


def test_every_and_at_most():
    tracks = np.array([0] * 7 + [3] + [5] * 4)
    assert spread_rows(tracks, 1, None).tolist() == list(range(12))
    assert spread_rows(tracks, 3, None).tolist() == [0, 3, 6, 7, 8, 11]
    # of seven the middle; the middles of three and a half each
    assert spread_rows(tracks, 1, 1).tolist() == [3, 7, 10]
    assert spread_rows(tracks, 1, 2).tolist() == [1, 5, 7, 9, 11]
    assert spread_rows(tracks, 2, 2).tolist() == [2, 6, 7, 8, 10]


def test_a_broken_run_goes_on(source, tmp_path, monkeypatch, log_lines):
    lines = [f'{number},4,10,20,30,40' for number in range(1, 7)]
    tracks = write_mot(tmp_path / 'hall.txt', *lines)
    whole, out = tmp_path / 'whole', tmp_path / 'out'
    convert_tracks(tracks, source, whole, **MOT)
    imencode, budget = cv2.imencode, [4]

    def until_the_disk_is_full(*args):
        if not budget[0]:
            raise OSError(28, 'No space left on device')
        budget[0] -= 1
        return imencode(*args)

    monkeypatch.setattr(cv2, 'imencode', until_the_disk_is_full)
    with pytest.raises(OSError, match='No space'):
        convert_tracks(tracks, source, out, **MOT)
    assert len(files(out)) == 4 and not (out / 'conversion.json').exists()
    budget[0] = 2  # more would be to encode some again
    counts = convert_tracks(tracks, source, out, **MOT)
    assert counts['crops'] == 6 and files(out) == files(whole)
    for name in [*files(whole), 'SHA256SUMS', 'conversion.json']:
        assert (out / name).read_bytes() == (whole / name).read_bytes()
    assert any('goes on with' in line for _, line in log_lines)
    assert not list(out.rglob('.*'))

    monkeypatch.undo()
    assert convert_tracks(tracks, source, out, **MOT) == counts  # nothing to do
    assert any('is converted already' in line for _, line in log_lines)
    with pytest.raises(FileExistsError, match='--overwrite'):
        convert_tracks(tracks, source, out, every=2, **MOT)
    recording = out / 'evening' / 'track_000009'  # not of this conversion
    write_image(recording / '000001.jpg')
    convert_tracks(tracks, source, out, every=2, overwrite=True, **MOT)
    assert len(files(out)) == 3 + 1 and list(recording.iterdir())


def test_a_broken_run_with_other_settings_starts_anew(tmp_path, monkeypatch, log_lines):
    source = write_frames(tmp_path / 'img1')
    lines = [f'{number},4,10,20,30,40' for number in range(1, 7)]
    tracks = write_mot(tmp_path / 'hall.txt', *lines)
    out = tmp_path / 'out'
    with monkeypatch.context() as patch:
        patch.setattr(os, 'replace', lambda *args: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            convert_tracks(tracks, source, out, **MOT)
    write_image(out / 'track_000009' / '000001.jpg')
    convert_tracks(tracks, source, out, quality=50, **MOT)
    assert files(out) == [f'track_000004/00000{number}.jpg' for number in range(1, 7)]
    assert any('replaces' in line for _, line in log_lines)


def test_person_folder_reads_what_the_converter_writes(source, tmp_path, log_lines):
    crops = tmp_path / 'crops'
    first = write_mot(
        tmp_path / '1.txt', '3,1,0,0,8,16', '2,1,0,0,8,16', '3,2,9,9,8,16'
    )
    second = write_mot(tmp_path / '2.txt', '1,1,0,0,8,16', '7,2,0,0,8,16')
    convert_tracks(first, source, crops / 'hall' / 'morning', **MOT)
    convert_tracks(second, source, crops / 'hall' / 'evening', **MOT)
    convert_tracks(second, source, crops / 'entrance', **MOT)
    log_lines.clear()
    dataset = PersonFolder(crops)
    assert dataset.metainfo['cameras'] == ['entrance', 'hall']
    # entrance; hall in the evening, then (natural order) in the morning
    found = [dataset.column(n).tolist() for n in ('camid', 'sequence', 'frame')]
    assert [row[:3] for row in zip(*found)] == [
        *[(0, 0, 1), (0, 0, 7), (1, 1, 1), (1, 1, 7)],
        *[(1, 2, 2), (1, 2, 3), (1, 2, 3)],
    ]
    tracks = dataset.column('track').tolist()
    assert tracks[:5] == [0, 1, 2, 3, 4] and sorted(tracks[5:]) == [4, 5]
    paths = dataset.column('img_path').tolist()
    assert len({os.path.dirname(path) for path in paths}) == 6
    assert dataset.column('pid').tolist() == [-1] * 7
    assert not any('natural order' in line for _, line in log_lines)


def test_a_track_folder_is_no_identity_and_no_camera(tmp_path):
    write_image(tmp_path / 'query/hall/anna/track_000001/000002.jpg')
    write_image(tmp_path / 'gallery/hall/track_000001/000002.jpg')
    write_image(tmp_path / 'gallery/hall/anna/track_000001/000002.jpg', value=9)
    write_image(tmp_path / 'gallery/gate/anna/track_000001/000002.jpg', value=9)
    dataset = PersonFolder(tmp_path, split='test')
    pids = dataset.column('pid').tolist()
    assert dataset.metainfo['identities'] == ['anna'] and sorted(pids) == [-1, 0, 0, 0]
    assert dataset.metainfo['cameras'] == ['gate', 'hall']
    # query and gallery name the same track of the same recording alike
    assert dataset.column('track')[0] in dataset.column('track')[1:]
    assert len(set(dataset.column('track').tolist())) == 3
    write_image(tmp_path / 'flat/track_000001/000002.jpg')
    flat = PersonFolder(tmp_path / 'flat')
    assert flat.metainfo['cameras'] == ['.']


@pytest.mark.parametrize('order_by_name', [None, True])
def test_mars(tmp_path, order_by_name):
    names = ['0001C1T0001F001', '0001C1T0001F002', '0001C1T0002F001', '0001C2T0001F001']
    for i, name in enumerate([*names, '0003C1T0001F001', '00-1C1T0001F001']):
        write_image(tmp_path / name[:4] / f'{name}.jpg', value=20 * i)
    dataset = PersonFolder(tmp_path, order_by_name=order_by_name)
    assert dataset.metainfo['cameras'] == ['1', '2']
    by_name = {
        os.path.basename(path)[:11]: []
        for path in sorted(dataset.column('img_path').tolist())
    }
    for path, track in zip(
        dataset.column('img_path'), dataset.column('track').tolist()
    ):
        by_name[os.path.basename(path)[:11]].append(track)
    # T0001 is another track of another person or camera
    assert sorted(track for tracks in by_name.values() for track in set(tracks)) == [
        *range(5)
    ]
    assert len(by_name['0001C1T0001']) == 2 and len(set(by_name['0001C1T0001'])) == 1
    assert sorted(dataset.column('pid').tolist()) == [-1, 1, 1, 1, 1, 3]
    # the names begin with an identity: their order is no time
    assert set(dataset.column('frame').tolist()) == {-1}
    assert set(dataset.column('sequence').tolist()) == {-1}
