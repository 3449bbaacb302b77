# SPDX-License-Identifier: Apache-2.0
"""The site in memory: noticing changes, keeping the last good one."""

import errno
import logging
import pathlib
import threading

import pytest

from hepix_vm.context import archive
from hepix_vm.context import bundle
from hepix_vm.context import directory
from hepix_vm.context import generations
from hepix_vm.context import served
from hepix_vm.context import site as site_
from hepix_vm.context import source
from tests.unit.context import sites

INTERVAL = 5.0


@pytest.fixture
def site(tmp_path):
    return sites.make(tmp_path / 'context')


def _served(
    site: pathlib.Path, state: pathlib.Path | None = None
) -> served.ServedSite:
    return served.ServedSite(
        served.ContextSettings(
            source=source.Source(
                directory=site,
                state_directory=state or site.parent / 'state',
                published=state is not None,
            ),
            refresh_interval=INTERVAL,
        )
    )


def _prolog(found: site_.Site | None) -> bytes:
    assert found is not None
    [content] = [
        file.member.content
        for layer in found.layers
        for file in layer.files
        if file.member.path == 'prolog.sh'
    ]
    return content


def test_the_first_question_reads(site):
    assert _served(site).current(0.0) == site_.read_directory(site)


def test_making_it_touches_no_file(tmp_path):
    _served(tmp_path / 'absent')


def test_a_change_is_served_after_the_interval_not_before(site):
    source = _served(site)
    old = source.current(100.0)
    sites.write(site, 'prolog.sh', '#!/bin/sh\necho prolog new\n', 0o755)
    assert source.current(100.0 + INTERVAL - 0.1) is old
    new = source.current(100.0 + INTERVAL)
    assert _prolog(new) == b'#!/bin/sh\necho prolog new\n'
    assert _prolog(old) == sites.PROLOG.encode()


@pytest.mark.parametrize(
    'change',
    [
        lambda site: sites.write(site, 'added', ''),
        lambda site: sites.write(site, 'site/bin/deep', ''),
        lambda site: (site / 'site/squid.conf').unlink(),
        lambda site: (site / 'site/squid.conf').rename(site / 'moved'),
        lambda site: (site / 'site/squid.conf').chmod(0o755),
        lambda site: (site / 'empty').rmdir(),
    ],
)
def test_every_kind_of_change_is_noticed(site, change):
    source = _served(site)
    old = source.current(0.0)
    change(site)
    new = source.current(INTERVAL)
    assert new.sha256 != old.sha256
    assert new == site_.read_directory(site)


def test_nothing_changed_nothing_is_read_again(site, monkeypatch):
    source = _served(site)
    old = source.current(0.0)
    monkeypatch.setattr(served.source_, 'read', None)
    assert source.current(INTERVAL) is old


def test_switching_a_symbolic_link_publishes_at_one_moment(site, tmp_path):
    link = tmp_path / 'current'
    link.symlink_to(site)
    source = _served(link)
    source.current(0.0)
    second = sites.make(tmp_path / 'second')
    sites.write(second, 'prolog.sh', '#!/bin/sh\necho prolog 2\n')
    (tmp_path / 'next').symlink_to(second)
    (tmp_path / 'next').replace(link)
    assert b'prolog 2' in _prolog(source.current(INTERVAL))


def test_a_broken_change_keeps_the_last_good_and_says_so_once(site, caplog):
    source = _served(site)
    good = source.current(0.0)
    (site / 'trap').symlink_to('/etc/passwd')
    with caplog.at_level(logging.INFO):
        for look in range(1, 6):
            assert source.current(look * INTERVAL) is good
    [record] = caplog.records
    assert record.levelno == logging.ERROR
    assert 'symbolic link' in record.getMessage()
    assert 'the one before is served on' in record.getMessage()

    (site / 'trap').unlink()
    caplog.clear()
    with caplog.at_level(logging.INFO):
        mended = source.current(6 * INTERVAL)
    assert mended == good
    assert mended.sha256 in caplog.text


def test_another_fault_is_said_again(site, caplog):
    source = _served(site)
    source.current(0.0)
    (site / 'trap').symlink_to('/etc/passwd')
    source.current(INTERVAL)
    (site / 'trap').unlink()
    (site / 'epilog.sh').unlink()
    source.current(2 * INTERVAL)
    said = [r.getMessage() for r in caplog.records]
    assert len(said) == 2
    assert 'symbolic link' in said[0]
    assert 'epilog.sh' in said[1]


def test_a_removed_directory_keeps_the_last_good(site):
    source = _served(site)
    good = source.current(0.0)
    site.rename(site.with_name('away'))
    assert source.current(INTERVAL) is good


def test_never_a_good_one_gives_none_until_there_is_one(tmp_path, caplog):
    source = _served(tmp_path / 'context')
    assert source.current(0.0) is None
    assert source.current(INTERVAL) is None
    [record] = caplog.records
    assert 'guests get 503' in record.getMessage()
    made = sites.make(tmp_path / 'context')
    assert source.current(2 * INTERVAL) == site_.read_directory(made)


def test_a_directory_that_changes_while_it_is_read_is_read_again(
    site, monkeypatch
):
    source_ = _served(site)
    old = source_.current(0.0)
    sites.write(site, 'first', '')
    really = source.read

    def read_while_somebody_writes(*arguments):
        made = really(*arguments)
        sites.write(site, 'second', '')
        return made

    monkeypatch.setattr(served.source_, 'read', read_while_somebody_writes)
    assert source_.current(INTERVAL) is old
    monkeypatch.undo()
    assert source_.current(2 * INTERVAL) == site_.read_directory(site)


def test_a_fault_nobody_thought_of_does_not_reach_the_service(
    site, monkeypatch, caplog
):
    source = _served(site)
    good = source.current(0.0)
    sites.write(site, 'more', '')

    def fall_over(*arguments):
        raise MemoryError('no room')

    monkeypatch.setattr(served.source_, 'read', fall_over)
    assert source.current(INTERVAL) is good
    assert 'MemoryError' in caplog.text


def test_one_thread_looks_while_the_others_are_answered(site, monkeypatch):
    source_ = _served(site)
    good = source_.current(0.0)
    sites.write(site, 'more', '')
    inside, go_on = threading.Event(), threading.Event()
    really = source.read

    def slow(*arguments):
        inside.set()
        assert go_on.wait(60)
        return really(*arguments)

    monkeypatch.setattr(served.source_, 'read', slow)
    found = []
    looking = threading.Thread(
        target=lambda: found.append(source_.current(INTERVAL))
    )
    looking.start()
    try:
        assert inside.wait(60), 'nobody looked'
        assert source_.current(INTERVAL) is good
    finally:
        go_on.set()
        looking.join(60)
    assert found[0].sha256 != good.sha256


def _publish(site, state):
    found = archive.ordered(directory.members(site, 500, 10**6), str(site))
    tar = site_.packed(found, bundle.DEFAULT_LIMITS, str(site))
    return generations.publish(
        state, tar, generations.Order(1_800_000_000, None, 'me', '', 10)
    )


def test_what_was_published_is_served_instead_of_the_directory(site, tmp_path):
    state = tmp_path / 'state'
    _publish(site, state)
    source = _served(site, state)
    old = source.current(0.0)
    assert old.serial == 1
    sites.write(site, 'draft', 'not yet')
    assert source.current(INTERVAL) is old
    _publish(site, state)
    new = source.current(2 * INTERVAL)
    assert new.serial == 2
    assert new.sha256 != old.sha256


def test_a_disk_that_failed_for_a_moment_is_read_again(
    site, tmp_path, monkeypatch, caplog
):
    state = tmp_path / 'state'
    _publish(site, state)
    source = _served(site, state)
    good = source.current(0.0)
    sites.write(site, 'more', '')
    _publish(site, state)
    really = pathlib.Path.open

    def fail(path, *arguments, **keywords):
        if path.name == 'site.tar':
            raise OSError(errno.EIO, 'Input/output error', str(path))
        return really(path, *arguments, **keywords)

    monkeypatch.setattr(pathlib.Path, 'open', fail)
    assert source.current(INTERVAL) is good
    assert source.current(2 * INTERVAL) is good
    monkeypatch.undo()
    assert source.current(3 * INTERVAL).serial == 2
    [record] = [r for r in caplog.records if r.levelno == logging.ERROR]
    assert 'Input/output error' in record.getMessage()


def test_a_fault_that_comes_back_is_said_again(site, caplog):
    source = _served(site)
    for look in range(0, 4, 2):
        (site / 'trap').symlink_to('/etc/passwd')
        source.current(look * INTERVAL)
        (site / 'trap').unlink()
        source.current((look + 1) * INTERVAL)
    assert len([r for r in caplog.records if r.levelno == logging.ERROR]) == 2


def test_a_fault_is_said_again_after_going_back_to_what_was_good(
    site, tmp_path, caplog
):
    broken = sites.make(tmp_path / 'broken')
    (broken / 'trap').symlink_to('/etc/passwd')
    link = tmp_path / 'link'
    source = _served(link)
    for look, target in enumerate((site, broken, site, broken)):
        link.unlink(missing_ok=True)
        link.symlink_to(target)
        assert source.current(look * INTERVAL) is not None
    assert len([r for r in caplog.records if r.levelno == logging.ERROR]) == 2


def test_a_damaged_publication_is_not_served(site, tmp_path, caplog):
    state = tmp_path / 'state'
    _publish(site, state)
    source = _served(site, state)
    good = source.current(0.0)
    sites.write(site, 'draft', 'not yet')
    _publish(site, state)
    (state / 'generations/2/site.tar').write_bytes(b'<html>')
    assert source.current(INTERVAL) is good
    assert 'damaged' in caplog.text


def test_nothing_published_is_said(site, tmp_path, caplog):
    source = _served(site, tmp_path / 'state')
    assert source.current(0.0) is None
    assert 'nothing is published' in caplog.text


def test_a_fingerprint_of_a_huge_tree_looks_at_a_part_of_it(tmp_path):
    for number in range(50):
        (tmp_path / f'{number:02}').write_text('')
    assert len(directory.fingerprint(tmp_path, 10)) == 12


def test_a_fingerprint_tells_why_there_is_nothing(tmp_path):
    absent = directory.fingerprint(tmp_path / 'x', 10)
    assert absent != directory.fingerprint(tmp_path, 10)
