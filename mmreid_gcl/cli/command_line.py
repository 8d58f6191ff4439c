# SPDX-License-Identifier: Apache-2.0
"""Arguments, messages and exit codes that the tools share."""

from __future__ import annotations

import argparse
import functools
import json
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from mmengine.config import DictAction

from mmreid_gcl.config.option_names import check_options
from mmreid_gcl.config.packaged import find_config
from mmreid_gcl.work_dir import POINTER, WorkDirError, last_checkpoint

#: Exit codes: all good; nothing done, a message says why; done, but some
#: images could not be read and were left out; Ctrl-C.
DONE, REFUSED, SKIPPED, INTERRUPTED = 0, 2, 3, 130

#: What a user can mend: a message is enough.
MENDABLE = (OSError, ValueError, ImportError)

#: Settings that are text whatever they look like: paths and patterns.
TEXTS = {'data_root', 'annotation', 'pattern', 'work_dir', 'load_from', 'checkpoint'}


class ConfigOptions(DictAction):
    """``--cfg-options`` of OpenMMLab, with paths taken as they are.

    mmengine's ``DictAction`` takes the blanks out of ``data_root=my crops``, makes
    a number of ``data_root=2024`` and a list of ``data_root=a,b``.
    """

    def __call__(self, parser, namespace, values, option_string=None) -> None:
        """Collect the options in the order in which they are given."""
        for value in values:
            key, sign, text = value.partition('=')
            if not sign or not key:
                parser.error(f'{option_string} {value}: expected key=value')
            if key.rpartition('.')[2] in TEXTS and text != 'None':
                options = dict(getattr(namespace, self.dest, None) or {})
                setattr(namespace, self.dest, {**options, key: text})
            else:
                super().__call__(parser, namespace, [value], option_string)


def add_config_options(parser: argparse.ArgumentParser) -> None:
    """Add ``--cfg-options`` of a tool that reads data sets."""
    parser.add_argument(
        '--cfg-options',
        nargs='+',
        action=ConfigOptions,
        help='override settings of the config, as key=value; data_root=FOLDER sets '
        'the folder of all its data sets',
    )


class _JsonOption(argparse.Action):
    """``--json``: keeps stdout for the result; all else that is printed: stderr."""

    def __call__(self, parser, namespace, values, option_string=None) -> None:
        setattr(namespace, self.dest, values or sys.stdout)
        if not values:
            sys.stdout = sys.stderr


def add_json_option(parser: argparse.ArgumentParser, file: bool = False) -> None:
    """Add ``--json`` of a tool that ends with :func:`show_result`.

    With ``file`` a path may follow, to which the result goes instead.
    """
    parser.add_argument(
        '--json',
        action=_JsonOption,
        nargs='?' if file else 0,
        metavar='FILE' if file else None,
        help='print the result as one JSON object, all else to stderr'
        + '; or write it to FILE' * file,
    )


def show_result(args: argparse.Namespace, result: Any) -> None:
    """Print what a tool found as JSON if ``--json`` asks for it.

    ``result`` is a dict of plain values; numbers and arrays of numpy and paths are
    taken too.
    """
    if args.json is None:
        return
    text = json.dumps(result, indent=1, default=_plain) + '\n'
    if isinstance(args.json, str):
        path = Path(args.json)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding='utf-8')
    else:
        args.json.write(text)


def _plain(value: Any) -> Any:
    return value.tolist() if hasattr(value, 'tolist') else str(value)


class _Pipe:
    """stdout whose reader may stop reading (``| head``); a tool then goes on."""

    def __init__(self, stream: Any) -> None:
        self._stream = stream

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    def write(self, text: str) -> int:
        return self._or_drop(self._stream.write, text) or len(text)

    def flush(self) -> None:
        self._or_drop(self._stream.flush)

    def _or_drop(self, call: Callable, *args: str) -> Any:
        try:
            return call(*args)
        except BrokenPipeError:  # nobody reads: what follows goes nowhere
            os.dup2(os.open(os.devnull, os.O_WRONLY), self._stream.fileno())


@contextmanager
def own_stdout() -> Iterator[None]:
    """Around a tool: a closed pipe is no error, and ``--json`` ends with it."""
    stdout = sys.stdout
    sys.stdout = _Pipe(stdout)
    try:
        yield
    finally:
        sys.stdout.flush()
        _Pipe(stdout).flush()
        sys.stdout = stdout


def checkpoint_argument(text: str) -> str:
    """A checkpoint on a command line: a path or address, there or not.

    A work dir, or its ``last_checkpoint``, stands for the checkpoint which that names;
    an ``argparse.ArgumentTypeError`` if it names none.
    """
    path = Path(text)
    folder = path.parent if path.name == POINTER else path
    try:
        return last_checkpoint(folder) or text
    except WorkDirError as error:
        raise argparse.ArgumentTypeError(str(error)) from error


def name_local_rank(given: int) -> None:
    """Tell mmengine which GPU of its machine is this process's; mpirun does not.

    ``given`` is ``--local_rank``, for where no launcher names it.
    """
    mpi = os.environ.get('OMPI_COMM_WORLD_LOCAL_RANK', given)
    os.environ.setdefault('LOCAL_RANK', str(mpi))


def add_model_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the model, its weights, and how it runs."""
    parser.add_argument(
        'model',
        type=checkpoint_argument,
        help='config file or name, or a checkpoint that carries its config',
    )
    parser.add_argument(
        '--checkpoint',
        type=checkpoint_argument,
        help='weights, where the model is a config; a work dir for its last ones',
    )
    parser.add_argument('--device', help="for example 'cuda:1'; default: the GPU")
    parser.add_argument('--batch-size', type=int, default=64)
    parser.add_argument('--workers', type=int, default=4, help='threads that read')
    parser.add_argument('--half', action='store_true', help='half precision')
    add_config_options(parser)


def add_host_arguments(parser: argparse.ArgumentParser) -> None:
    """Add on which address a server listens, and its other names."""
    parser.add_argument('--host', default='127.0.0.1', help='address to listen on')
    parser.add_argument(
        '--allow-host',
        action='append',
        default=[],
        metavar='NAME',
        help='a name under which it is reached, besides localhost and the address it '
        'listens on; may be given several times',
    )


def warn_if_open(host: str, danger: str) -> None:
    """Say what whoever reaches this machine can do, unless that is itself alone."""
    if host not in ('127.0.0.1', 'localhost', '::1'):
        print(
            f'It listens on {host}: whoever reaches this machine {danger}. There is no '
            'password.',
            file=sys.stderr,
        )


def add_folder_arguments(parser: argparse.ArgumentParser) -> None:
    """Add how a folder of crops is read."""
    parser.add_argument(
        '--split',
        default='auto',
        choices=['auto', 'train', 'query', 'gallery', 'test'],
        help='which part of the folder; auto: gallery if there is such a sub-folder, '
        'else train if there is one, else everything',
    )
    parser.add_argument(
        '--camera',
        type=int,
        default=0,
        help='which sub-folder names the camera: 0 the first, -1 the last',
    )
    parser.add_argument(
        '--pattern',
        help='regular expression with groups such as (?P<camera>…) and (?P<time>…)',
    )
    parser.add_argument(
        '--annotation', help='CSV or Parquet file in the folder, with the column path'
    )


def add_launcher(parser: argparse.ArgumentParser) -> None:
    """Add what started the processes."""
    parser.add_argument(
        '--launcher',
        choices=['none', 'pytorch', 'slurm', 'mpi'],
        default='none',
        help='what started the processes',
    )
    parser.add_argument('--local_rank', '--local-rank', type=int, default=0)


def add_dataset_options(parser: argparse.ArgumentParser) -> None:
    """Add the settings of a data set that is no config's."""
    parser.add_argument(
        '--options',
        nargs='+',
        action=ConfigOptions,
        default={},
        help="further arguments of the data set's type, as key=value",
    )


def check_ending(
    parser: argparse.ArgumentParser,
    args: argparse.Namespace,
    option: str,
    *endings: str,
) -> None:
    """End the tool if the file of an option has another ending than these."""
    path = getattr(args, option)
    if path and Path(path).suffix.lower() not in endings:
        parser.error(
            f'--{option} {path}: expected a name that ends in {", ".join(endings)}'
        )


def folder_options(args: argparse.Namespace) -> dict[str, Any]:
    """Arguments of :func:`~mmreid_gcl.apis.folder.list_folder`."""
    names = ('split', 'camera', 'pattern', 'annotation')
    return {name: getattr(args, name) for name in names}


def build_inferencer(args: argparse.Namespace):
    """The ``ReIDInferencer`` that a command line asks for.

    ``args`` has the arguments of :func:`add_model_arguments`. A missing file is a
    ``FileNotFoundError``; a config that cannot be built, or weights that do not fit, a
    ``ValueError``.
    """
    # they take seconds, which tools without a model need not wait
    from mmreid_gcl.apis import ReIDInferencer
    from mmreid_gcl.config.load import read_config

    model = args.model
    if args.checkpoint or Path(model).suffix not in ('.pth', '.pt'):
        model = str(find_config(model))
    if args.cfg_options:
        if not model.endswith('.py'):
            raise ValueError('--cfg-options needs a config file as the model.')
        model = read_config(model)
        check_options(model, args.cfg_options)
        model.merge_from_dict(args.cfg_options)
    try:
        return ReIDInferencer(
            model,
            args.checkpoint,
            args.device,
            batch_size=args.batch_size,
            num_workers=args.workers,
            half=args.half,
        )
    except (KeyError, TypeError) as error:  # of an unknown type or argument
        raise ValueError(f'{args.model}: {error}') from error


def say(line: str) -> None:
    """Print; what the terminal cannot show is written as an escape."""
    encoding = sys.stdout.encoding or 'utf-8'
    print(line.encode(encoding, 'backslashreplace').decode(encoding))


def tool(
    main: Callable[[Sequence[str] | None], int],
) -> Callable[..., int]:
    """Make a function of the command line the ``main`` of a tool, as a decorator.

    What a user can mend becomes a message, not a traceback. The function takes the
    words of the command line, None for those of the process, and returns the exit code.
    """
    name = Path(main.__code__.co_filename).stem

    @functools.wraps(main)
    def run(argv: Sequence[str] | None = None) -> int:
        with own_stdout():
            try:
                return main(argv)
            except MENDABLE as error:
                return refuse(name, error)
            except KeyboardInterrupt:
                print(f'{name}: interrupted', file=sys.stderr)
                return INTERRUPTED

    return run


def refuse(name: str, error: Exception) -> int:
    """Say what a user can mend, without a traceback; returns :data:`REFUSED`."""
    print(f'{name}: {error}', file=sys.stderr)
    return REFUSED


def exit_code(failed: dict[str, str]) -> int:
    """Say what was left out, last of all; returns :data:`DONE` or :data:`SKIPPED`.

    ``failed`` has the images that could not be read, and why.
    """
    for message in failed.values():
        print(f'left out: {message}', file=sys.stderr)
    return SKIPPED if failed else DONE
