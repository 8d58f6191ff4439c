# SPDX-License-Identifier: Apache-2.0
"""The best weights by a score without labels, and other training images."""

import logging
import shlex
import shutil
from unittest import mock

import cv2
import numpy as np
import pytest
import torch
from mmengine.hooks import Hook
from mmengine.runner import Runner
from scipy.sparse import csr_array

from mmreid_gcl.checkpoint import read_checkpoint
from mmreid_gcl.clustering import (
    DBSCANClusterer,
    adjusted_rand_index,
    graph_silhouette,
)
from mmreid_gcl.datasets import Market1501, PersonFolder
from mmreid_gcl.engine import PseudoLabelHook
from mmreid_gcl.engine.hooks import pseudo_label_hook as module
from mmreid_gcl.engine.hooks.label_free_best_hook import _folder
from mmreid_gcl.engine.label_report import LabelFreeSignals, label_free_signals
from mmreid_gcl.visualization import read_scalars

from .tiny_training import build, differences, disturbed, make_config, run, train


def config_of(images, work_dir, hook='LabelFreeBestHook', **more):
    config = make_config(images, work_dir, **more)
    config.val_dataloader = config.val_evaluator = config.val_cfg = None
    config.default_hooks.checkpoint.max_keep_ckpts = -1
    config.custom_hooks.append(dict(type=hook))
    return config


def kept(work_dir):
    return sorted(path.name for path in work_dir.glob('best_*'))


def same_weights(work_dir, one, other):
    states = [read_checkpoint(work_dir / name)['state_dict'] for name in (one, other)]
    return differences(*states) == []


def test_score_is_a_product_with_vetoes():
    assert LabelFreeSignals(0.5, 0.8, 0.25).score == pytest.approx(0.1)
    assert LabelFreeSignals(0.5, 0.8, None).score == pytest.approx(0.4)
    assert LabelFreeSignals(1.0, 1.0, -0.1).score == 0
    # clusters in one camera count half, and are no veto
    assert LabelFreeSignals(0.5, 0.8, 0.25, 1.0).score == pytest.approx(0.1)
    assert LabelFreeSignals(0.5, 0.8, 0.25, 0.5).score == pytest.approx(0.075)
    assert LabelFreeSignals(0.5, 0.8, 0.25, 0.0).score == pytest.approx(0.05)
    assert LabelFreeSignals(1.0, -0.2, 0.5).score == 0


def test_signals_by_hand():
    """Two pairs at distance 0.2, the pairs 0.6 apart; the last image is alone."""
    distances = np.ones((5, 5))
    distances[:4, :4] = 0.6
    distances[:2, :2] = distances[2:4, 2:4] = 0.2
    np.fill_diagonal(distances, 0)
    graph = csr_array(np.where(distances < 1, distances, 0))
    graph.setdiag(0)
    labels = np.array([0, 0, 1, 1, -1])
    silhouette = graph_silhouette(graph, labels)
    signals = label_free_signals(labels, labels, silhouette)
    assert signals.clustered == pytest.approx(0.8)
    assert signals.stability == pytest.approx(1)
    assert signals.silhouette == pytest.approx((0.6 - 0.2) / 0.6)
    assert signals.score == pytest.approx(0.8 * 2 / 3)
    assert label_free_signals(labels, labels, None).silhouette is None
    other = np.array([0, 1, 0, 1, -1])
    assert label_free_signals(labels, other, silhouette).score == 0
    for camids, across in (
        ([5, 6, 5, 5, 6], 0.5),
        ([5, 5, 6, 6, 5], 0),
        ([5] * 5, None),
    ):
        signals = label_free_signals(labels, labels, None, np.array(camids))
        assert signals.across == across
    alone = np.full(5, -1)
    assert label_free_signals(alone, alone, None, np.arange(5)).across == 0
    with pytest.raises(ValueError, match='as many'):
        label_free_signals(labels, labels[:4], None)


@pytest.mark.parametrize('best, scores', [(2, (0.2, 0.5, 0.5)), (3, (0.2, 0.1, 0.3))])
def test_the_weights_that_the_labels_describe_are_kept(images, tmp_path, best, scores):
    found = iter([LabelFreeSignals(score, 1.0, 1.0) for score in scores])
    with mock.patch.object(module, 'label_free_signals', lambda *_: next(found)):
        train(config_of(images, tmp_path))
    assert next(found, None) is None  # after 1, 2 and 3 epochs, not after none
    (name,) = kept(tmp_path)
    assert name == f'best_label_free_epoch_{best}.pth'
    assert same_weights(tmp_path, name, f'epoch_{best}.pth')
    assert not same_weights(tmp_path, name, 'epoch_1.pth')
    content = read_checkpoint(tmp_path / name)
    assert content['meta']['epoch'] == best and 'optimizer' not in content


def test_a_killed_run_ends_with_the_same_best(images, tmp_path):
    train(config_of(images, tmp_path / 'whole'))
    # inside epoch 2, for which a best is saved that no checkpoint knows of
    config = config_of(images, tmp_path / 'parts')
    assert run(disturbed(config, 'before_train_iter', 6)) == -9
    train(config_of(images, tmp_path / 'parts', resume=True))
    (name,) = kept(tmp_path / 'whole')
    assert kept(tmp_path / 'parts') == [name]
    for one in (name, 'epoch_3.pth'):
        states = [read_checkpoint(tmp_path / w / one) for w in ('whole', 'parts')]
        assert differences(*(state['state_dict'] for state in states)) == []
    infos = [
        state['message_hub']['runtime_info']['label_free_best'] for state in states
    ]
    assert infos[0] == infos[1]


def test_best_file_that_is_gone_is_said(images, tmp_path):
    found = iter([LabelFreeSignals(score, 1.0, 1.0) for score in (0.9, 0.2, 0.1, 0.0)])
    with mock.patch.object(module, 'label_free_signals', lambda *_: next(found)):
        train(config_of(images, tmp_path, **{'train_cfg.max_epochs': 2}))
        (tmp_path / 'best_label_free_epoch_1.pth').unlink()
        train(config_of(images, tmp_path, resume=True, log_level='ERROR'))
    # the third score belongs to the weights after the second epoch, scored again
    assert kept(tmp_path) == ['best_label_free_epoch_2.pth']


def test_a_best_file_of_after_the_checkpoint_counts(images, tmp_path):
    """The weights after the last epoch are scored after it was written."""
    scores = (0.2, 0.1, 0.9, 0.3, 0.4)
    found = iter([LabelFreeSignals(score, 1.0, 1.0) for score in scores])
    with mock.patch.object(module, 'label_free_signals', lambda *_: next(found)):
        train(config_of(images, tmp_path))
        assert kept(tmp_path) == ['best_label_free_epoch_3.pth']
        more = {'train_cfg.max_epochs': 4, 'log_level': 'ERROR'}
        train(config_of(images, tmp_path, resume=True, **more))
    assert kept(tmp_path) == ['best_label_free_epoch_3.pth']


class Recorder(Hook):
    """Labels, signals and the graph of every epoch."""

    priority = 'LOWEST'

    def __init__(self):
        self.seen = []

    def before_train_epoch(self, runner):
        (hook,) = (hook for hook in runner.hooks if isinstance(hook, PseudoLabelHook))
        self.seen.append(
            (hook.labels, hook.signals, hook.labeller.clusterer.distances_)
        )


def test_signals_are_of_the_labels_in_use(images, tmp_path):
    config = config_of(images, tmp_path)
    # then the graph is the labels'
    config.default_hooks.pseudo_labels.compare_unrefined = False
    runner, recorder = build(config), Recorder()
    runner.register_hook(recorder, priority='LOWEST')
    runner.train()
    (previous, nothing, _), *later = recorder.seen
    assert nothing is None and len(later) == 2  # no labels came before the first
    for labels, signals, distances in later:
        assert signals.clustered == (labels >= 0).mean()
        assert signals.stability == adjusted_rand_index(labels, previous)
        assert signals.silhouette == graph_silhouette(distances, labels)
        previous = labels


def test_signals_of_labels_that_are_kept(images, tmp_path, monkeypatch):
    """Where clustering finds nothing the labels stay, and the weights have no score."""
    config = config_of(images, tmp_path, **{'train_cfg.max_epochs': 2})
    config.default_hooks.pseudo_labels.compare_unrefined = False
    dbscan = DBSCANClusterer.__call__

    def nothing(self, features, records):
        labels = dbscan(self, features, records)
        return labels if runner.epoch != 1 else np.full_like(labels, -1)

    monkeypatch.setattr(DBSCANClusterer, '__call__', nothing)
    runner, recorder = build(config), Recorder()
    runner.register_hook(recorder, priority='LOWEST')
    runner.train()
    (first, *_), (second, signals, _) = recorder.seen
    assert np.array_equal(first, second) and signals is None
    series = read_scalars(tmp_path).series
    assert series['pseudo_labels/clusters'][0].tolist() == [1, 2, 3]
    for name in ('stability', 'silhouette', 'label_free_score'):
        assert 2 not in series[f'pseudo_labels/{name}'][0]


@pytest.mark.parametrize('ema', [False, True])
def test_averaged_weights_are_those_that_are_scored(images, tmp_path, ema):
    config = config_of(images, tmp_path, **{'train_cfg.max_epochs': 1})
    config.default_hooks.ema = dict(type='EMAHook', momentum=0.1)
    config.default_hooks.pseudo_labels.extract.ema = ema
    if ema:
        train(config)
    else:
        with pytest.raises(ValueError, match=r'extract=dict\(ema=True\)'):
            build(config).train()


def test_the_command_at_the_end_reads_the_folder_as_training_did(tmp_path):
    (tmp_path / '0001' / 'hall').mkdir(parents=True)
    (tmp_path / '0001' / 'hall' / 'a_1.jpg').touch()
    options = dict(camera=-1, pattern=r'(?P<frame>\d+)\.jpg')
    dataset = PersonFolder(str(tmp_path), **options)
    words = shlex.split(_folder(dataset))
    assert words == [str(tmp_path), '--camera=-1', r'--pattern=(?P<frame>\d+)\.jpg']
    assert _folder(object()) == 'CROPS'


def test_without_the_hook_that_clusters(images, tmp_path):
    config = config_of(images, tmp_path)
    del config.default_hooks['pseudo_labels'], config.default_hooks['memory']
    config.custom_hooks = [dict(type='LabelFreeBestHook')]
    with pytest.raises(ValueError, match='one PseudoLabelHook; the config has 0'):
        train(config)


@pytest.fixture
def changed(images, tmp_path):
    """A run that is to be resumed, and its images to be changed."""

    def make(inside):
        root, work_dir = tmp_path / 'data', tmp_path / 'work'
        shutil.copytree(images, root)
        options = dict(hook='TrainingImagesHook')
        config = config_of(root, work_dir, **options)
        if inside:  # saves the state inside an epoch and ends
            with pytest.raises(SystemExit):
                train(disturbed(config, 'before_train_iter', 2, 'terminate'))
        else:
            config.train_cfg.max_epochs = 1
            train(config)
        config = config_of(root, work_dir, resume=True, **options)
        config.train_cfg.max_epochs = 2
        return root, config

    return make


@pytest.fixture
def warnings():
    """What the log warns of."""
    lines = []

    class Keep(logging.Handler):
        def emit(self, record):
            if record.levelno >= logging.WARNING:
                lines.append(record.getMessage())

    original = Runner.build_logger

    def build_logger(self, *args, **kwargs):
        logger = original(self, *args, **kwargs)
        logger.addHandler(Keep())
        return logger

    with mock.patch.object(Runner, 'build_logger', build_logger):
        yield lines


def test_other_images_between_epochs(changed, warnings):
    root, config = changed(inside=False)
    next((root / 'bounding_box_train').iterdir()).unlink()
    del warnings[:]
    train(config)
    text = 'not those of the checkpoint: 36 images then, 35 now'
    assert sum(text in line for line in warnings) == 1
    content = read_checkpoint(f'{config.work_dir}/epoch_2.pth')
    assert content['training_images']['count'] == 35
    assert content['pseudo_labels'].shape == (35,)


def test_renamed_images_inside_an_epoch(changed):
    root, config = changed(inside=True)
    image = next((root / 'bounding_box_train').iterdir())
    image.rename(image.with_name('0099_c1s1_000001_01.jpg'))
    with pytest.raises(ValueError, match=r'36 images as before, under other names'):
        train(config)


def test_the_same_images_elsewhere(changed, warnings):
    root, config = changed(inside=True)
    moved = root.rename(root.with_name('moved'))
    config.train_dataloader.dataset.data_root = str(moved)
    del warnings[:]
    train(config)
    assert not any('not those of' in line for line in warnings)


def test_tracks_that_are_missing_are_said_before_any_image_is_embedded(
    images, tmp_path, monkeypatch
):
    config = config_of(images, tmp_path)
    hook = config.default_hooks.pseudo_labels
    hook.clusterer = dict(type='TrackClusterer', clusterer=hook.clusterer)
    monkeypatch.setattr(module, 'extract_features', None)
    with pytest.raises(ValueError, match='needs tracks, and the images have none'):
        build(config).train()


def test_a_runner_without_the_tools_knows_the_size_of_a_batch(images, tmp_path):
    config = config_of(images, tmp_path, **{'train_dataloader.batch_size': 'auto'})
    assert build(config).train_loop.dataloader.batch_size == 8


def test_a_wrapped_data_set_is_refused_before_training(images, tmp_path):
    config = config_of(images, tmp_path, hook='TrainingImagesHook')
    inner = config.train_dataloader.dataset
    config.train_dataloader.dataset = dict(type='RepeatDataset', dataset=inner, times=2)
    with pytest.raises(TypeError, match=r'RepeatDataset.*num_batches'):
        train(config)


def test_two_data_sets_are_trained_on(images, tmp_path):
    config = config_of(images, tmp_path, hook='TrainingImagesHook')
    inner = config.train_dataloader.dataset
    config.train_dataloader.dataset = dict(
        type='ConcatDataset', datasets=[inner, inner]
    )
    config.train_cfg.max_epochs = 1
    train(config)
    content = read_checkpoint(tmp_path / 'epoch_1.pth')
    assert content['training_images']['count'] == 72
    assert content['pseudo_labels'].shape == (72,)
    assert torch.isfinite(next(iter(content['state_dict'].values()))).all()


class MeasureHook(Hook):
    """mAP of the test set at the start and the end, image by image."""

    priority = 'VERY_LOW'

    def __init__(self):
        self.found = []

    def before_train(self, runner):
        model = runner.model.eval()
        dataset = Market1501(
            runner.cfg.test_dataloader.dataset.data_root,
            split='test',
            pipeline=runner.cfg.test_dataloader.dataset.pipeline,
        )
        samples = [dataset[i] for i in range(len(dataset))]
        features, facts = [], []
        with torch.no_grad():
            for sample in samples:
                data = dict(
                    inputs=sample['inputs'][None], data_samples=[sample['data_samples']]
                )
                data = model.data_preprocessor(data, False)
                features.append(model.extract_feat(data['inputs'])[0])
                one = sample['data_samples']
                facts.append((one.pid, one.camid, one.is_query))
        model.train()
        precisions = []
        for q, (pid, camid, is_query) in enumerate(facts):
            if not is_query:
                continue
            row = [
                (-float(features[q] @ features[g]), other == pid)
                for g, (other, cam, gallery) in enumerate(facts)
                if not gallery and (other, cam) != (pid, camid)
            ]
            hits = [i for i, (_, match) in enumerate(sorted(row)) if match]
            terms = [(n + 1) / (i + 1) for n, i in enumerate(hits)]
            precisions.append(100 * sum(terms) / len(terms))
        self.found.append(sum(precisions) / len(precisions))

    after_train = before_train


@pytest.fixture(scope='module')
def noise(tmp_path_factory):
    """A test set in which nobody is found for sure."""
    root = tmp_path_factory.mktemp('noise')
    rng = np.random.default_rng(0)
    for part, camera in (('query', 1), ('bounding_box_test', 2)):
        (root / part).mkdir()
        for pid in range(1, 9):
            image = rng.integers(0, 256, (32, 16, 3), np.uint8)
            name = f'{pid:04d}_c{camera}s1_{pid:06d}_01.jpg'
            assert cv2.imwrite(str(root / part / name), image)
    return root


def with_test_set(config, root):
    loader = make_config(root, 'x').val_dataloader
    config.test_dataloader = loader
    config.test_evaluator, config.test_cfg = dict(type='ReIDMetric'), dict()
    config.log_level = 'INFO'
    return config


def closing(capfd):
    text = capfd.readouterr()
    lines = (text.out + text.err).split('What the training changed: ')
    assert len(lines) == 2, 'said once, at the end'
    return lines[1]


@pytest.mark.parametrize('killed', [False, True])
def test_the_end_says_what_changed(images, noise, tmp_path, capfd, killed):
    config = with_test_set(config_of(images, tmp_path), noise)
    if killed:  # what was before is known after a resume, too
        assert run(disturbed(config, 'before_train_iter', 6)) == -9
        config = with_test_set(config_of(images, tmp_path, resume=True), noise)
    runner = build(config)
    measure = MeasureHook()
    runner.register_hook(measure)
    runner.train()
    told = closing(capfd)
    if not killed:
        before, after = measure.found
        assert f'mAP on the test set {before:.1f} -> {after:.1f} after' in told
        assert before != after
    assert told.startswith('mAP on the test set ')
    scalars = read_scalars(tmp_path).series
    clusters = scalars['pseudo_labels/clusters'][1]
    assert f'clusters {clusters[0]:.0f} -> {clusters[-1]:.0f}' in told
    for name in ('stability', 'silhouette'):
        values = scalars[f'pseudo_labels/{name}'][1]
        assert f'{name} {values[0]:.3f} -> {values[-1]:.3f}' in told
    (best,) = kept(tmp_path)
    assert f'which prove nothing: {tmp_path / best}\n' in told
    last = (tmp_path / 'last_checkpoint').read_text().strip()
    assert f'Weights to use: {last}\n' in told
    command = f'mmreid cluster {last} {images} --out clusters'
    assert command in told


def test_the_end_without_labels(images, tmp_path, capfd):
    config = config_of(images, tmp_path, log_level='INFO')
    train(config)
    told = closing(capfd)
    assert told.startswith('clusters ') and 'mAP' not in told


def test_a_bad_test_set_does_not_stop_the_training(images, tmp_path, capfd):
    config = config_of(images, tmp_path, **{'train_cfg.max_epochs': 1})
    config = with_test_set(config, tmp_path / 'none')
    train(config)
    told = capfd.readouterr()
    assert 'No mAP before and after the training: ' in told.out + told.err
