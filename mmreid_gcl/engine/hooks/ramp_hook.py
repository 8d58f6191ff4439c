# SPDX-License-Identifier: Apache-2.0
"""RampHook: a float of the model that changes over the epochs."""

from __future__ import annotations

from mmengine.hooks import EMAHook, Hook
from mmengine.runner import Runner
from torch import nn

from mmreid_gcl.processes import unwrapped
from mmreid_gcl.registry import HOOKS


@HOOKS.register_module()
class RampHook(Hook):
    """Change a float of the model by equal steps, one before each epoch.

    In the first epoch it is the config's own, in the last one ``end``. A run that is
    resumed with as many epochs goes on as if it had not stopped. A temperature of GCL
    that sharpens: ``RampHook('relation_neck.temperature', end=20)``.

    A checkpoint's config has the first value. To cluster with GCL after the training,
    pass ``model.relation_neck.temperature=20``. A compiled part compiles anew when its
    value changes.

    Args:
        name (str): Attribute of the model, with the modules it is in before it.
        end (float): Its value in the last epoch.

    Raises:
        ValueError: When training begins, if the model has no such float.
    """

    # before PseudoLabelHook, whose clustering sees the value
    priority = 'HIGH'

    def __init__(self, name: str, end: float) -> None:
        self.module, _, self.attribute = name.rpartition('.')
        self.name = name
        self.end = end

    def before_train(self, runner: Runner) -> None:
        """Read where it begins."""
        found = unwrapped(runner.model)
        for part in self.name.split('.'):
            if not hasattr(found, part):
                raise ValueError(
                    f'RampHook has name={self.name!r}, but a {type(found).__name__} of '
                    f'the model has no {part!r}. Expected the name of a float, such as '
                    "'relation_neck.temperature' of a model with a relation neck."
                )
            found = getattr(found, part)
        if not isinstance(found, float):
            raise ValueError(
                f'RampHook has name={self.name!r}, which is {found!r} in the model. '
                'Expected a float: 5.0, not 5.'
            )
        self._begin = found

    def before_train_epoch(self, runner: Runner) -> None:
        """Set the value of this epoch, in the averaged model of an EMAHook too."""
        share = runner.epoch / max(1, runner.max_epochs - 1)
        value = self._begin + share * (self.end - self._begin)
        models: list[nn.Module] = [unwrapped(runner.model)]
        models += [
            hook.ema_model.module for hook in runner.hooks if isinstance(hook, EMAHook)
        ]
        for model in models:
            setattr(model.get_submodule(self.module), self.attribute, value)
        runner.visualizer.add_scalar(f'ramp/{self.name}', value, step=runner.epoch + 1)
