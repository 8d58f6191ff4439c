# SPDX-License-Identifier: Apache-2.0
import numpy as np
import pytest
import torch
from mmengine.dataset import BaseDataset
from mmengine.evaluator import Evaluator
from mmengine.registry import DefaultScope
from mmengine.runner import Runner
from mmpretrain.structures import DataSample

from mmreid_gcl.evaluation import (
    ReIDMetric,
    average_query_expansion,
    evaluate_ranking,
    k_reciprocal_rerank,
    rank_from_similarity,
)
from mmreid_gcl.evaluation.metrics import reid_metric
from mmreid_gcl.evaluation.metrics.reid_metric import dataset_order
from mmreid_gcl.evaluation.open_set import identification_rates
from mmreid_gcl.registry import METRICS

from .distributed_worker import evaluate, make_samples, with_index
from .reference import random_problem


def arrays_of(samples, junk=True):
    """The arguments of ``evaluate_ranking`` in data samples."""
    result = []
    for is_query in (True, False):
        part = [s for s in samples if s['is_query'] == is_query]
        if not junk and not is_query:
            part = [s for s in part if s['pid'] != -1]
        result += [
            torch.stack([s['feature'] for s in part]),
            [s['pid'] for s in part],
            [s['camid'] for s in part],
        ]
    return result


def prefixed(result):
    return {f'reid/{key}': value for key, value in result.items()}


def test_equal_to_evaluate_ranking():
    samples = make_samples()
    expected = prefixed(evaluate_ranking(*arrays_of(samples)))
    assert list(expected) == ['reid/mAP', 'reid/mINP', 'reid/R1', 'reid/R5', 'reid/R10']
    for batch_size in (1, 7, 100):
        assert evaluate(samples, batch_size) == expected
    assert evaluate(samples, collect_device='gpu') == expected


def test_gallery_and_queries_in_any_order():
    # Interleaved, but the gallery in its order.
    samples = make_samples()
    mixed = [s for pair in zip(samples[:12], samples[12:24]) for s in pair]
    assert evaluate(mixed + samples[24:]) == evaluate(samples)
    indexed = with_index(samples)
    shuffled = [indexed[i] for i in np.random.default_rng(0).permutation(len(indexed))]
    assert evaluate(shuffled) == evaluate(samples)


def test_options_of_the_ranking():
    samples = make_samples()
    result = evaluate(samples, topk=(2, 30), prefix='market')
    assert list(result) == ['market/mAP', 'market/mINP', 'market/R2', 'market/R30']


def test_results_are_dropped_after_evaluation():
    metric = ReIDMetric()
    samples = make_samples()
    for _ in range(2):
        metric.process(None, samples)
        first = metric.evaluate(len(samples))
        assert metric.results == []
    assert first == evaluate(samples)


def test_expansion_and_reranking_leave_junk_out():
    samples = make_samples(3)
    rng = np.random.default_rng(0)
    for sample in samples:  # no ties, which differ in the last bit
        sample['feature'] = torch.tensor(rng.standard_normal(8), dtype=torch.float32)
    query, query_pids, query_camids, gallery, *ids = arrays_of(samples, junk=False)
    expanded = average_query_expansion(query, gallery, 3)
    assert evaluate(samples, query_expansion=3) == prefixed(
        evaluate_ranking(expanded, query_pids, query_camids, gallery, *ids)
    )
    options = dict(k1=5, k2=2, lambda_value=0.4)
    for features, expansion in ((query, None), (expanded, 3)):
        similarity = k_reciprocal_rerank(features, gallery, **options)
        expected = rank_from_similarity(similarity, query_pids, query_camids, *ids)
        result = evaluate(samples, rerank=options, query_expansion=expansion)
        assert result == prefixed(expected)


def tracks_of(samples, rng):
    """The samples with tracks in pairs of identity and camera, some of -1."""
    pairs = {}
    for sample in samples:
        pair = sample['pid'], sample['camid'], int(rng.integers(2))
        track = pairs.setdefault(pair, 10 + 3 * len(pairs))
        sample['track'] = -1 if rng.random() < 0.2 else track
    return samples


def means_by_loops(samples):
    """A sample for each track of queries and of the gallery, in float64."""
    result, groups = [], {}
    for i, sample in enumerate(samples):
        alone = sample['track'] < 0
        key = (
            sample['is_query'],
            'alone' if alone else '',
            i if alone else sample['track'],
        )
        groups.setdefault(key, []).append(sample)
    for members in groups.values():
        total = np.zeros(len(members[0]['feature']))
        for sample in members:
            feature = sample['feature'].double().numpy()
            total += feature / np.sqrt((feature**2).sum())
        counts = {}
        for sample in members:
            counts[sample['pid']] = counts.get(sample['pid'], 0) + 1
        pid = max(counts, key=lambda p: counts[p])
        mean = torch.tensor(total / np.sqrt((total**2).sum()), dtype=torch.float32)
        result.append(dict(members[0], pid=pid, feature=mean))
    return result


def distinct_samples(seed):
    samples = make_samples(seed)
    rng = np.random.default_rng(seed)
    for sample in samples:  # no ties, which differ in the last bit
        sample['feature'] = torch.tensor(rng.standard_normal(8), dtype=torch.float32)
    return tracks_of(samples, rng)


@pytest.mark.parametrize('seed', range(4))
def test_mean_of_tracks(seed):
    samples = distinct_samples(seed)
    means = means_by_loops(samples)
    assert len(means) < len(samples)
    expected = evaluate(means, size=len(means))
    assert evaluate(samples, track_mean=True) == pytest.approx(expected)
    assert evaluate(samples) != pytest.approx(expected)
    shuffled = [
        with_index(samples)[i] for i in np.random.default_rng(1).permutation(49)
    ]
    assert evaluate(shuffled, track_mean=True) == pytest.approx(expected)


def test_a_track_of_two_people_counts_for_most_of_its_images(monkeypatch):
    lines = []
    monkeypatch.setattr(reid_metric, 'print_log', lambda *args: lines.append(args[0]))
    samples = distinct_samples(0)
    gallery = [s for s in samples if not s['is_query'] and s['track'] >= 0]
    sizes = {
        s['track']: sum(o['track'] == s['track'] for o in gallery) for s in gallery
    }
    wrong = next(s for s in gallery if sizes[s['track']] > 2)
    wrong['pid'] = 77
    expected = evaluate(means := means_by_loops(samples), size=len(means))
    assert 77 not in {sample['pid'] for sample in means}
    assert evaluate(samples, track_mean=True) == pytest.approx(expected)
    (line,) = lines
    assert ': 1 of ' in line and 'images of several identities' in line


def test_mean_of_tracks_without_tracks():
    with pytest.raises(KeyError, match=r"no 'track'.*'track'\)\)"):
        evaluate(make_samples(), track_mean=True)
    with pytest.raises(ValueError, match='no sample has one'):
        evaluate(make_samples(track=-1), track_mean=True)


def test_several_datasets():
    first, second = make_samples(1, dataset='market'), make_samples(2, dataset='duke')
    result = evaluate(first + second, size=98)
    parts = {'market': evaluate(first), 'duke': evaluate(second)}
    for key in ('mAP', 'mINP', 'R1', 'R5', 'R10'):
        values = [parts[name][f'reid/{key}'] for name in parts]
        assert result[f'reid/{key}'] == pytest.approx(np.mean(values))
        for name, value in zip(parts, values):
            assert result[f'reid/{name}/{key}'] == value
    assert len(result) == 15
    # One named data set is no other case than one without a name.
    assert evaluate(first).keys() == evaluate(make_samples(1)).keys()


def test_datasets_in_part_named():
    with pytest.raises(ValueError, match="samples of \\['a'\\] name their 'dataset'"):
        evaluate(make_samples(1, dataset='a') + make_samples(2), size=98)


def test_error_names_the_dataset():
    unmatched = [dict(s, camid=0) for s in make_samples(2, dataset='b')]
    with pytest.raises(ValueError, match="Data set 'b': None of the 12 queries"):
        evaluate(make_samples(1, dataset='a') + unmatched, size=98)


@pytest.mark.parametrize('key', ['pid', 'camid', 'is_query'])
def test_missing_meta_key(key):
    samples = make_samples()
    del samples[3][key]
    with pytest.raises(KeyError, match=rf"no '{key}'.*PackInputs\(meta_keys="):
        evaluate(samples)


def test_bad_features():
    samples = make_samples()
    with pytest.raises(KeyError, match=r"no 'embedding', only .*'feature'"):
        evaluate(samples, feature_key='embedding')
    with pytest.raises(ValueError, match=r"'feature' must be one vector .* \(6, 1\)"):
        evaluate([dict(s, feature=s['feature'][:, None]) for s in samples])
    samples[7]['feature'] = torch.ones(5)
    with pytest.raises(ValueError, match='5 channels, before it had 6'):
        evaluate(samples, batch_size=1)


def test_bad_arguments():
    with pytest.raises(TypeError, match='rerank must be None or a dict'):
        ReIDMetric(rerank=True)
    with pytest.raises(ValueError, match='collect_device'):
        ReIDMetric(collect_device='tpu')


def test_bad_sets():
    samples = make_samples()
    with pytest.raises(ValueError, match='got no data samples'):
        ReIDMetric().evaluate(0)
    with pytest.raises(ValueError, match='got 49 samples of 50'):
        evaluate(samples, size=50)
    with pytest.raises(ValueError, match='is_query is True for none of the 37'):
        evaluate(samples[12:], size=37)
    with pytest.raises(ValueError, match='is_query is False for none of the 12'):
        evaluate(samples[:12], size=12)


def test_order_of_a_dataset():
    unknown, one = np.full(5, -1), np.zeros(5, int)
    # Rank 0 holds 0, 2, 4 and rank 1 holds 1, 3.
    assert dataset_order(unknown, one, [3, 2], 5).tolist() == [0, 3, 1, 4, 2]
    assert dataset_order(unknown, one, [3, 2], 4).tolist() == [0, 3, 1, 4]
    # Sorted by index, without the second 1.
    index = np.array([2, 1, 0, 1, 3])
    assert dataset_order(index, one, [3, 2], 4).tolist() == [2, 1, 0, 4]
    # The same index in two data sets is no duplicate.
    groups = np.array([0, 0, 0, 1, 1])
    assert dataset_order(index, groups, [3, 2], 5).tolist() == [2, 1, 0, 3, 4]
    # Indices that cannot be positions in one data set of this size.
    assert dataset_order(index, one, [3, 2], 5).tolist() == [0, 3, 1, 4, 2]


@pytest.mark.parametrize('scope', ['mmreid_gcl', 'mmpretrain', 'mmengine'])
def test_registered(scope):
    with DefaultScope.overwrite_default_scope(scope):
        evaluator = Evaluator(dict(type='mmreid_gcl.ReIDMetric', topk=(1,)))
        assert isinstance(evaluator.metrics[0], ReIDMetric)
    assert isinstance(METRICS.build(dict(type='ReIDMetric')), ReIDMetric)


def test_through_an_evaluator():
    samples = make_samples()
    evaluator = Evaluator(ReIDMetric())
    packed = []
    for sample in samples:
        data_sample = DataSample(feature=sample['feature'])
        keys = ('pid', 'camid', 'is_query')
        data_sample.set_metainfo({key: sample[key] for key in keys})
        packed.append(data_sample)
    evaluator.process(packed)
    assert evaluator.evaluate(len(samples)) == evaluate(samples)


class Vectors(BaseDataset):
    """Random 8 x 8 images of a few people."""

    METAINFO = dict(classes=list('abcdef'))

    def load_data_list(self):
        _, *ids = random_problem(np.random.default_rng(0), 6, 15, pids=3, junk=0)
        ids = [np.concatenate(pair) for pair in zip(ids[:2], ids[3:])]
        return [
            dict(
                img=np.random.default_rng(i).integers(0, 255, (8, 8, 3), np.uint8),
                pid=int(pid),
                camid=int(camid),
                is_query=i < 6,
                gt_label=0,
            )
            for i, (pid, camid) in enumerate(zip(*ids))
        ]


def test_in_mmpretrains_classifier(tmp_path):
    """With mmpretrain's own runner, model and scope; scores are the features."""
    torch.manual_seed(0)
    seen = []

    class Spy(ReIDMetric):
        def process(self, data_batch, data_samples):
            seen.extend(data_samples)
            super().process(data_batch, data_samples)

    pack = dict(type='PackInputs', meta_keys=('pid', 'camid', 'is_query', 'sample_idx'))
    runner = Runner(
        model=dict(
            type='ImageClassifier',
            data_preprocessor=dict(num_classes=6, mean=[127.0] * 3, std=[60.0] * 3),
            backbone=dict(type='ResNet', depth=18, base_channels=8),
            neck=dict(type='GlobalAveragePooling'),
            head=dict(type='LinearClsHead', num_classes=6, in_channels=64),
        ),
        work_dir=str(tmp_path),
        val_dataloader=dict(
            batch_size=4,
            dataset=dict(type=Vectors, pipeline=[pack]),
            sampler=dict(type='DefaultSampler', shuffle=False),
        ),
        val_cfg=dict(),
        val_evaluator=Evaluator(Spy(feature_key='pred_score')),
        default_scope='mmpretrain',
        experiment_name='reid_metric',
    )
    result = runner.val()
    assert len(seen) == 21
    features = [dict(s, feature=s['pred_score']) for s in seen]
    expected = prefixed(evaluate_ranking(*arrays_of(features)))
    assert {key: result[key] for key in expected} == expected


def test_open_set():
    """Against plain loops over the queries, thresholds and all."""
    rng = np.random.default_rng(5)
    people = rng.normal(size=(30, 16))

    def sample(pid, camid, is_query):  # 0 to 19 are in the gallery, 20 to 29 not
        feature = people[pid] + 0.7 * rng.normal(size=16)
        return dict(
            feature=torch.from_numpy(feature), pid=pid, camid=camid, is_query=is_query
        )

    samples = [sample(int(pid), 0, True) for pid in rng.integers(0, 30, 90)]
    samples += [
        sample(int(pid), i % 3, False) for i, pid in enumerate([*range(20)] * 4)
    ]
    samples += [dict(sample(3, 1, is_query), pid=-1) for is_query in (True, False)]
    # of this person the gallery has the query's own camera alone: no match either
    for is_query in (True, False):
        feature = torch.from_numpy(rng.normal(size=16))
        samples.append(dict(feature=feature, pid=99, camid=3, is_query=is_query))
    gallery = [s for s in samples if not s['is_query'] and s['pid'] != -1]
    found, alarms = [], []
    for query in (s for s in samples if s['is_query'] and s['pid'] != -1):
        best, match = -np.inf, False
        matched = False
        for image in gallery:
            same = image['pid'] == query['pid']
            if same and image['camid'] == query['camid']:
                continue
            matched |= same
            score = float(
                torch.cosine_similarity(
                    query['feature'].double(), image['feature'].double(), dim=0
                )
            )
            if score > best:
                best, match = score, same
        if matched:
            found.append((best, match))
        else:
            alarms.append(best)
    assert len(found) > 30 and len(alarms) > 10
    result = evaluate(samples, size=len(samples), open_set=True)
    closed = evaluate(samples, size=len(samples))
    assert {key: result[key] for key in closed} == closed
    rates = []
    for share, name in ((0.01, 'DIR@1%'), (0.001, 'DIR@0.1%')):
        # the lowest threshold that at most this share of the alarms reaches
        possible = sorted({*alarms, *(score + 1e-12 for score in alarms)})
        threshold = next(
            t for t in possible if sum(a >= t for a in alarms) <= share * len(alarms)
        )
        rate = np.mean([match and score >= threshold for score, match in found])
        assert result[f'reid/{name}'] == pytest.approx(100 * rate)
        rates.append(rate)
    assert 0 < rates[0] < 1


def test_rates_of_identification():
    found = np.array([0.9, 0.8, -np.inf, 0.3])
    alarms = np.linspace(0, 0.7, 100)
    rates = identification_rates(found, alarms, (0, 0.01, 0.5, 1))
    assert rates == {'DIR@0%': 50, 'DIR@1%': 50, 'DIR@50%': 50, 'DIR@100%': 75}
    assert identification_rates(found, alarms / 3, [0.5])['DIR@50%'] == 75
    # who is as similar as the last alarm that must not be raised is not found
    assert identification_rates(np.array([0.5]), np.array([0.5]))['DIR@1%'] == 0
    with pytest.raises(ValueError, match='4 and 0'):
        identification_rates(found, np.empty(0))
    with pytest.raises(ValueError, match='0 to 1'):
        identification_rates(found, alarms, [1.5])
    with pytest.raises(ValueError, match='people into the query'):
        evaluate([s for s in make_samples() if s['pid'] != 9], open_set=True)
