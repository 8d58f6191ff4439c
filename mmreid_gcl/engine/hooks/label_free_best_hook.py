# SPDX-License-Identifier: Apache-2.0
"""LabelFreeBestHook: keeps the weights with the best label-free score."""

from __future__ import annotations

import shlex
from functools import partial
from pathlib import Path

from mmengine.hooks import EMAHook, Hook
from mmengine.runner import Runner

from mmreid_gcl.checkpoint import read_checkpoint
from mmreid_gcl.datasets.person_folder import NoImagesError
from mmreid_gcl.datasets.reid_dataset import ReIDDataset
from mmreid_gcl.evaluation import evaluate_ranking
from mmreid_gcl.evaluation.ground_truth import IdentityIndex, num_matches
from mmreid_gcl.processes import highest, on_rank_zero
from mmreid_gcl.registry import DATASETS, HOOKS
from mmreid_gcl.work_dir import last_checkpoint

from ..checkpoint_files import ATOMIC
from ..extraction import extract_features
from ..label_report import LabelFreeSignals
from .pseudo_label_hook import PseudoLabelHook

_INFO = 'label_free_best'
_FIRST, _BEFORE = 'label_free_first', 'map_before'
_NAME = 'best_label_free_epoch_{}.pth'


@HOOKS.register_module()
class LabelFreeBestHook(Hook):
    """Keep ``best_label_free_epoch_<n>.pth``: the weights with the highest score.

    The score (:class:`~mmreid_gcl.engine.label_report.LabelFreeSignals`) is computed
    from what :class:`PseudoLabelHook` finds at the start of an epoch. Those labels
    describe the weights that the epoch *begins* with, so it is these that are
    saved, before the first step changes them: n is the number of epochs that they
    were trained for. The weights after the last epoch are embedded and clustered
    once more to be scored too. The weights before the first epoch have no score,
    since no labels came before theirs.

    The file holds weights and config, no optimiser. The best score travels in
    the checkpoints: a resumed run compares with it, as long as the file is there.

    The rule is a heuristic: it has no way to see that a stable, tidy clustering
    puts two people into one group. ``docs/datasets.md`` says what was measured.

    At the end the log says what the training changed, from the first clustering to the
    last, which file to use and how to go on. If the config has no validation and the
    test set has identities, mAP before and after is measured for this text alone.

    Args:
        score_last (bool): Whether to score the weights after the last epoch, at
            the price of one more clustering. Defaults to True.
    """

    priority = 'BELOW_NORMAL'  # after PseudoLabelHook

    def __init__(self, score_last: bool = True) -> None:
        self.score_last = score_last
        self._labels_hook: PseudoLabelHook  # since before_train
        self._test_set: ReIDDataset | None = None

    def before_train(self, runner: Runner) -> None:
        """Find the hook that clusters."""
        hooks = [hook for hook in runner.hooks if isinstance(hook, PseudoLabelHook)]
        if len(hooks) != 1:
            raise ValueError(
                'LabelFreeBestHook scores the labels of one PseudoLabelHook; '
                f'the config has {len(hooks)} of them.'
            )
        self._labels_hook = hooks[0]
        average = any(isinstance(hook, EMAHook) for hook in runner.hooks)
        if average and not self._labels_hook.ema:
            raise ValueError(
                'Checkpoints hold the averaged weights of EMAHook, and the labels are '
                'those of the others. Give PseudoLabelHook extract=dict(ema=True), or '
                'leave LabelFreeBestHook out.'
            )
        if runner.val_loop is None:
            self._test_set = _labelled_test_set(runner)
        if highest(int(self._test_set is None)):  # another rank cannot read it
            self._test_set = None
        if self._test_set is not None and runner.iter == 0:
            runner.message_hub.update_info(_BEFORE, self._mean_ap(runner))

    def before_train_epoch(self, runner: Runner) -> None:
        """Score the labels that were just made, save the weights they describe."""
        if not getattr(runner.train_loop, 'resumes_inside_epoch', False):
            on_rank_zero(partial(self._keep_best, runner))

    def after_train(self, runner: Runner) -> None:
        """Score the weights after the last epoch."""
        if self.score_last and self._labels_hook.labels is not None:
            self._labels_hook.make_labels(runner)
            on_rank_zero(partial(self._keep_best, runner))
        mean_ap = None if self._test_set is None else self._mean_ap(runner)
        on_rank_zero(partial(self._close, runner, mean_ap))

    def _keep_best(self, runner: Runner) -> None:
        first = runner.message_hub.runtime_info.get(_FIRST, {})
        # stability is known from the second clustering on
        first = {**self._labels_hook.scalars, **first}
        runner.message_hub.update_info(_FIRST, first)
        signals = self._labels_hook.signals
        if signals is None:  # no labels came before these
            return
        self._labels_hook.add_scalars(runner, dict(label_free_score=signals.score))
        best = self._best(runner)
        text = f'Label-free score of the weights after epoch {runner.epoch}: '
        text += _describe(signals)
        if best is not None and signals.score <= best['score']:
            runner.logger.info(
                f'{text}; the best is still that after epoch {best["epoch"]} '
                f'({best["score"]:.4f}).'
            )
            return
        name = _NAME.format(runner.epoch)
        runner.message_hub.update_info(
            _INFO, dict(epoch=runner.epoch, score=signals.score, **signals.to_dict())
        )
        runner.save_checkpoint(
            runner.work_dir,
            name,
            save_optimizer=False,
            save_param_scheduler=False,
            meta=dict(epoch=runner.epoch, iter=runner.iter),
            by_epoch=False,
            backend_args=dict(backend=ATOMIC),
        )
        for path in Path(runner.work_dir).glob(_NAME.format('*')):
            if path.name != name:
                path.unlink()
        runner.logger.info(f'{text}; the best so far, saved to {name}.')

    def _mean_ap(self, runner: Runner) -> float | None:
        """The test set's mAP with the weights of now, on rank 0; for all ranks."""
        dataset = self._test_set
        assert dataset is not None
        kept = ('batch_size', 'num_workers', 'amp_dtype')
        options = {k: v for k, v in self._labels_hook.extract.items() if k in kept}
        features = extract_features(
            self._labels_hook.model(runner), dataset, title='test set: embed', **options
        )
        if features is None:
            return None
        facts = [dataset.column(name) for name in ('pid', 'camid')]
        query = dataset.column('is_query').astype(bool)
        parts = [
            [part[rows] for part in (features, *facts)] for rows in (query, ~query)
        ]
        return evaluate_ranking(*parts[0], *parts[1])['mAP']

    def _close(self, runner: Runner, mean_ap: float | None) -> None:
        """Say what the training changed."""
        info = runner.message_hub.runtime_info
        changes = _changes(info.get(_FIRST, {}), self._labels_hook.scalars)
        if mean_ap is not None and info.get(_BEFORE) is not None:
            changes.insert(
                0,
                f'mAP on the test set {info[_BEFORE]:.1f} -> {mean_ap:.1f} after the '
                'last epoch',
            )
        file = last_checkpoint(runner.work_dir) or runner.work_dir
        best = self._best(runner)
        other = ''
        if best is not None:
            other = Path(runner.work_dir) / _NAME.format(best['epoch'])
            other = f'\nThe best by signs without labels, which prove nothing: {other}'
        folder = _folder(runner.train_loop.dataloader.dataset)
        runner.logger.info(
            f'What the training changed: {"; ".join(changes)}.\n'
            f'Weights to use: {file}{other}\nNext, who is who: '
            f'mmreid cluster {file} {folder} --out clusters'
        )

    @staticmethod
    def _best(runner: Runner) -> dict | None:
        """The best so far, if its file is there."""
        best = runner.message_hub.runtime_info.get(_INFO)
        if best is None:
            return None
        path = Path(runner.work_dir) / _NAME.format(best['epoch'])
        if path.is_file():
            return best
        later = sorted(Path(runner.work_dir).glob(_NAME.format('*')))
        if later:  # written after the checkpoint that was resumed
            hub = read_checkpoint(later[-1]).get('message_hub', {})
            best = hub.get('runtime_info', {}).get(_INFO)
            runner.message_hub.update_info(_INFO, best)
            return best
        runner.logger.warning(
            f'{path}: the best weights so far, by their label-free score, are not here '
            'any more; the comparison begins anew.'
        )
        return None


def _labelled_test_set(runner: Runner) -> ReIDDataset | None:
    """The config's test set, if it has queries with identities."""
    config = runner.cfg.get('test_dataloader')
    if not config:
        return None
    try:
        dataset = DATASETS.build(config['dataset'])
        dataset.full_init()
        pids, camids = dataset.column('pid'), dataset.column('camid')
        query = dataset.column('is_query').astype(bool)
    except NoImagesError:  # unlabelled crops alone, the common case
        return None
    except (OSError, ValueError, KeyError, AttributeError) as error:
        runner.logger.warning(f'No mAP before and after the training: {error}')
        return None
    known = query & (pids >= 0)
    gallery = IdentityIndex(pids[~query], camids[~query])
    matches = num_matches(gallery.bounds(pids[known], camids[known]))
    return dataset if matches.any() else None


def _folder(dataset) -> str:
    """The folder of the training images as a command line of the tools."""
    words = [str(getattr(dataset, 'data_root', '') or 'CROPS')]
    pattern = getattr(dataset, 'pattern', None)
    options = dict(
        camera=getattr(dataset, 'camera', None) or None,
        pattern=getattr(pattern, 'pattern', pattern),
        annotation=getattr(dataset, 'annotation', None),
    )
    words += [f'--{name}={value}' for name, value in options.items() if value]
    return shlex.join(words)


def _changes(first: dict[str, float], last: dict[str, float]) -> list[str]:
    """What is in both, in words."""
    shown = dict(
        clusters=('clusters', '.0f'),
        outliers=('outliers', '.0f'),
        cross_camera_clusters=('clusters that span cameras', '.0f'),
        stability=('stability', '.3f'),
        silhouette=('silhouette', '.3f'),
    )
    return [
        f'{title} {first[name]:{form}} -> {last[name]:{form}}'
        for name, (title, form) in shown.items()
        if name in first and name in last
    ]


def _describe(signals: LabelFreeSignals) -> str:
    text = f'{signals.score:.4f} = {signals.clustered:.3f} clustered'
    text += f' x {signals.stability:.3f} stability'
    if signals.silhouette is not None:
        text += f' x {signals.silhouette:.3f} silhouette'
    if signals.across is not None:
        text += f' x (1 + {signals.across:.3f} in clusters across cameras) / 2'
    return text
