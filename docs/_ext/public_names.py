# SPDX-License-Identifier: Apache-2.0
"""Directives of the API pages, so that no page lists names by hand.

``{public} MODULE`` documents what ``MODULE.__all__`` names, or without an ``__all__``
the functions and classes that the module defines. ``{registered} PACKAGE`` is a table
of the modules that a config names by ``type``.
"""

import inspect
import re
from importlib import import_module

from docutils import nodes
from docutils.parsers.rst import directives
from docutils.statemachine import StringList
from mmengine.registry import Registry
from sphinx.util.docutils import SphinxDirective
from sphinx.util.nodes import get_node_source, make_refnode

from mmreid_gcl import registry


def public_names(module: str) -> list[str]:
    """Names that a module offers, those of its ``__all__`` first.

    Args:
        module (str): Full name of the module.

    Returns:
        list[str]: Classes before functions before constants, each by name.
    """
    content = import_module(module)
    names = getattr(content, '__all__', None) or [
        name
        for name, value in vars(content).items()
        if not name.startswith('_') and getattr(value, '__module__', None) == module
    ]
    return sorted(names, key=lambda name: (_kind(content, name), name.lower()))


def registered_names(package: str) -> list[tuple[str, str, type]]:
    """What a package registers: (registry, name, class)."""
    import_module(package)
    return sorted(
        (title, name, member)
        for title, entry in vars(registry).items()
        if isinstance(entry, Registry)
        for name, member in entry.module_dict.items()
        if member.__module__.startswith(f'{package}.')
    )


def _kind(content: object, name: str) -> int:
    value = getattr(content, name)
    return 0 if inspect.isclass(value) else 1 if callable(value) else 2


def _names(text: str) -> set[str]:
    return set(text.replace(',', ' ').split())


class _MarkdownDirective(SphinxDirective):
    """A directive whose content is Markdown that it writes itself."""

    required_arguments = 1

    def markdown(self) -> str:
        """The content."""
        raise NotImplementedError

    def run(self) -> list[nodes.Node]:
        """Parse the content in place of the directive."""
        container = nodes.container()
        lines = StringList(self.markdown().splitlines(), source=self.env.docname)
        self.state.nested_parse(lines, self.content_offset, container)
        return container.children


class Public(_MarkdownDirective):
    """``{public} MODULE``; ``:except:`` leaves names out, ``:only:`` the others."""

    option_spec = {'except': directives.unchanged, 'only': directives.unchanged}

    def markdown(self) -> str:
        """An autodoc directive for each name."""
        (module,) = self.arguments
        content = import_module(module)
        left_out = _names(self.options.get('except', ''))
        only = _names(self.options.get('only', ''))
        missing = (left_out | only) - set(vars(content)) - set(dir(content))
        if missing:
            raise self.error(f'{module} has no {", ".join(sorted(missing))}')
        lines = ['```{eval-rst}']
        for name in public_names(module):
            if name in left_out or (only and name not in only):
                continue
            directive, options = self.describe(getattr(content, name))
            if directive:
                lines += [f'.. {directive}:: {module}.{name}', *options, '']
        return '\n'.join([*lines, '```'])

    @staticmethod
    def describe(value: object) -> tuple[str, list[str]]:
        """The autodoc directive of a value and its options."""
        if inspect.isclass(value):
            special = ['   :special-members: __call__'] * ('__call__' in vars(value))
            return 'autoclass', ['   :members:', *special]
        if callable(value):
            return 'autofunction', []
        return '', []


class Registered(_MarkdownDirective):
    """``{registered} PACKAGE``."""

    def markdown(self) -> str:
        """A table of what the package registers."""
        (package,) = self.arguments
        lines = ["| `type='mmreid_gcl.…'` | registry | what it is |", '|---|---|---|']
        for title, name, member in registered_names(package):
            summary = (member.__doc__ or '').strip().splitlines()[0]
            summary = re.sub(r':\w+:`~?([^`]*)`', r'`\1`', summary)
            link = f'{{py:class}}`{name} <{public_path(package, member)}>`'
            lines.append(f'| {link} | `{title}` | {summary} |')
        return '\n'.join(lines)


def public_path(package: str, member: type) -> str:
    """The shortest path under which a class is documented."""
    if getattr(import_module(package), member.__name__, None) is member:
        return f'{package}.{member.__name__}'
    return f'{member.__module__}.{member.__name__}'


def find_object(path: str) -> object:
    """What a dotted path names.

    Raises:
        LookupError: If it names nothing.
    """
    parts = path.split('.')
    for length in range(len(parts), 0, -1):
        try:
            value = import_module('.'.join(parts[:length]))
        except ImportError:
            continue
        for part in parts[length:]:
            if inspect.isroutine(value):
                break
            known = vars(value) if inspect.isclass(value) else {}
            if part not in known and not hasattr(value, part):
                if _is_attribute(value, part):
                    return None
                break
            value = getattr(value, part)
        else:
            return value
    raise LookupError(path)


def _is_attribute(value: object, name: str) -> bool:
    """Whether a class sets an attribute of this name on its instances."""
    try:
        return inspect.isclass(value) and f'self.{name}' in inspect.getsource(value)
    except (OSError, TypeError):  # no source: not of Python
        return False


def resolve_reference(app, env, node, shown):
    """A name in a docstring, as its own module knows it.

    Objects are documented under their public path; docstrings may use the path
    of the file, or a name of their module. What exists and has no place on a page
    stays text; what does not exist is a warning.
    """
    if node.get('refdomain') != 'py':
        return None
    target = node['reftarget']
    paths = [target, f'mmreid_gcl.{target}']
    origin = re.search(r'docstring of ([\w.]+)', get_node_source(node) or '')
    scope = origin[1] if origin else node.get('py:module') or ''
    while scope:
        paths.append(f'{scope}.{target}')
        scope = scope.rpartition('.')[0]
    for path in paths:
        try:
            value = find_object(path)
        except LookupError:
            continue
        if not path.startswith('mmreid_gcl.'):
            continue
        return _link(app, node, shown, value, path) or shown
    return None


def _link(app, node, shown, value: object, path: str):
    """A link to where an object is documented, if it is."""
    if value is None:
        return None
    name = path.rpartition('.')[2]
    domain = app.env.get_domain('py')
    for key, entry in domain.objects.items():
        if key.rpartition('.')[2] != name:
            continue
        try:
            found = find_object(key)
        except LookupError:
            continue
        if found is value or (inspect.ismethod(value) and found == value):
            return make_refnode(
                app.builder, node['refdoc'], entry.docname, entry.node_id, shown
            )
    return None


def setup(app) -> dict:
    """Register the directives."""
    app.connect('missing-reference', resolve_reference)
    app.add_directive('public', Public)
    app.add_directive('registered', Registered)
    return {'parallel_read_safe': True}
