# SPDX-License-Identifier: Apache-2.0
"""Run a notebook and keep its outputs: ``python docs/notebooks/run.py``.

Logs and progress are left out, as is what differs from run to run without a meaning:
execution times and the kernel's version. Of a picture the smaller format is kept.
"""

import os
import re
import sys
import time
from pathlib import Path

import nbformat
from nbclient import NotebookClient

HERE = Path(__file__).parent
LOG = re.compile(r' - mmengine - |^Could not import ')
# Small batches: threads that wait for each other cost more than they bring.
os.environ.setdefault('OMP_NUM_THREADS', '1')


def tidy(output: dict) -> dict | None:
    """An output without logs, or None if nothing is left of it."""
    if output['output_type'] == 'stream':
        lines = output['text'].splitlines(keepends=True)
        text = ''.join(line for line in lines if line.strip() and not LOG.search(line))
        output['text'] = text
        return output if text and output['name'] == 'stdout' else None
    data = output.get('data', {})
    pictures = sorted(
        (k for k in data if k.startswith('image/')), key=lambda k: len(data[k])
    )
    for kind in pictures[1:]:
        del data[kind]
    return output


def run(path: Path) -> None:
    """Execute a notebook in its own folder and write it back."""
    notebook = nbformat.read(path, as_version=4)
    begin = time.perf_counter()
    NotebookClient(
        notebook, timeout=600, resources={'metadata': {'path': str(HERE)}}
    ).execute()
    seconds = time.perf_counter() - begin
    for cell in notebook.cells:
        cell.metadata.pop('execution', None)
        if cell.cell_type == 'code':
            cell.outputs = [kept for o in cell.outputs if (kept := tidy(o))]
    notebook.metadata.language_info = {'name': 'python'}
    nbformat.write(notebook, path)
    print(f'{path}: {seconds:.0f} s, {path.stat().st_size / 1000:.0f} kB')


if __name__ == '__main__':
    for name in sys.argv[1:] or sorted(HERE.glob('*.ipynb')):
        run(Path(name))
