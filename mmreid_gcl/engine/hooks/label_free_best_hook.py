# SPDX-License-Identifier: Apache-2.0
"""LabelFreeBestHook: keeps the weights with the best label-free score."""

from __future__ import annotations

from functools import partial
from pathlib import Path

from mmengine.hooks import Hook
from mmengine.runner import Runner

from mmreid_gcl.processes import on_rank_zero
from mmreid_gcl.registry import HOOKS

from ..checkpoint_files import ATOMIC
from ..label_report import LabelFreeSignals
from .pseudo_label_hook import PseudoLabelHook

_INFO = 'label_free_best'
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

    Args:
        score_last (bool): Whether to score the weights after the last epoch, at
            the price of one more clustering. Defaults to True.
    """

    priority = 'BELOW_NORMAL'  # after PseudoLabelHook

    def __init__(self, score_last: bool = True) -> None:
        self.score_last = score_last
        self._labels_hook: PseudoLabelHook  # since before_train

    def before_train(self, runner: Runner) -> None:
        """Find the hook that clusters."""
        hooks = [hook for hook in runner.hooks if isinstance(hook, PseudoLabelHook)]
        if len(hooks) != 1:
            raise ValueError(
                'LabelFreeBestHook scores the labels of one PseudoLabelHook; '
                f'the config has {len(hooks)} of them.'
            )
        self._labels_hook = hooks[0]

    def before_train_epoch(self, runner: Runner) -> None:
        """Score the labels that were just made, save the weights they describe."""
        if not getattr(runner.train_loop, 'resumes_inside_epoch', False):
            on_rank_zero(partial(self._keep_best, runner))

    def after_train(self, runner: Runner) -> None:
        """Score the weights after the last epoch."""
        if self.score_last and self._labels_hook.labels is not None:
            self._labels_hook.make_labels(runner)
            on_rank_zero(partial(self._keep_best, runner))

    def _keep_best(self, runner: Runner) -> None:
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

    @staticmethod
    def _best(runner: Runner) -> dict | None:
        """The best so far, if its file is there."""
        best = runner.message_hub.runtime_info.get(_INFO)
        if best is None:
            return None
        path = Path(runner.work_dir) / _NAME.format(best['epoch'])
        if path.is_file():
            return best
        runner.logger.warning(
            f'{path}: the best weights so far, by their label-free score, are not here '
            'any more; the comparison begins anew.'
        )
        return None


def _describe(signals: LabelFreeSignals) -> str:
    text = f'{signals.score:.4f} = {signals.clustered:.3f} clustered'
    text += f' x {signals.stability:.3f} stability'
    if signals.silhouette is not None:
        text += f' x {signals.silhouette:.3f} silhouette'
    return text
