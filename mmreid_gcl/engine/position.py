# SPDX-License-Identifier: Apache-2.0
"""Where in training a checkpoint was taken."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from mmreid_gcl.files import write_atomically

_RECORD = 'last_validation.json'


@dataclass
class Position:
    """What a checkpoint's epoch and iteration do not tell.

    Attributes:
        batch (int): Batches of the epoch that are done; 0 between epochs.
        inside_epoch (bool): Whether labels and memories of this epoch exist.
        num_batches (int): Batches of an epoch.
        validation_owed (bool): Whether the validation of the epoch that just
            ended is still to come.
    """

    batch: int = 0
    inside_epoch: bool = False
    num_batches: int = 0
    validation_owed: bool = False

    def to_dict(self) -> dict:
        """As plain values, for a checkpoint."""
        return asdict(self)


class ValidationRecord:
    """The last finished validation of a run, as a file in its work dir.

    A checkpoint is written before the validation of its epoch; this says whether that
    has happened since.
    """

    def __init__(self, work_dir: str | Path) -> None:
        self.path = Path(work_dir) / _RECORD

    def write(self, epoch: int, metrics: dict) -> None:
        """Record that the validation after ``epoch`` epochs is done."""
        values = {k: _plain(v) for k, v in (metrics or {}).items()}
        text = json.dumps(dict(epoch=epoch, metrics=values), indent=1)
        write_atomically(self.path, text.encode())

    def epoch(self) -> int | None:
        """After how many epochs it was; None if there was none."""
        try:
            return int(json.loads(self.path.read_text())['epoch'])
        except (OSError, ValueError, KeyError, TypeError):
            return None

    def forget(self) -> None:
        """A new run begins in this work dir."""
        self.path.unlink(missing_ok=True)


def _plain(value: Any) -> object:
    try:
        return float(value)
    except (TypeError, ValueError):
        return str(value)
