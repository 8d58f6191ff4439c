# SPDX-License-Identifier: Apache-2.0
"""The tables by name, with the paper's numbers."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from .experiment import Experiment

DATASETS = {
    'synthetic': 'the synthetic set',
    'market': 'Market-1501',
    'duke': 'DukeMTMC-reID',
    'msmt17': 'MSMT17',
}
_PAPER = ('market', 'duke', 'msmt17')
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
_ORDERS = {'filename': 'file name', 'camera_time': 'camera and time'}
_MODELS = ('baseline', 'NS', 'SCL', 'SCL + NS', 'CR + NS', 'SCL + CR + NS')
#: Table 3, on DukeMTMC-reID: mAP, R1, R5, R10.
_TABLE3 = {
    'average': (69.4, 82.9, 91.0, 93.0),
    'random': (68.6, 82.1, 90.1, 92.5),
    'k1': (70.7, 83.4, 91.1, 92.7),
    'k2': (71.4, 84.3, 91.6, 93.4),
    'k4': (70.5, 83.6, 91.0, 93.0),
}
#: Figure 5, on DukeMTMC-reID: what the text says of it; the rest is a drawing.
_FIGURE5: dict[str, dict[float, dict[str, float]]] = {
    'B': {8: dict(mAP=76.6, R1=87.1), 16: dict(mAP=77.0, R1=87.6)},
    'T': {5: dict(mAP=77.0, R1=87.6)},
    'eps': {0.6: dict(mAP=72.1, R1=84.6)},
    'min_samples': {4: dict(mAP=72.1, R1=84.6)},
}
#: Panel of figure 5, and the paper's name.
_PANELS = {
    'B': ('a', 'B'),
    'T': ('b', 'T'),
    'eta': ('c', 'eta (η)'),
    'eps': ('d', 'eps (α)'),
    'min_samples': ('e', 'min_samples (β)'),
}


@dataclass(frozen=True)
class Table:
    """A table: rows, and what to say of it.

    Attributes:
        name (str): Name on the command line.
        title (str): Heading.
        rows (list[Experiment]): Its rows.
        metrics (tuple[str, ...]): Columns of retrieval metrics.
        paper_on (str): The data set of the paper's numbers, in words; '' if
            the paper has none.
        note (str): What to know when reading it.
        parameter (str): What a sweep varies; '' for other tables.
    """

    name: str
    title: str
    rows: list[Experiment]
    metrics: tuple[str, ...] = ('mAP', 'R1')
    paper_on: str = ''
    note: str = ''
    parameter: str = ''


def _ablated(dataset: str, name: str) -> None:
    if dataset not in _ABLATED:
        raise ValueError(
            f'{name} has configs for {", ".join(_ABLATED)}, not for {dataset}.'
        )


def _paper_dataset(dataset: str) -> str:
    return dataset if dataset in ('market', 'duke') else 'duke'


def _table1(dataset: str | None) -> Table:
    rows = []
    for name in (dataset,) if dataset else _PAPER:
        rows += [
            Experiment(
                f'{DATASETS[name]}, graphs by file name (the paper)',
                'configs/gcl_synthetic_filename.py'
                if name == 'synthetic'
                else f'configs/gcl_{name}.py',
                paper=_TABLE1.get(name, {}),
            ),
            Experiment(
                f'{DATASETS[name]}, graphs by camera and time',
                f'configs/gcl_{name}_camera_time.py',
            ),
            Experiment(
                f'{DATASETS[name]}, mutual neighbours, camera statistics',
                f'configs/gcl_{name}_neighbours.py',
            ),
        ]
    return Table(
        'table1',
        'Table 1: the method on the data sets of the paper',
        rows,
        metrics=('mAP', 'R1', 'R5'),
        paper_on='the data set of the row',
    )


def _table2(dataset: str | None, order: str = '') -> Table:
    dataset = dataset or 'synthetic'
    _ablated(dataset, 'table2')
    paper = _paper_dataset(dataset)
    rows = []
    for n, label in enumerate(_MODELS):
        # models 1 and 3 (positions 0 and 2) have no graphs
        options = {'hook.graphs.order': order} if order and n not in (0, 2) else {}
        rows.append(
            Experiment(
                f'{n + 1}: {label}',
                f'configs/ablation/{dataset}_model{n + 1}.py',
                options,
                dict(zip(('mAP', 'R1'), _TABLE2[paper][n])),
            )
        )
    return Table(
        f'table2-{order}' if order else 'table2',
        f'Table 2 on {DATASETS[dataset]}: components'
        + (f', graphs by {_ORDERS[order]}' if order else ''),
        rows,
        paper_on=DATASETS[paper],
        note='SCL: selective contrastive learning; CR: cluster refinement; NS: noise '
        "suppression. The paper's CR uses graphs by file name.",
    )


def _table3(dataset: str | None) -> Table:
    dataset = dataset or 'synthetic'
    _ablated(dataset, 'table3')
    rows = [
        Experiment(
            {'average': 'average', 'random': 'random'}.get(policy, f'k = {policy[1:]}'),
            f'configs/memory/{dataset}_{policy}.py',
            paper=dict(zip(('mAP', 'R1', 'R5', 'R10'), numbers)),
        )
        for policy, numbers in _TABLE3.items()
    ]
    return Table(
        'table3',
        f'Table 3 on {DATASETS[dataset]}: updates of the memory, without CR and NS',
        rows,
        metrics=('mAP', 'R1', 'R5', 'R10'),
        paper_on=DATASETS['duke'],
        note='average is model 1 of table 2, k = 2 is model 3.',
    )


def _sweep(
    parameter: str, keys: tuple[str, ...], values: tuple, model: int, note: str = ''
) -> Callable[[str | None], Table]:
    def make(dataset: str | None) -> Table:
        chosen = dataset or 'synthetic'
        _ablated(chosen, f'sweep-{parameter}')
        panel, symbol = _PANELS[parameter]
        where = DATASETS[chosen].removeprefix('the ')
        rows = [
            Experiment(
                f'{parameter} = {value:g}',
                f'configs/ablation/{chosen}_model{model}.py',
                dict.fromkeys(keys, value),
                _FIGURE5.get(parameter, {}).get(value, {}),
                value,
            )
            for value in values
        ]
        return Table(
            f'sweep-{parameter}',
            f'Figure 5{panel}: {symbol}, model {model}, {where}',
            rows,
            paper_on=DATASETS['duke'],
            note=note or 'The paper draws the other values without saying them.',
            parameter=parameter,
        )

    return make


def _refine_begin(dataset: str | None) -> Table:
    dataset = dataset or 'synthetic'
    _ablated(dataset, 'refine_begin')
    return Table(
        'refine_begin',
        f'First epoch with refined clustering, on {DATASETS[dataset]}',
        [
            Experiment(
                f'refine_begin = {begin}',
                f'configs/ablation/{dataset}_model6.py',
                {'hook.refine_begin': begin} if begin else {},
                value=begin,
            )
            for begin in (0, 1, 2)
        ],
        note='The paper refines from the first epoch (0), when GCL is untrained.',
        parameter='refine_begin',
    )


def _graphs(dataset: str | None) -> Table:
    dataset = dataset or 'synthetic'
    _ablated(dataset, 'graphs')
    ordered = f'configs/ablation/{dataset}_model6.py'
    near = f'configs/gcl_{dataset}_neighbours.py'
    order, mutual = 'hook.graphs.order', 'hook.graphs.mutual'
    begin, norm = 'hook.refine_begin', 'hook.camera_norm'
    deviation = 'standardize'
    variants: tuple[tuple[str, str, dict[str, Any]], ...] = (
        ('file name (the paper; leaks identities)', ordered, {order: 'filename'}),
        ('camera and time', ordered, {order: 'camera_time'}),
        ('camera and time, epoch 3 on', ordered, {order: 'camera_time', begin: 2}),
        ('random', ordered, {order: 'random'}),
        ('neighbours', near, {mutual: False, begin: 0, norm: None}),
        ('neighbours, epoch 3 on', near, {mutual: False, norm: None}),
        ('mutual neighbours', near, {begin: 0, norm: None}),
        ('mutual neighbours, epoch 3 on', near, {norm: None}),
        ('mutual neighbours; camera means', near, {begin: 0, norm: 'mean'}),
        ('mutual neighbours; camera statistics', near, {begin: 0}),
        ('mutual neighbours, epoch 3 on; camera statistics', near, {}),
    )
    plain = f'configs/ablation/{dataset}_model4.py'
    rows = [
        Experiment('no refinement (model 4)', plain),
        Experiment('no refinement; camera means', plain, {norm: 'mean'}),
        Experiment('no refinement; camera statistics', plain, {norm: deviation}),
    ]
    return Table(
        'graphs',
        f'Graphs of the clustering on {DATASETS[dataset]}: model 6',
        rows + [Experiment(*variant) for variant in variants],
        note='Only the graphs by file name see identities. Camera means: the mean of '
        "each camera's features is subtracted before clustering (camera_norm); camera "
        'statistics: every channel is divided by its standard deviation there, too.',
    )


def _label_free(dataset: str | None) -> Table:
    dataset = dataset or 'synthetic'
    _ablated(dataset, 'label_free')
    near = f'configs/gcl_{dataset}_neighbours.py'
    whole = f'configs/ablation/{dataset}_model6.py'
    plain = f'configs/ablation/{dataset}_model4.py'
    more = {'model.head.topk': 4, 'model.relation_head.topk': 4}
    begin = {'hook.refine_begin': 0}
    plainly = {'hook.camera_norm': None}
    norm = {'hook.camera_norm': 'standardize'}
    by_name = {'hook.graphs.order': 'filename'}
    by_time = {'hook.graphs.order': 'camera_time'}
    return Table(
        'label_free',
        f'Without labels, k = 4, on {DATASETS[dataset]}',
        [
            Experiment('no refinement (model 4)', plain, more),
            Experiment('no refinement; camera statistics', plain, {**more, **norm}),
            Experiment('camera and time', whole, {**more, **by_time}),
            Experiment('mutual neighbours, epoch 3 on', near, {**plainly, **more}),
            Experiment('mutual neighbours; camera statistics', near, {**begin, **more}),
            Experiment('mutual neighbours, epoch 3 on; camera statistics', near, more),
            Experiment('file name (leaks identities)', whole, {**more, **by_name}),
        ],
        note='Variants of the table graphs with 4 of the 4 (or 8) queries of a cluster '
        'in loss and memory instead of 2, which table 3 favours on the rendered set.',
    )


def _controls(dataset: str | None) -> Table:
    dataset = dataset or 'synthetic'
    if dataset != 'synthetic':
        raise ValueError('controls has configs for synthetic alone.')
    return Table(
        'controls',
        'Controls on the synthetic set',
        [
            Experiment('the method', 'configs/ablation/synthetic_model6.py'),
            Experiment(
                'labels dealt at random', 'configs/ablation/synthetic_shuffled.py'
            ),
            Experiment(
                'labels of the first epoch', 'configs/ablation/synthetic_frozen.py'
            ),
        ],
        note='If the gain comes from the pseudo-labels, the second row has none.',
    )


#: What there is for each data set, in configs/baselines.
_BASELINES = (
    ('Cluster Contrast, average', 'cluster_contrast', tuple(DATASETS)),
    ('Cluster Contrast, hardest', 'cluster_contrast_hardest', ('synthetic', 'market')),
    ('Cluster Contrast, Infomap', 'cluster_contrast_infomap', ('synthetic', 'market')),
    ('the method, GeM pooling', 'gcl_gem', ('synthetic', 'market')),
    ('the method, IBN-ResNet-50-a', 'gcl_ibn', ('market',)),
    ('the method, DeiT-small', 'gcl_vit', ('market',)),
)


def _baselines(dataset: str | None) -> Table:
    dataset = dataset or 'synthetic'
    rows = []
    if dataset in _ABLATED:
        baseline = f'configs/ablation/{dataset}_model1.py'
        rows.append(Experiment('model 1 of table 2', baseline))
        rows.append(Experiment('the method', f'configs/ablation/{dataset}_model6.py'))
    else:
        rows.append(Experiment('the method', f'configs/gcl_{dataset}.py'))
    for label, name, datasets in _BASELINES:
        if dataset in datasets:
            path = f'configs/baselines/{dataset}_{name}.py'
            rows.append(Experiment(label, path))
    return Table(
        'baselines',
        f'Relatives on {DATASETS[dataset]}',
        rows,
        note='Cluster Contrast has batches of 16 x 16, which take longer.',
    )


_BETA = 'hook.clusterer.min_samples'
#: Name to a function from a data set, or None for the default, to the table.
TABLES: dict[str, Callable[[str | None], Table]] = {
    'table1': _table1,
    'table2': _table2,
    'table2-filename': lambda dataset: _table2(dataset, 'filename'),
    'table2-camera_time': lambda dataset: _table2(dataset, 'camera_time'),
    'table3': _table3,
    'sweep-B': _sweep('B', ('hook.graphs.size',), (8, 16, 32, 64), 6),
    'sweep-T': _sweep('T', ('model.relation_neck.temperature',), (1, 2, 5, 10, 20), 6),
    'sweep-eta': _sweep(
        'eta',
        ('model.head.momentum', 'model.relation_head.momentum'),
        (0.1, 0.2, 0.3, 0.5, 0.7, 0.9),
        6,
        'The paper does not say which model it varies here, and draws the values. It '
        'ends with 0.1; its implementation details have 0.2.',
    ),
    'sweep-eps': _sweep('eps', ('hook.clusterer.eps',), (0.4, 0.5, 0.6, 0.7), 4),
    'sweep-min_samples': _sweep('min_samples', (_BETA,), (2, 4, 6, 8), 4),
    'refine_begin': _refine_begin,
    'graphs': _graphs,
    'label_free': _label_free,
    'controls': _controls,
    'baselines': _baselines,
}


def named_table(name: str, dataset: str | None = None) -> Table:
    """A table by its name.

    Args:
        name (str): One of :data:`TABLES`.
        dataset (str, optional): One of :data:`DATASETS`. Defaults to the
            synthetic set, for table 1 to the three of the paper.

    Returns:
        Table: Its rows.

    Raises:
        ValueError: If there is no such table or data set, or no configs.
    """
    if name not in TABLES:
        raise ValueError(f'{name}: no such table. There are {", ".join(TABLES)}.')
    if dataset is not None and dataset not in DATASETS:
        raise ValueError(
            f'{dataset}: no such data set. There are {", ".join(DATASETS)}.'
        )
    return TABLES[name](dataset)
