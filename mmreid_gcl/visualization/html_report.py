# SPDX-License-Identifier: Apache-2.0
"""One HTML file with text, tables and figures, that needs nothing else."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

from matplotlib.figure import Figure

from .canvas import figure_to_data_uri

# Nothing is fetched and no script runs, whatever a text should contain.
_HEAD = """<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy"
 content="default-src 'none'; img-src data:; style-src 'unsafe-inline'">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{title}</title>
<style>
body {{ font: 16px/1.5 system-ui, "DejaVu Sans", sans-serif; color: #222;
  background: #fff; max-width: 1080px; margin: 0 auto; padding: 1.5rem; }}
h1 {{ font-size: 1.7rem; margin: 0 0 .5rem; overflow-wrap: anywhere; }}
h2 {{ font-size: 1.25rem; margin: 2.2rem 0 .6rem; padding-top: .6rem;
  border-top: 1px solid #ddd; }}
nav a {{ margin-right: 1.1rem; color: #0b5fa5; }}
.scroll {{ overflow-x: auto; }}
table {{ border-collapse: collapse; font-size: .92rem; }}
caption {{ text-align: left; color: #555; padding-bottom: .3rem; }}
th, td {{ padding: .28rem .8rem; border-bottom: 1px solid #e5e5e5;
  text-align: left; vertical-align: top; overflow-wrap: anywhere; }}
td.number, th.number {{ text-align: right; font-variant-numeric: tabular-nums;
  white-space: nowrap; }}
figure {{ margin: 1rem 0; }}
img {{ max-width: 100%; height: auto; }}
figcaption {{ color: #555; font-size: .92rem; }}
pre {{ background: #f6f6f6; padding: 1rem; overflow-x: auto; font-size: .82rem; }}
summary {{ cursor: pointer; color: #0b5fa5; }}
.notice {{ border-left: 4px solid #d55e00; background: #fdf3ec;
  padding: .6rem 1rem; }}
</style>
</head>
<body>
<h1>{title}</h1>
"""


class HtmlReport:
    """Collects parts in order; all text is escaped.

    Args:
        title (str): Of the page.
    """

    def __init__(self, title: str) -> None:
        self.title = title
        self._sections: list[str] = []
        self._parts: list[str] = []

    def section(self, name: str) -> None:
        """Begin a section; it also stands in the line of contents."""
        self._sections.append(name)
        self._parts.append(f'<h2 id="s{len(self._sections)}">{escape(name)}</h2>')

    def paragraph(self, text: str, notice: bool = False) -> None:
        """A paragraph; ``notice`` sets it apart."""
        kind = ' class="notice"' if notice else ''
        self._parts.append(f'<p{kind}>{escape(text)}</p>')

    def table(
        self,
        header: Sequence[str],
        rows: Sequence[Sequence[object]],
        caption: str = '',
        folded: bool = False,
        digits: int = 2,
    ) -> None:
        """A table; numbers stand to the right.

        Args:
            header (Sequence[str]): Names of the columns; empty for none.
            rows (Sequence[Sequence]): Cells; None is a dash.
            caption (str): Above the table.
            folded (bool): Show the caption alone until it is clicked.
            digits (int): Decimals of floats. Defaults to 2.

        Raises:
            ValueError: If a row is not as long as the header.
        """
        for row in rows:
            if header and len(row) != len(header):
                raise ValueError(
                    f'HtmlReport.table: the row {list(row)} has {len(row)} cells for '
                    f'{len(header)} columns.'
                )
        numbers = [
            any(isinstance(row[n], (int, float)) for row in rows)
            for n in range(len(rows[0]) if rows else 0)
        ] or [False] * len(header)
        lines = ['<div class="scroll"><table>']
        if caption and not folded:
            lines.append(f'<caption>{escape(caption)}</caption>')
        if header:
            cells = (
                _cell('th', name, right, 0) for name, right in zip(header, numbers)
            )
            lines.append(f'<thead><tr>{"".join(cells)}</tr></thead>')
        lines.append('<tbody>')
        for row in rows:
            cells = (
                _cell('td', value, right, digits) for value, right in zip(row, numbers)
            )
            lines.append(f'<tr>{"".join(cells)}</tr>')
        lines.append('</tbody></table></div>')
        self._parts.append(_fold('\n'.join(lines), caption if folded else ''))

    def code(self, text: str, caption: str = '') -> None:
        """Text as it is; with a caption it is folded away under it."""
        self._parts.append(_fold(f'<pre>{escape(text)}</pre>', caption))

    def figure(self, figure: Figure, caption: str, dpi: int = 100) -> None:
        """A figure, inside the file."""
        uri = figure_to_data_uri(figure, dpi)
        self._parts.append(
            f'<figure><img alt="{escape(caption)}" src="{uri}">'
            f'<figcaption>{escape(caption)}</figcaption></figure>'
        )

    def render(self) -> str:
        """The page."""
        # a space, or the line could not be broken on a narrow screen
        links = ' '.join(
            f'<a href="#s{n}">{escape(name)}</a>'
            for n, name in enumerate(self._sections, 1)
        )
        return (
            _HEAD.format(title=escape(self.title))
            + f'<nav>{links}</nav>\n'
            + '\n'.join(self._parts)
            + '\n</body>\n</html>\n'
        )


def _cell(tag: str, value: object, right: bool, digits: int) -> str:
    kind = ' class="number"' if right else ''
    if value is None:
        text = '–'
    elif isinstance(value, float):
        text = f'{value:.{digits}f}'
    else:
        text = str(value)
    return f'<{tag}{kind}>{escape(text)}</{tag}>'


def _fold(inside: str, caption: str) -> str:
    if not caption:
        return inside
    return f'<details><summary>{escape(caption)}</summary>\n{inside}\n</details>'
