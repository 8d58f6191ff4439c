# SPDX-License-Identifier: Apache-2.0
"""The examples in ``docs/ranking.md`` run, one after the other."""

import re
from pathlib import Path

DOCS = Path(__file__).parents[2] / 'docs' / 'ranking.md'


def test_examples(capsys):
    blocks = re.findall(r'^```python\n(.*?)^```', DOCS.read_text(), re.M | re.S)
    assert len(blocks) == 2
    names = {}
    for block in blocks:
        exec(block, names)
    assert capsys.readouterr().out.count("{'mAP'") == 3
