# SPDX-License-Identifier: Apache-2.0
import hashlib
import shutil
import subprocess

import pytest

from mmreid_gcl.datasets.checksums import (
    compare_checksums,
    file_digest,
    read_checksums,
    write_checksums,
)

NAMES = ['a.jpg', 'b/ c.jpg', 'd/улица.png', 'd/back\\slash.png', 'e/new\nline.png']


@pytest.fixture
def folder(tmp_path):
    root = tmp_path / 'set'
    for i, name in enumerate(NAMES):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(bytes([i]) * (i * 1000))
    (root / '.hidden').write_bytes(b'x')
    return root


@pytest.fixture
def tool(load_tool):
    return load_tool('data/checksums').main


def test_write_then_check(tool, folder, capsys):
    assert tool(['write', str(folder)]) == 0
    sums = read_checksums(folder / 'SHA256SUMS')
    assert sums == {
        name: hashlib.sha256((folder / name).read_bytes()).hexdigest() for name in NAMES
    }
    assert tool(['check', str(folder)]) == 0
    assert '5 files are as listed' in capsys.readouterr().out
    (folder / 'a.jpg').write_bytes(b'other')
    (folder / 'b' / ' c.jpg').unlink()
    (folder / 'new.jpg').touch()
    assert tool(['check', str(folder)]) == 1
    out = capsys.readouterr().out
    assert 'missing or unreadable: 1\n    b/ c.jpg' in out
    assert 'changed: 1\n    a.jpg' in out
    assert 'not listed (left out): 1\n    new.jpg' in out


def test_files_that_are_not_listed_do_not_fail(tool, folder):
    assert tool(['write', str(folder)]) == 0
    (folder / 'new.jpg').touch()
    assert tool(['check', str(folder)]) == 0


@pytest.mark.skipif(shutil.which('sha256sum') is None, reason='needs coreutils')
def test_coreutils_read_what_we_write_and_the_other_way(tool, folder):
    assert tool(['write', str(folder)]) == 0
    check = ['sha256sum', '--check', '--strict', '--quiet', 'SHA256SUMS']
    assert subprocess.run(check, cwd=folder).returncode == 0
    lines = subprocess.run(
        ['md5sum', '--', *NAMES], cwd=folder, capture_output=True, check=True
    )
    (folder.parent / 'md5.txt').write_bytes(lines.stdout)
    result = compare_checksums(folder, folder.parent / 'md5.txt', progress=False)
    assert result and result.same == len(NAMES)


def test_wrong_lists(tool, folder, tmp_path, capsys):
    sums = tmp_path / 'sums'
    for text, message in (
        ('', 'lists no checksum'),
        ('hello\n', 'line 1'),
        (f'{"0" * 63}  a.jpg\n', 'line 1'),
        (f'{"0" * 64}  a\n{"0" * 64}  a\n', 'line 2.*twice'),
        (f'{"0" * 64}  a\n{"0" * 32}  b\n', 'not all of one kind'),
    ):
        sums.write_text(text)
        with pytest.raises(ValueError, match=message):
            read_checksums(sums)
    with pytest.raises(FileNotFoundError, match='no such file of checksums'):
        read_checksums(tmp_path / 'nothing')
    assert tool(['check', str(folder)]) == 2
    assert 'checksums.py write' in capsys.readouterr().err
    assert tool(['write', str(tmp_path / 'nowhere')]) == 2
    (tmp_path / 'empty').mkdir()
    assert tool(['write', str(tmp_path / 'empty')]) == 2


def test_digests_of_known_text(tmp_path):
    # of RFC 1321 and FIPS 180
    path = tmp_path / 'abc'
    path.write_bytes(b'abc')
    assert file_digest(path, 'md5') == '900150983cd24fb0d6963f7d28e17f72'
    assert file_digest(path) == (
        'ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad'
    )
    write_checksums(tmp_path / 'sums', {'abc': file_digest(path)})
    assert (tmp_path / 'sums').read_text().endswith('15ad  abc\n')
