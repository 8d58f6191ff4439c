# SPDX-License-Identifier: Apache-2.0
"""The command ``mmreid``: runs tools and finds configs by name."""

from __future__ import annotations

import os
import shutil
import socket
import sys
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType

from mmreid_gcl.cli.command_line import own_stdout
from mmreid_gcl.config import packaged
from mmreid_gcl.version import __version__

USAGE = """\
usage: mmreid TOOL [arguments of the tool]
       mmreid list [TEXT]          tools and configs, those with TEXT in their name
       mmreid configs [TEXT]       configs only
       mmreid configs --copy DIR   an editable copy of all of them
       mmreid --version

A config is a path or a name that 'mmreid list' shows:
  mmreid train gcl_market --cfg-options data_root=data/market1501
  mmreid train gcl_market --gpus 8      train and test take the number of processes;
                                        NNODES, NODE_RANK, MASTER_ADDR and PORT as
                                        for tools/dist_train.sh
  mmreid check Market1501 data/market1501
  mmreid TOOL --help
"""
REFUSED = 2


def main(argv: Sequence[str] | None = None) -> int:
    """Run a tool of this package by the command line after ``mmreid``.

    Returns the exit code; a tool with an exit code of its own raises ``SystemExit``.
    """
    words = list(sys.argv[1:] if argv is None else argv) or ['--help']
    with own_stdout():
        return _main(*words)


def _main(command: str, *rest: str) -> int:
    try:
        if command in ('-h', '--help', 'help'):
            print(USAGE, end='')
        elif command in ('-V', '--version', 'version'):
            print(f'mmreid_gcl {__version__}, {packaged.root()}')
        elif command == 'list':
            _print('Tools', packaged.tools(), *rest[:1])
            _print('Configs', packaged.configs(), *rest[:1])
        elif command == 'configs':
            _configs(list(rest))
        else:
            _run(command, list(rest))
    except (packaged.UnknownNameError, UsageError) as error:
        print(f'mmreid: {error}', file=sys.stderr)
        return REFUSED
    return 0


class UsageError(ValueError):
    """A command line that cannot be understood, or not be done."""


def launch_command(script: Path, argv: Sequence[str], processes: int) -> list[str]:
    """The command that starts a tool in several processes, by torch's launcher.

    ``NNODES``, ``NODE_RANK``, ``MASTER_ADDR`` and ``PORT`` of the environment are for
    several machines; on one the port is a free one.
    """
    port = os.environ.get('PORT')
    if port is None:
        port = '29500' if os.environ.get('NNODES', '1') != '1' else str(_free_port())
    return [
        *(sys.executable, '-m', 'torch.distributed.run'),
        f'--nnodes={os.environ.get("NNODES", "1")}',
        f'--node_rank={os.environ.get("NODE_RANK", "0")}',
        f'--master_addr={os.environ.get("MASTER_ADDR", "127.0.0.1")}',
        f'--master_port={port}',
        f'--nproc_per_node={processes}',
        *(str(script), *argv, '--launcher', 'pytorch'),
    ]


def _run(name: str, argv: list[str]) -> None:
    script = packaged.find_tool(name)
    if script.stem in ('train', 'test'):
        argv, processes = _take_gpus(argv)
        if processes is not None:
            _launch(script, argv, processes)
    # as the interpreter does it with `python SCRIPT`; argparse shows argv[0]
    module = ModuleType('__main__')
    module.__file__ = str(script)
    sys.modules['__main__'] = module
    sys.argv = [f'mmreid {script.stem}', *argv]
    sys.path.insert(0, str(script.parent))
    exec(compile(script.read_bytes(), str(script), 'exec'), module.__dict__)


def _launch(script: Path, argv: list[str], processes: int) -> None:
    """Become the launcher, so that signals reach it."""
    here = str(Path(__file__).resolve().parents[2])  # the package that was started
    paths = [here, *filter(None, [os.environ.get('PYTHONPATH')])]
    environment = {**os.environ, 'PYTHONPATH': os.pathsep.join(paths)}
    command = launch_command(script, argv, processes)
    sys.stdout.flush()
    os.execve(command[0], command, environment)


def _take_gpus(argv: list[str]) -> tuple[list[str], int | None]:
    """The command line without ``--gpus N``, and N."""
    for i, argument in enumerate(argv):
        option, sign, value = argument.partition('=')
        if option != '--gpus':
            continue
        end = i + 1 if sign else i + 2
        value = value if sign else ''.join(argv[i + 1 : end])
        if not value.isdecimal() or int(value) == 0:
            raise UsageError(f'--gpus {value}: expected a number of processes.')
        return argv[:i] + argv[end:], int(value)
    return argv, None


def _free_port() -> int:
    with socket.socket() as connection:
        connection.bind(('127.0.0.1', 0))
        return connection.getsockname()[1]


def _configs(argv: list[str]) -> None:
    if argv[:1] != ['--copy']:
        return _print('Configs', packaged.configs(), *argv[:1])
    if len(argv) != 2:
        raise UsageError('expected: mmreid configs --copy DIR')
    target = Path(argv[1])
    if target.exists() and (not target.is_dir() or any(target.iterdir())):
        raise UsageError(
            f'{target}: is not an empty folder. Name one that is new, so that nothing '
            'is overwritten.'
        )
    source = packaged.root() / 'configs'
    ignored = shutil.ignore_patterns('__pycache__')
    shutil.copytree(source, target, ignore=ignored, dirs_exist_ok=True)
    print(f'{target}: {len(packaged.configs())} configs and what they build on')


def _print(title: str, paths: dict[str, Path], text: str = '') -> None:
    chosen = {name: path for name, path in paths.items() if text in name}
    if not chosen:
        return
    folder = packaged.root() / title.lower()
    print(f'{title}, in {folder}')
    width = max(map(len, chosen))
    for name, path in chosen.items():
        print(f'  {name:{width}}  {packaged.summary(path)}')
