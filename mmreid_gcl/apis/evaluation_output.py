# SPDX-License-Identifier: Apache-2.0
"""Features, pids and camids of an evaluation, kept for a file."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from mmengine.runner import Runner

from mmreid_gcl.evaluation import ReIDMetric


class KeepEvaluation:
    """Keeps the features and identities of ``runner.test()``.

    To be made before the test, of a runner whose test has a
    :class:`~mmreid_gcl.evaluation.ReIDMetric` (else a ``ValueError``). In a distributed
    run the main process keeps them.
    """

    def __init__(self, runner: Runner) -> None:
        metrics = [
            m for m in runner.test_evaluator.metrics if isinstance(m, ReIDMetric)
        ]
        if not metrics:
            raise ValueError(
                '--out: test_evaluator has no ReIDMetric, so there are no features to '
                "keep. Use test_evaluator=dict(type='ReIDMetric')."
            )
        self._dataset = runner.test_dataloader.dataset
        self._found: list[dict] = []
        metric = metrics[0]
        compute = metric.compute_metrics

        def keep(results: list[dict]) -> dict:
            self._found = list(results)
            return compute(results)

        metric.compute_metrics = keep  # type: ignore[method-assign]  # listens in

    def save(self, path: str | Path, metrics: Mapping[str, float]) -> None:
        """Write an ``.npz`` with the ``metrics`` that ``runner.test()`` returned.

        It holds ``features`` (N, C) float32, ``pids``, ``camids``, ``is_query``,
        ``tracks`` (-1: not known), ``paths``, ``cameras`` and ``identities`` (names)
        where the data set knows them, and ``metrics``, a JSON text.
        """
        columns = np.concatenate([part['columns'].numpy() for part in self._found])
        arrays = dict(
            features=np.concatenate(
                [part['features'].float().cpu().numpy() for part in self._found]
            ),
            pids=columns[:, 0],
            camids=columns[:, 1],
            is_query=columns[:, 2].astype(bool),
            tracks=columns[:, 4],
            metrics=np.array(json.dumps(dict(metrics))),
        )
        rows = columns[:, 3]
        if hasattr(self._dataset, 'column') and (rows >= 0).all():
            arrays['paths'] = self._dataset.column('img_path')[rows]
        if hasattr(self._dataset, 'camera_name'):
            pids, camids = columns[:, 0].tolist(), columns[:, 1].tolist()
            arrays['identities'] = np.array(
                [self._dataset.identity_name(pid) for pid in pids]
            )
            arrays['cameras'] = np.array(
                [self._dataset.camera_name(camid) for camid in camids]
            )
        with open(path, 'wb') as file:  # a name without .npz stays as it is
            np.savez(file, **arrays)
