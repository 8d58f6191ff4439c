# SPDX-License-Identifier: Apache-2.0
"""A self-contained HTML file with text, tables and figures."""

from __future__ import annotations

from collections.abc import Sequence

from jinja2 import Environment, StrictUndefined
from matplotlib.figure import Figure

from .canvas import figure_to_data_uri

# Nothing is fetched and no script runs, whatever a text should contain. The links
# stand apart, or their line could not be broken on a narrow screen.
_PAGE = """<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy"
 content="default-src 'none'; img-src data:; style-src 'unsafe-inline'">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{{ title }}</title>
<style>
body { font: 16px/1.5 system-ui, "DejaVu Sans", sans-serif; color: #222;
  background: #fff; max-width: 1080px; margin: 0 auto; padding: 1.5rem; }
h1 { font-size: 1.7rem; margin: 0 0 .5rem; overflow-wrap: anywhere; }
h2 { font-size: 1.25rem; margin: 2.2rem 0 .6rem; padding-top: .6rem;
  border-top: 1px solid #ddd; }
nav a { margin-right: 1.1rem; color: #0b5fa5; }
.scroll { overflow-x: auto; }
table { border-collapse: collapse; font-size: .92rem; }
caption { text-align: left; color: #555; padding-bottom: .3rem; }
th, td { padding: .28rem .8rem; border-bottom: 1px solid #e5e5e5;
  text-align: left; vertical-align: top; overflow-wrap: anywhere; }
td.number, th.number { text-align: right; font-variant-numeric: tabular-nums;
  white-space: nowrap; }
figure { margin: 1rem 0; }
img { max-width: 100%; height: auto; }
figcaption { color: #555; font-size: .92rem; }
pre { background: #f6f6f6; padding: 1rem; overflow-x: auto; font-size: .82rem; }
summary { cursor: pointer; color: #0b5fa5; }
.notice { border-left: 4px solid #d55e00; background: #fdf3ec;
  padding: .6rem 1rem; }
</style>
</head>
<body>
<h1>{{ title }}</h1>
<nav>
{% for name in sections %}
<a href="#s{{ loop.index }}">{{ name }}</a>
{% endfor %}
</nav>
{% macro row(tag, cells, part) -%}
<tr>{% for cell in cells %}
<{{ tag }}{% if part.numbers[loop.index0] %} class="number"{% endif %}>
{%- if cell is none %}–
{%- elif cell is float %}{{ '%.*f' % (part.digits, cell) }}
{%- else %}{{ cell }}{% endif %}</{{ tag }}>{% endfor %}</tr>
{%- endmacro %}
{% for part in parts %}
{% if part.fold %}<details><summary>{{ part.fold }}</summary>{% endif %}
{% if part.kind == 'section' %}<h2 id="s{{ part.number }}">{{ part.text }}</h2>
{% elif part.kind == 'paragraph' %}<p>{{ part.text }}</p>
{% elif part.kind == 'notice' %}<p class="notice">{{ part.text }}</p>
{% elif part.kind == 'code' %}<pre>{{ part.text }}</pre>
{% elif part.kind == 'figure' %}<figure><img alt="{{ part.text }}" src="{{ part.uri }}">
<figcaption>{{ part.text }}</figcaption></figure>
{% elif part.kind == 'table' %}<div class="scroll"><table>
{% if part.text and not part.fold %}<caption>{{ part.text }}</caption>{% endif %}
{% if part.header %}<thead>{{ row('th', part.header, part) }}</thead>{% endif %}
<tbody>{% for cells in part.rows %}{{ row('td', cells, part) }}{% endfor %}</tbody>
</table></div>{% endif %}
{% if part.fold %}</details>{% endif %}
{% endfor %}
</body>
</html>
"""


class HtmlReport:
    """Collects parts of a page in order, below its ``title``; all text is escaped."""

    def __init__(self, title: str) -> None:
        self.title = title
        self._sections: list[str] = []
        self._parts: list[dict] = []

    def _add(self, kind: str, text: str, fold: str = '', **more) -> None:
        self._parts.append(dict(kind=kind, text=text, fold=fold, **more))

    def section(self, name: str) -> None:
        """Begin a section; it also stands in the line of contents."""
        self._sections.append(name)
        self._add('section', name, number=len(self._sections))

    def paragraph(self, text: str, notice: bool = False) -> None:
        """A paragraph; ``notice`` sets it apart."""
        self._add('notice' if notice else 'paragraph', text)

    def table(
        self,
        header: Sequence[str],
        rows: Sequence[Sequence[object]],
        caption: str = '',
        folded: bool = False,
        digits: int = 2,
    ) -> None:
        """A table; numbers stand to the right.

        An empty header is none; a cell that is None is a dash, and floats have
        ``digits`` decimals. A folded table shows its caption until it is clicked. A
        row that is not as long as the header is a ValueError.
        """
        for row in rows:
            if header and len(row) != len(header):
                raise ValueError(
                    f'HtmlReport.table: the row {list(row)} has {len(row)} cells for '
                    f'{len(header)} columns.'
                )
        columns = zip(*rows) if rows else ([] for _ in header)
        numbers = [any(isinstance(v, (int, float)) for v in cells) for cells in columns]
        table = dict(header=header, rows=rows, numbers=numbers, digits=digits)
        self._add('table', caption, caption if folded else '', **table)

    def code(self, text: str, caption: str = '') -> None:
        """Text as it is; with a caption it is folded away under it."""
        self._add('code', text, caption)

    def figure(self, figure: Figure, caption: str, dpi: int = 100) -> None:
        """A figure, inside the file."""
        self._add('figure', caption, uri=figure_to_data_uri(figure, dpi))

    def render(self) -> str:
        """The page."""
        escaping = Environment(
            autoescape=True, trim_blocks=True, undefined=StrictUndefined
        )
        page = escaping.from_string(_PAGE)
        return page.render(title=self.title, sections=self._sections, parts=self._parts)
