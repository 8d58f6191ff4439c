# SPDX-License-Identifier: Apache-2.0
"""The paper's experiments: definitions, runs and tables."""

from .experiment import Experiment, Resolved, resolve
from .results import Result, gather_results, read_results, read_run, write_results
from .tables import DATASETS, TABLES, Table, named_table

__all__ = [
    'DATASETS', 'TABLES', 'Experiment', 'Resolved', 'Result', 'Table', 'gather_results',
    'named_table', 'read_results', 'read_run', 'resolve', 'write_results',
]  # fmt: skip
