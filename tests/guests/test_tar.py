# SPDX-License-Identifier: Apache-2.0
"""Archives that no site sends: nothing of them is installed or run.

Each comes with a manifest that is right about it, so that only unpacking can
refuse it.
"""

from __future__ import annotations

import gzip
import tarfile

import pytest

from hepix_vm.context import forms
from tests.guests import machine
from tests.guests import site

member = site.member

ESCAPES = {
    'a name from the top': [member('/tmp/hepix-escaped')],
    'a name above': [member('../escaped')],
    'a name above, later': [member('a/../../escaped')],
    'a symbolic link': [member('link', tarfile.SYMTYPE, '../../etc')],
    'a file through a link': [
        member('link', tarfile.SYMTYPE, '../..'),
        member('link/escaped'),
    ],
    'a hard link inside': [member('again', tarfile.LNKTYPE, 'prolog.sh')],
    'a hard link outside': [member('uuid', tarfile.LNKTYPE, '../../uuid')],
    'a character device': [member('null', tarfile.CHRTYPE)],
    'a block device': [member('disk', tarfile.BLKTYPE)],
    'a pipe': [member('pipe', tarfile.FIFOTYPE)],
    'the rights of its owner': [member('su', mode=0o4755)],
    'the rights of its group': [member('sg', mode=0o2755)],
    'a line end in a name': [member('one\ntwo')],
    'a blank in a name': [member('one two')],
    'a name that is run': [member('$(id)')],
    'a name in colours': [member('\x1b[31mred')],
}


@pytest.mark.parametrize('guest', machine.SYSTEMS, indirect=True)
@pytest.mark.parametrize('headers', ESCAPES.values(), ids=list(ESCAPES))
def test_an_odd_member_refuses_the_whole_bundle(guest, server, headers):
    because = 'refused: '
    if not headers[0].isreg() and not headers[0].islnk():
        # before anything of it is made
        because = 'more than regular files and directories in it'
    _refused(guest, server, site.hostile(*headers), because)
    assert not (guest.top / 'escaped').exists()


def test_too_many_files_are_refused(guest, server):
    guest.options['most_files'] = '20'
    headers = [member(f'f{number}') for number in range(20)]
    _refused(guest, server, site.hostile(*headers), 'more than 20 files')


def test_a_bomb_that_says_its_size_is_refused(guest, server):
    guest.options['most_unpacked'] = '1000000'
    tar = site.hostile(member('zeros'), content=bytes(2_000_000))
    _refused(guest, server, tar, 'expected at most 1000000 bytes')


@pytest.mark.parametrize('guest', machine.SYSTEMS, indirect=True)
@pytest.mark.parametrize('form', ['gzip', 'pkzip'])
def test_a_bomb_that_says_nothing_is_cut_off(guest, server, form):
    """10 GB of it are never written."""
    guest.options['most_unpacked'] = '1000000'
    small = site.made()
    server.say(small.answers())
    # As of a long run of zeros as one wants: members of gzip add up.
    packed = gzip.compress(bytes(2**24), 9) * 640
    if form == 'pkzip':
        packed = forms.pkzip(forms.gzip(bytes(3_000_000)))
    server.say(
        {'/context/default.tgz.b64': site.Answer(body=forms.base64(packed))}
    )
    guest.options['most_fetched'] = str(2**27)
    done = guest.run('epilog')
    assert done.returncode == 1
    assert 'unpacks to more than 1000000 bytes' in done.stderr
    assert guest.calls == []


def test_holes_do_not_make_a_file_large(guest, server):
    _refused(guest, server, _holes() + bytes(1024), 'refused: ')


def test_a_bundle_without_scripts_is_refused(guest, server):
    bundle = site.made({'readme': b'nothing\n'})
    server.say(bundle.answers())
    done = guest.run('epilog')
    assert done.returncode == 1
    assert 'expected prolog.sh or epilog.sh, found neither' in done.stderr


def test_what_stood_there_is_replaced_whole(guest, server):
    """A link in its place is not written through."""
    victim = guest.top / 'victim'
    victim.mkdir()
    (victim / 'kept').write_text('kept')
    guest.state.mkdir()
    (guest.state / 'context').symlink_to(victim)
    server.say(site.made().answers())
    assert guest.run('epilog').returncode == 0
    assert [path.name for path in victim.iterdir()] == ['kept']
    assert not (guest.state / 'context').is_symlink()
    assert {path.name for path in (guest.state / 'context').iterdir()} == {
        'prolog.sh',
        'epilog.sh',
    }


def _holes() -> bytes:
    """A sparse file of GNU's: 4 GiB, nothing of which is in the archive."""
    header = bytearray(member('holes').tobuf(tarfile.GNU_FORMAT))
    end = b'%011o\0' % 2**32
    header[156:157] = tarfile.GNUTYPE_SPARSE
    header[386:410] = end + b'%011o\0' % 0
    header[483:495] = end
    header[148:156] = b' ' * 8
    header[148:156] = b'%06o\0 ' % sum(header)
    return site.hostile()[:2048] + bytes(header)


def _refused(guest, server, tar: bytes, because: str) -> None:
    server.say(site.about(tar, site.SCRIPTS).answers())
    done = guest.run('epilog')
    assert done.returncode == 1, done.stderr
    assert because in done.stderr
    assert guest.calls == []
    assert not (guest.state / 'context').exists()
    assert '\x1b' not in done.stderr
    # nothing but a directory of what was refused
    assert sorted(path.name for path in guest.top.iterdir()) == [
        *('agent.conf', 'cds', 'etc', 'run', 'state', 'uuid')
    ]
    assert list(guest.state.iterdir()) == []
