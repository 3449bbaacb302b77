# SPDX-License-Identifier: Apache-2.0
"""What is told of things that nobody signed."""

from __future__ import annotations

import json
from typing import Any

from hepix_vm.catalogue import unsigned
from hepix_vm import imagelist
from tests import endorser
from tests.unit.catalogue import following

DIGEST = f'sha256:{"0f" * 32}'


def artefact(*titles: Any) -> bytes:
    return json.dumps(
        {
            'schemaVersion': 2,
            'layers': [
                {
                    'mediaType': 'application/x',
                    'digest': DIGEST,
                    'size': 5,
                    'annotations': (
                        None
                        if title is None
                        else {'org.opencontainers.image.title': title}
                    ),
                }
                for title in titles
            ],
        }
    ).encode()


def bare(*images: Any) -> bytes:
    """A list that is not signed."""
    made = following.endorser_named('Endorser of main').make_list(
        following.identifier_of('main'), '1', images
    )
    return imagelist.render(made)


def test_files_of_an_artefact_are_told():
    assert unsigned.told(artefact('disk.qcow2', None, 7)) == (
        'unsigned, so nothing of it is believed, it says that it holds: '
        f'disk.qcow2 (application/x, 5 bytes, {DIGEST}); '
        f'a file without a name (application/x, 5 bytes, {DIGEST}); '
        f'a file without a name (application/x, 5 bytes, {DIGEST})'
    )


def test_images_of_a_list_are_told():
    one = endorser.make_image(b'bytes', title='worker node', version='9')
    assert (
        f'worker node 9 ({one.identifier}, 5 bytes, sha512:{one.sha512[:16]}'
        in unsigned.told(bare(one))
    )


def test_many_files_are_counted_and_the_line_ends():
    told = unsigned.told(artefact(*(f'file{n}' for n in range(25))))
    assert len(told) <= 2000
    told = unsigned.told(artefact(*(['x'] * 20), 'last'))
    assert 'last' not in told
    assert unsigned.told(artefact(*(['x'] * 5), 'last')).count('last') == 1


def test_nothing_is_told_as_nothing():
    assert unsigned.told(artefact()).endswith('holds: nothing')
    assert unsigned.told(bare()).endswith('holds: nothing')


def test_what_would_move_a_terminal_is_not_repeated():
    told = unsigned.told(artefact('a\x1b[2Jb\nc\u202e'))
    assert told.isprintable()
    assert 'a?[2Jb?c?' in told


def test_anything_else_is_told_as_such():
    assert 'neither an artefact nor an image list' in unsigned.told(b'\x00')


def test_bare_list_is_listed_where_that_is_wanted_and_never_approved(
    tmp_path,
):
    site = following.Site(tmp_path)
    site.follow('main', dangerous_list_unsigned=True)
    site.serve('main', bare(endorser.make_image(b'bytes', title='worker')))
    report = site.sync()['main']
    assert (report.outcome, report.code) == ('refused', 'not-signed')
    assert 'worker 1.0' in report.detail
    assert site.images() == []
    assert site.decide(b'bytes') == 'not-endorsed'
    site.change('main', dangerous_list_unsigned=False)
    assert 'worker' not in site.sync()['main'].detail
    site.close()


def test_signed_list_that_is_refused_is_not_listed(tmp_path):
    site = following.Site(tmp_path)
    site.follow('main', dangerous_list_unsigned=True)
    message = site.publish(
        'main', '1', endorser.make_image(b'bytes', title='worker')
    )
    site.serve('main', message.replace(b'worker', b'WORKER'))
    report = site.sync()['main']
    assert report.code == 'digest'
    assert 'WORKER' not in report.detail
    site.close()
