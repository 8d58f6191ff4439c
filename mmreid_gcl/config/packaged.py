# SPDX-License-Identifier: Apache-2.0
"""Paths of the configs and tools of this installation.

An installed package has them in ``mmreid_gcl/.mim``, where ``mim`` and mmengine look
for them as well; a checkout has them beside the package.
"""

from __future__ import annotations

import ast
from difflib import get_close_matches
from pathlib import Path


class UnknownNameError(FileNotFoundError):
    """Neither a file nor the name of a packaged config or tool."""


def root() -> Path:
    """The folder that has ``configs/`` and ``tools/``.

    ``.mim`` of an installed package, otherwise the checkout; a ``FileNotFoundError`` if
    the installation has neither.
    """
    package = Path(__file__).resolve().parents[1]
    # an editable installation has links into the checkout in .mim
    for folder in ((package / '.mim/configs').resolve().parent, package.parent):
        if (folder / 'configs/_base_').is_dir() and (folder / 'tools').is_dir():
            return folder
    raise FileNotFoundError(
        f'{package}: this installation of mmreid_gcl has no configs and tools. '
        'Install it again, from its wheel, its sdist or its checkout.'
    )


def tool_command(name: str) -> str:
    """How a tool is called from here: ``python tools/cluster.py`` in the checkout."""
    here = Path.cwd() == root() and root().name != '.mim'
    return f'python tools/{name}.py' if here else f'mmreid {name}'


def register() -> None:
    """Let mmengine find the configs as ``'mmreid_gcl::ablation/duke_model1.py'``.

    Its ``get_config`` and its ``_base_`` take only packages that it knows.
    """
    from mmengine.config.utils import MODULE2PACKAGE

    MODULE2PACKAGE.setdefault('mmreid_gcl', 'mmreid_gcl')


def configs() -> dict[str, Path]:
    """The packaged configs by name, such as 'gcl_duke' or 'ablation/duke_model1'.

    Without the files of ``_base_``.
    """
    found = _scripts(root() / 'configs')
    return {name: path for name, path in found.items() if name[:7] != '_base_/'}


def tools() -> dict[str, Path]:
    """The packaged tools by name, such as 'train' or 'data/check'."""
    found = _scripts(root() / 'tools').items()
    # the others are imported by their neighbours
    main = "if __name__ == '__main__':"
    return {n: path for n, path in found if main in path.read_text(encoding='utf-8')}


def find_config(name: str) -> Path:
    """A config file, by path or by name; the path of a file goes before a name.

    Names are those of packaged configs: 'gcl_duke', 'ablation/duke_model1' or, where
    that is unique, 'duke_model1'; with or without ``.py`` and ``configs/``. An
    :class:`UnknownNameError` if there is no such file and no such name.
    """
    if Path(name).is_file():
        return Path(name)
    short = name.removeprefix('mmreid_gcl::').removeprefix('configs/')
    return _find(
        short.removesuffix('.py'), configs(), f'{name}: there is no such config file'
    )


def find_tool(name: str) -> Path:
    """A tool's script, by name: 'train', 'data/check' or, where unique, 'check'.

    A hyphen is as good as an underscore. An :class:`UnknownNameError` without such a
    tool.
    """
    short = name.removesuffix('.py').replace('-', '_')
    return _find(short, tools(), f'{name}: there is no such tool')


def summary(path: Path) -> str:
    """What a script or config is: the first sentence of its docstring.

    Without one, that of the comment it begins with.
    """
    text = path.read_text(encoding='utf-8')
    described = ast.get_docstring(ast.parse(text))
    if described is None:
        comment = []
        for line in text.splitlines():
            if not line.startswith('#'):
                break
            if 'SPDX' not in line:
                comment.append(line.lstrip('# '))
        described = ' '.join(comment)
    paragraph = ' '.join(described.partition('\n\n')[0].split())
    sentence = paragraph.partition('. ')[0].partition(': ``')[0]
    return sentence.rstrip('.:').replace('``', '')


def _scripts(folder: Path) -> dict[str, Path]:
    return {
        path.relative_to(folder).with_suffix('').as_posix(): path
        for path in sorted(folder.rglob('*.py'))
    }


def _find(short: str, known: dict[str, Path], message: str) -> Path:
    if short in known:
        return known[short]
    same = [name for name in known if name.rpartition('/')[2] == short]
    if len(same) == 1:
        return known[same[0]]
    if same:
        raise UnknownNameError(f'{message}; it could be {", ".join(same)}.')
    short = short.rpartition('/')[2]
    last = {name: name.rpartition('/')[2] for name in known}
    near = get_close_matches(short, last.values(), n=4)
    near = [
        name for close in dict.fromkeys(near) for name in known if last[name] == close
    ]
    hint = f'; near it are {", ".join(near)}' if near else ''
    raise UnknownNameError(f"{message}{hint}. 'mmreid list' shows what there is.")
