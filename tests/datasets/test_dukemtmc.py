# SPDX-License-Identifier: Apache-2.0
import pytest

from mmreid_gcl.datasets import UNKNOWN, DukeMTMCreID

from .layouts import samples_of, write_image, write_images


@pytest.fixture
def root(tmp_path):
    root = tmp_path / 'DukeMTMC-reID'
    write_images(
        root / 'bounding_box_train',
        ['0005_c8_f0000001.jpg', '0001_c2_f0046182.jpg'],
    )
    write_images(root / 'query', ['0005_c2_f0046985.jpg'])
    write_images(
        root / 'bounding_box_test', ['0005_c5_f0051341.jpg', '7139_c4_f0000002.jpg']
    )
    return root


@pytest.mark.parametrize('parent', [False, True])
def test_train(root, parent):
    dataset = DukeMTMCreID(root.parent if parent else root)
    assert samples_of(dataset) == [
        {
            'img_path': str(root / 'bounding_box_train' / '0001_c2_f0046182.jpg'),
            'pid': 1,
            'camid': 1,
            'sequence': UNKNOWN,
            'frame': 46182,
            'moment': 46182,
            'track': -1,
            'is_query': False,
        },
        {
            'img_path': str(root / 'bounding_box_train' / '0005_c8_f0000001.jpg'),
            'pid': 5,
            'camid': 7,
            'sequence': UNKNOWN,
            'frame': 1,
            'moment': 1,
            'track': -1,
            'is_query': False,
        },
    ]


def test_test(root):
    dataset = DukeMTMCreID(root, split='test')
    assert dataset.column('pid').tolist() == [5, 5, 7139]
    assert dataset.column('camid').tolist() == [1, 4, 3]
    assert dataset.column('is_query').tolist() == [True, False, False]


def test_official_counts():
    images = {part: counts.images for part, counts in DukeMTMCreID.OFFICIAL.items()}
    assert images == {'train': 16522, 'query': 2228, 'gallery': 17661}


def test_a_name_that_cannot_be_parsed(root):
    path = write_image(root / 'query' / '0002_c1s1_000451_03.jpg')
    with pytest.raises(ValueError) as caught:
        DukeMTMCreID(root, split='query')
    assert str(caught.value).startswith(str(path))
    assert '0001_c2_f0046182.jpg' in str(caught.value)


def test_other_folder(tmp_path):
    with pytest.raises(FileNotFoundError, match='DukeMTMC-reID is not here') as caught:
        DukeMTMCreID(tmp_path)
    assert str(tmp_path / 'DukeMTMC-reID') in str(caught.value)
