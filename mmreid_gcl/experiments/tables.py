# SPDX-License-Identifier: Apache-2.0
"""The tables by name, with the paper's numbers."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import NamedTuple

from .experiment import Experiment

DATASETS = {
    'synthetic': 'the synthetic set', 'market': 'Market-1501', 'duke': 'DukeMTMC-reID',
    'msmt17': 'MSMT17',
}  # fmt: skip
_ABLATED = ('synthetic', 'market', 'duke')

#: Table 1, "Ours": R1, R5, mAP.
_TABLE1 = {
    'market': dict(R1=94.8, R5=98.2, mAP=87.5),
    'duke': dict(R1=87.6, R5=94.3, mAP=77.0),
    'msmt17': dict(R1=74.2, R5=85.4, mAP=49.0),
}
#: Table 2: model to (mAP, R1) on each data set.
_TABLE2 = {
    'duke': ((69.4, 82.9), (70.6, 83.7), (71.4, 84.3), (72.1, 84.6), (76.1, 87.1),
             (77.0, 87.6)),
    'market': ((81.2, 91.4), (82.1, 92.1), (82.4, 92.5), (83.4, 92.8), (87.0, 94.2),
               (87.5, 94.8)),
}  # fmt: skip
_MODELS = ('baseline', 'NS', 'SCL', 'SCL + NS', 'CR + NS', 'SCL + CR + NS')
#: Table 3, on DukeMTMC-reID: label, then mAP, R1, R5, R10.
_TABLE3 = {
    'average': ('average', 69.4, 82.9, 91.0, 93.0),
    'random': ('random', 68.6, 82.1, 90.1, 92.5),
    'k1': ('k = 1', 70.7, 83.4, 91.1, 92.7),
    'k2': ('k = 2', 71.4, 84.3, 91.6, 93.4),
    'k4': ('k = 4', 70.5, 83.6, 91.0, 93.0),
}


class _Sweep(NamedTuple):
    """A panel of figure 5."""

    panel: str
    symbol: str  # of the paper
    model: int
    keys: tuple[str, ...]
    values: tuple[float, ...]
    #: On DukeMTMC-reID: what the text says; the rest is a drawing.
    paper: dict[float, dict[str, float]] = {}
    note: str = 'The paper draws the other values without saying them.'


_SWEEPS = {
    'B': _Sweep(
        *('a', 'B', 6, ('hook.graphs.size',), (8, 16, 32, 64)),
        {8: dict(mAP=76.6, R1=87.1), 16: dict(mAP=77.0, R1=87.6)},
    ),
    'T': _Sweep(
        *('b', 'T', 6, ('model.relation_neck.temperature',), (1, 2, 5, 10, 20)),
        {5: dict(mAP=77.0, R1=87.6)},
    ),
    'eta': _Sweep(
        *('c', 'eta (η)', 6, ('model.head.momentum', 'model.relation_head.momentum')),
        (0.1, 0.2, 0.3, 0.5, 0.7, 0.9),
        note='The paper does not say which model it varies here, and draws the values. '
        'It ends with 0.1; its implementation details have 0.2.',
    ),
    'eps': _Sweep(
        *('d', 'eps (α)', 4, ('hook.clusterer.eps',), (0.4, 0.5, 0.6, 0.7)),
        {0.6: dict(mAP=72.1, R1=84.6)},
    ),
    'min_samples': _Sweep(
        *('e', 'min_samples (β)', 4, ('hook.clusterer.min_samples',), (2, 4, 6, 8)),
        {4: dict(mAP=72.1, R1=84.6)},
    ),
}
#: What there is for each data set, in configs/baselines.
_BASELINES = (
    ('Cluster Contrast', 'cluster_contrast', tuple(DATASETS)),
    ('Cluster Contrast, hardest', 'cluster_contrast_hardest', ('synthetic', 'market')),
    ('Cluster Contrast, Infomap', 'cluster_contrast_infomap', ('synthetic', 'market')),
    ('the method, GeM pooling', 'gcl_gem', ('synthetic', 'market')),
    ('the method, IBN-ResNet-50-a', 'gcl_ibn', ('market',)),
    ('the method, DeiT-small', 'gcl_vit', ('market',)),
)


@dataclass(frozen=True)
class Table:
    """A table: rows, and what to say of it."""

    name: str  #: Name on the command line
    title: str  #: Heading
    rows: list[Experiment]  #: Its rows
    metrics: tuple[str, ...] = ('mAP', 'R1')  #: Columns of retrieval metrics
    #: The data set of the paper's numbers, in words; '' if the paper has none
    paper_on: str = ''
    note: str = ''  #: What to know when reading it
    parameter: str = ''  #: What a sweep varies; '' for other tables
    base: str = ''  #: Label of the row that others are compared with, run by run


def _model(dataset: str, number: int) -> str:
    """Config of a model of table 2."""
    return f'configs/ablation/{dataset}_model{number}.py'


def _table1(dataset: str) -> Table:
    rows = []
    for name in [dataset] if dataset else list(_TABLE1):
        ordered = '_filename' if name == 'synthetic' else ''
        rows += [
            Experiment(
                f'{DATASETS[name]}, {graphs}',
                f'configs/gcl_{name}{suffix}.py',
                paper=_TABLE1.get(name, {}) if suffix == ordered else {},
            )
            for graphs, suffix in (
                ('graphs by file name (the paper)', ordered),
                ('graphs by camera and time', '_camera_time'),
                ('mutual neighbours, camera statistics', '_neighbours'),
            )
        ]
    title = 'Table 1: the method on the data sets of the paper'
    metrics = ('mAP', 'R1', 'R5')
    return Table('', title, rows, metrics, paper_on='the data set of the row')


def _table2(dataset: str, order: str = '', words: str = '') -> Table:
    paper = dataset if dataset in _TABLE2 else 'duke'
    rows = [
        Experiment(
            f'{number}: {label}',
            _model(dataset, number),
            # models 1 and 3 have no graphs
            {'hook.graphs.order': order} if order and number not in (1, 3) else {},
            dict(zip(('mAP', 'R1'), numbers)),
        )
        for number, (label, numbers) in enumerate(zip(_MODELS, _TABLE2[paper]), 1)
    ]
    return Table(
        '',
        f'Table 2 on {DATASETS[dataset]}: components{words}',
        rows,
        paper_on=DATASETS[paper],
        note='SCL: selective contrastive learning; CR: cluster refinement; NS: noise '
        "suppression. The paper's CR uses graphs by file name.",
    )


def _table3(dataset: str) -> Table:
    metrics = ('mAP', 'R1', 'R5', 'R10')
    return Table(
        '',
        f'Table 3 on {DATASETS[dataset]}: updates of the memory, without CR and NS',
        [
            Experiment(
                label,
                f'configs/memory/{dataset}_{policy}.py',
                paper=dict(zip(metrics, numbers)),
            )
            for policy, (label, *numbers) in _TABLE3.items()
        ],
        metrics,
        DATASETS['duke'],
        'average is model 1 of table 2, k = 2 is model 3.',
    )


def _sweep(dataset: str, parameter: str) -> Table:
    sweep = _SWEEPS[parameter]
    where = DATASETS[dataset].removeprefix('the ')
    return Table(
        '',
        f'Figure 5{sweep.panel}: {sweep.symbol}, model {sweep.model}, {where}',
        [
            Experiment(
                f'{parameter} = {value:g}',
                _model(dataset, sweep.model),
                dict.fromkeys(sweep.keys, value),
                sweep.paper.get(value, {}),
                value,
            )
            for value in sweep.values
        ],
        paper_on=DATASETS['duke'],
        note=sweep.note,
        parameter=parameter,
    )


def _refine_begin(dataset: str) -> Table:
    return Table(
        '',
        f'First epoch with refined clustering, on {DATASETS[dataset]}',
        [
            Experiment(
                f'refine_begin = {begin}',
                _model(dataset, 6),
                {'hook.refine_begin': begin} if begin else {},
                value=begin,
            )
            for begin in (0, 1, 2)
        ],
        note='The paper refines from the first epoch (0), when GCL is untrained.',
        parameter='refine_begin',
    )


def _bounds(config: str) -> list[Experiment]:
    """What a table is read between, beside supervised training."""
    return [
        Experiment('untrained network (ImageNet weights)', config, measure='untrained'),
        Experiment('colour histograms', config, measure='histogram'),
    ]


_ORDER, _MUTUAL = 'hook.graphs.order', 'hook.graphs.mutual'
_BEGIN, _NORM = 'hook.refine_begin', 'hook.camera_norm'


def _graphs(dataset: str) -> Table:
    plain, ordered = _model(dataset, 4), _model(dataset, 6)
    near = f'configs/gcl_{dataset}_neighbours.py'
    statistics = {_NORM: 'standardize'}
    late = {_ORDER: 'camera_time', _BEGIN: 2}
    loose = {_MUTUAL: False, _NORM: None}
    variants: tuple[tuple[str, str, dict], ...] = (
        ('no refinement (model 4)', plain, {}),
        ('no refinement; camera means', plain, {_NORM: 'mean'}),
        ('no refinement; camera statistics', plain, statistics),
        ('file name (the paper; leaks identities)', ordered, {_ORDER: 'filename'}),
        ('camera and time', ordered, {_ORDER: 'camera_time'}),
        ('camera and time, epoch 3 on', ordered, late),
        ('random', ordered, {_ORDER: 'random'}),
        ('neighbours', near, {**loose, _BEGIN: 0}),
        ('neighbours, epoch 3 on', near, loose),
        ('mutual neighbours', near, {_BEGIN: 0, _NORM: None}),
        ('mutual neighbours, epoch 3 on', near, {_NORM: None}),
        ('mutual neighbours; camera means', near, {_BEGIN: 0, _NORM: 'mean'}),
        ('mutual neighbours; camera statistics', near, {_BEGIN: 0}),
        ('mutual neighbours, epoch 3 on; camera statistics', near, {}),
    )
    return Table(
        '',
        f'Graphs of the clustering on {DATASETS[dataset]}: model 6',
        [Experiment(*variant) for variant in variants],
        note='Only the graphs by file name see identities. Camera means: the mean of '
        "each camera's features is subtracted before clustering (camera_norm); camera "
        'statistics: every channel is divided by its standard deviation there, too.',
    )


def _label_free(dataset: str) -> Table:
    plain, ordered = _model(dataset, 4), _model(dataset, 6)
    near = f'configs/gcl_{dataset}_neighbours.py'
    variants: tuple[tuple[str, str, dict], ...] = (
        ('no refinement (model 4)', plain, {}),
        ('no refinement; camera statistics', plain, {_NORM: 'standardize'}),
        ('camera and time', ordered, {_ORDER: 'camera_time'}),
        ('mutual neighbours, epoch 3 on', near, {_NORM: None}),
        ('mutual neighbours; camera statistics', near, {_BEGIN: 0}),
        ('mutual neighbours, epoch 3 on; camera statistics', near, {}),
        ('file name (leaks identities)', ordered, {_ORDER: 'filename'}),
    )
    more = {'model.head.topk': 4, 'model.relation_head.topk': 4}
    return Table(
        '',
        f'Without labels, k = 4, on {DATASETS[dataset]}',
        [
            *_bounds(plain),
            *(
                Experiment(label, path, {**more, **own})
                for label, path, own in variants
            ),
        ],
        note='Variants of the table graphs with 4 of the 4 (or 8) queries of a cluster '
        'in loss and memory instead of 2, which table 3 favours on the synthetic set.',
    )


def _instances(dataset: str) -> int:
    """K of the methods; Cluster Contrast as published has 16."""
    return 4 if dataset == 'synthetic' else 8


def _methods(dataset: str) -> Table:
    four = {'model.head.topk': 4, 'model.relation_head.topk': 4}
    same = {'train_dataloader.sampler.num_instances': _instances(dataset)}
    rows = _bounds(f'configs/gcl_{dataset}.py')
    rows += [
        Experiment(label, f'configs/baselines/{dataset}_{name}.py', options)
        for label, name, options in (
            ('supervised', 'supervised', {}),
            ('Cluster Contrast', 'cluster_contrast', same),
            ('SpCL', 'spcl', {}),
            ('CAP', 'cap', {}),
        )
    ]
    near = f'configs/gcl_{dataset}_neighbours.py'
    rows.append(Experiment('GCL, no refinement, k = 4', _model(dataset, 4), four))
    rows.append(Experiment('GCL, mutual neighbours, k = 4', near, four))
    return Table(
        '',
        f'Methods on {DATASETS[dataset]}',
        rows,
        note='One schedule, backbone and batch size for all. Rows but supervised see '
        'no identity.',
    )


def _best(dataset: str) -> Table:
    """Parts alone on model 4, the recipe, and the recipe without each part."""
    plain, recipe = _model(dataset, 4), f'configs/best/best_{dataset}.py'
    near, leak = f'configs/gcl_{dataset}_neighbours.py', 'file name (leaks identities)'
    head = {'model.head.topk': 4}
    four = {**head, 'model.relation_head.topk': 4}
    norm = {_NORM: 'standardize'}
    identity = {'model.relation_neck.identity': True}
    sharper = {
        'default_hooks.ramp.type': 'RampHook',
        'default_hooks.ramp.name': 'relation_neck.temperature',
        'default_hooks.ramp.end': 20.0,
    }
    variants: list[tuple[str, str, dict]] = [
        (leak, _model(dataset, 6), {**four, _ORDER: 'filename'}),
        ('supervised', f'configs/baselines/{dataset}_supervised.py', {}),
        ('no refinement (model 4)', plain, four),
        ('model 4 without GCL (model 3)', _model(dataset, 3), head),
        ('model 4, GeM pooling', plain, {**four, 'model.neck.pooling': 'gem'}),
        ('model 4, camera statistics', plain, {**four, **norm}),
        (
            'model 4, camera statistics, neighbours by camera',
            plain,
            {**four, **norm, 'hook.clusterer.knn.intra': 8},
        ),
        ('GCL, mutual neighbours, camera statistics', near, four),
        ('GCL, θ and φ as identity', near, {**four, **identity}),
        (
            'GCL, θ and φ as identity, T = 20',
            near,
            {**four, **identity, 'model.relation_neck.temperature': 20.0},
        ),
        (
            'GCL, θ and φ as identity, softmax over mutual neighbours',
            near,
            {**four, **identity, 'model.relation_neck.mutual': 8},
        ),
        ('GCL, T from 5 to 20', near, {**four, **sharper}),
        (
            'GCL, θ and φ as identity, T from 5 to 20',
            near,
            {**four, **identity, **sharper},
        ),
        ('CAP', f'configs/baselines/{dataset}_cap.py', {}),
        (
            'Cluster Contrast',
            f'configs/baselines/{dataset}_cluster_contrast.py',
            {'train_dataloader.sampler.num_instances': _instances(dataset)},
        ),
        ('SpCL', f'configs/baselines/{dataset}_spcl.py', {}),
    ]
    if dataset == 'synthetic':  # of the others ResNet has stride 1, none has tracks
        two = {**four, 'model.last_stride': 2}
        variants += [
            ('no refinement, stride 2', plain, two),
            ('file name, stride 2', _model(dataset, 6), {**two, _ORDER: 'filename'}),
        ]
        off = {
            'hook.camera_norm': None,
            'hook.extract.flip': False,
            'model.head.0.loss_weight': 0.0,  # CAP's proxies
            'model.head.2.loss_weight': 0.0,  # instance contrast
            'train_dataloader.sampler.spread_cameras': False,
        }
        images = f'{recipe[:-3]}_images.py'
        variants.append(('centroids, GeM pooling', images, dict(off)))
        for label, parts in (
            ('and camera statistics', ('hook.camera_norm',)),
            ('and mirror images', ('hook.extract.flip',)),
            ("and CAP's proxies", ('model.head.0', 'train_dataloader')),
            ('and instance contrast (recipe without tracks)', ('model.head.2',)),
        ):
            off = {k: v for k, v in off.items() if not k.startswith(parts)}
            variants.append((label, images, off))
        variants += [
            (f'recipe, {label}', f'{recipe[:-3]}{suffix}.py', options)
            for label, suffix, options in (
                ('Infomap', '_infomap', {}),
                ('HDBSCAN', '_hdbscan', {}),
                ('soft consistency of two views', '_consistency', {}),
                ("eps='auto'", '', {'hook.clusterer.clusterer.eps': 'auto'}),
                (
                    "SpCL's reliability criterion",
                    '',
                    {'hook.clusterer.clusterer.type': 'SelfPacedClusterer'},
                ),
                (
                    'tracks of no cluster as clusters of their own',
                    '',
                    {'hook.clusterer.min_single': 4},
                ),
            )
        ]
    variants.append(('recipe', recipe, {}))
    variants += [
        (f'recipe without {label}', recipe, options)
        for label, options in (
            ('GeM pooling', {'model.neck.pooling': 'avg'}),
            ('camera statistics', {_NORM: None}),
            ('mirror images', {'hook.extract.flip': False}),
            ("CAP's proxies", {'model.head.0.loss_weight': 0.0}),
            ('centroids', {'model.head.1.loss_weight': 0.0}),
            ('instance contrast', {'model.head.2.loss_weight': 0.0}),
        )
    ]
    spread = {'train_dataloader.sampler.spread_tracks': True}
    eight = {
        'train_dataloader.sampler.num_identities': 8,
        'train_dataloader.sampler.num_instances': 8,
    }
    agreed = {'model.head.1.type': 'NeighbourLabelHead'}
    teacher = {
        'hook.extract.ema': True,
        'default_hooks.ema.type': 'EMAHook',
        # an average of some epoch
        'default_hooks.ema.momentum': 0.02 if dataset == 'synthetic' else 0.0025,
    }
    if dataset == 'synthetic':
        variants.append(('recipe, batches spread over tracks', recipe, spread))
        variants += [
            (
                f'recipe, batches of 8 x 8, k = {k}',
                recipe,
                {**eight, 'model.head.1.topk': k},
            )
            for k in (4, 8)
        ]
    variants.append(("recipe, neighbours' labels at the centroids", recipe, agreed))
    variants.append(('recipe with a mean teacher', recipe, teacher))
    return Table(
        '',
        f'The recipe without labels on {DATASETS[dataset]}',
        [*_bounds(recipe), *(Experiment(*variant) for variant in variants)],
        note='One backbone, schedule and batch size for all rows; k = 4 in rows with '
        'SCL.',
        base=leak,
    )


def _controls(dataset: str) -> Table:
    return Table(
        '',
        f'Controls on {DATASETS[dataset]}',
        [
            Experiment(label, f'configs/ablation/{dataset}_{name}.py')
            for label, name in (
                ('the method', 'model6'),
                ('labels dealt at random', 'shuffled'),
                ('labels of the first epoch', 'frozen'),
            )
        ],
        note='If the gain comes from the pseudo-labels, the second row has none.',
    )


def _baselines(dataset: str) -> Table:
    rows = [Experiment('the method', f'configs/gcl_{dataset}.py')]
    if dataset in _ABLATED:
        rows = [
            Experiment('model 1 of table 2', _model(dataset, 1)),
            Experiment('the method', _model(dataset, 6)),
        ]
    rows += [
        Experiment(label, f'configs/baselines/{dataset}_{name}.py')
        for label, name, datasets in _BASELINES
        if dataset in datasets
    ]
    return Table(
        '',
        f'Relatives on {DATASETS[dataset]}',
        rows,
        note='Cluster Contrast has batches of 16 x 16, which take longer.',
    )


#: Name to what makes the table from a data set, and the data sets that have its
#: configs; the first is the default, and '' stands for those of the paper.
TABLES: dict[str, tuple[Callable[[str], Table], Sequence[str]]] = {
    'table1': (_table1, ('', *DATASETS)),
    'table2': (_table2, _ABLATED),
    'table2-filename': (
        partial(_table2, order='filename', words=', graphs by file name'),
        _ABLATED,
    ),
    'table2-camera_time': (
        partial(_table2, order='camera_time', words=', graphs by camera and time'),
        _ABLATED,
    ),
    'table3': (_table3, _ABLATED),
    **{
        f'sweep-{name}': (partial(_sweep, parameter=name), _ABLATED) for name in _SWEEPS
    },
    'refine_begin': (_refine_begin, _ABLATED),
    'graphs': (_graphs, _ABLATED),
    'label_free': (_label_free, _ABLATED),
    'methods': (_methods, ('synthetic', 'market')),
    'best': (_best, ('synthetic', 'market')),
    'controls': (_controls, ('synthetic',)),
    'baselines': (_baselines, tuple(DATASETS)),
}


def named_table(name: str, dataset: str | None = None) -> Table:
    """A table by its name, one of :data:`TABLES`.

    ``dataset`` is one of :data:`DATASETS`, by default the synthetic set, for table 1
    the three of the paper. No such table or data set, or no configs, is a ValueError.
    """
    if name not in TABLES:
        raise ValueError(f'{name}: no such table. There are {", ".join(TABLES)}.')
    if dataset is not None and dataset not in DATASETS:
        raise ValueError(
            f'{dataset}: no such data set. There are {", ".join(DATASETS)}.'
        )
    make, datasets = TABLES[name]
    if dataset is not None and dataset not in datasets:
        raise ValueError(f'{name} has configs for {", ".join(datasets)} alone.')
    return replace(make(dataset or datasets[0]), name=name)
