# SPDX-License-Identifier: Apache-2.0
"""The pages of the docs as text: links, anchors, code blocks."""

import re
from pathlib import Path

ROOT = Path(__file__).parents[2]
DOCS = ROOT / 'docs'
#: What is read on GitHub as well as on the site.
PAGES = [ROOT / 'README.md', *sorted(DOCS.glob('*.md')), *sorted(DOCS.glob('api/*.md'))]
FENCE = re.compile(
    r'^(?P<fence>```+|~~~+)(?P<info>[^\n]*)\n(?P<code>.*?)^(?P=fence)', re.M | re.S
)
LINK = re.compile(r'!?\[(?:[^\]\[]|\[[^\]]*\])*\]\(([^()\s]+)\)')


def prose(text: str) -> str:
    """The text without code, in which brackets are no links."""
    return re.sub(r'`[^`\n]*`', '', FENCE.sub('', text))


def links(text: str) -> list[str]:
    """Targets of the links and images of a page."""
    return LINK.findall(FENCE.sub('', text))


def blocks(text: str) -> list[tuple[str, str]]:
    """(language, code) of the fenced blocks."""
    return [(m['info'].strip(), m['code']) for m in FENCE.finditer(text)]


def anchors(text: str) -> set[str]:
    """Anchors of the headings, as GitHub makes them."""
    found: dict[str, int] = {}
    names = set()
    for heading in re.findall(r'^#{1,6} +(.+?) *#*$', FENCE.sub('', text), re.M):
        heading = re.sub(r'\[([^\]]*)\]\([^)]*\)', r'\1', heading)
        name = re.sub(r'[^\w\- ]', '', heading.lower()).replace(' ', '-')
        count = found.get(name, 0)
        found[name] = count + 1
        names.add(f'{name}-{count}' if count else name)
    return names


def toctrees(text: str) -> list[str]:
    """Entries of the contents of a page."""
    lines = [
        line.strip()
        for info, code in blocks(text)
        if info == '{toctree}'
        for line in code.splitlines()
    ]
    return [line for line in lines if line and not line.startswith(':')]
