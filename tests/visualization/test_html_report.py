# SPDX-License-Identifier: Apache-2.0
import re
from html.parser import HTMLParser

import pytest

from mmreid_gcl.visualization import HtmlReport
from mmreid_gcl.visualization.canvas import new_figure

EVIL = '<script>alert("1")</script> & \'"'


class Page(HTMLParser):
    """Tags, addresses and text of a page; complains about tags left open."""

    VOID = ('meta', 'img', 'br')

    def __init__(self, text):
        super().__init__()
        self.open, self.tags, self.links, self.texts, self.rows = [], [], [], [], []
        self.feed(text)
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        if tag == 'tr':
            self.rows.append([])
        self.links += [v for k, v in attrs if k in ('src', 'href')]
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if data.strip():
            self.texts.append(data)
            if self.open[-1] in ('td', 'th'):
                self.rows[-1].append(data)


def test_all_text_is_escaped():
    report = HtmlReport(EVIL)
    report.section(EVIL)
    report.paragraph(EVIL)
    report.paragraph(EVIL, notice=True)
    report.table([EVIL, 'b'], [[EVIL, 1]], EVIL)
    report.table([], [[EVIL]], EVIL, folded=True)
    report.code(EVIL, EVIL)
    report.figure(new_figure(1, 1), EVIL, dpi=20)
    text = report.render()
    assert '<script' not in text
    page = Page(text)
    assert 'script' not in page.tags
    assert page.texts.count(EVIL) >= 10


def test_nothing_is_fetched():
    report = HtmlReport('r')
    report.section('a')
    report.figure(new_figure(1, 1), 'f', dpi=20)
    text = report.render()
    page = Page(text)
    assert page.links[0] == '#s1' and page.links[1].startswith('data:image/png;base64,')
    assert len(page.links) == 2
    assert not re.search(r'url\(|@import|https?:|<link|<script', text)
    assert "default-src 'none'" in text


def test_cells():
    report = HtmlReport('r')
    report.table(['epoch', 'mAP'], [[1, 2.0], [2, None]], 'c')
    report.table(['x'], [[0.12345]], digits=3)
    page = Page(report.render())
    assert page.rows == [['epoch', 'mAP'], ['1', '2.00'], ['2', '–'], ['x'], ['0.123']]
    assert 'c' in page.texts


def test_sections_are_linked_and_parts_keep_their_order():
    report = HtmlReport('r')
    for name in 'abc':
        report.section(name)
        report.paragraph(f'text {name}')
    text = report.render()
    page = Page(text)
    assert page.links == ['#s1', '#s2', '#s3']
    assert all(f'id="s{n}"' in text for n in (1, 2, 3))
    order = [t for t in page.texts if t.startswith('text')]
    assert order == ['text a', 'text b', 'text c']


def test_empty_tables_and_rows_of_another_length():
    report = HtmlReport('r')
    report.table(['a'], [])
    report.table([], [])
    Page(report.render())
    with pytest.raises(ValueError, match='has 1 cells for 2 columns'):
        report.table(['a', 'b'], [[1]])
