# SPDX-License-Identifier: Apache-2.0
"""Every way in which a server can fail a site, through a real sync.

Each fault meets a site that holds an approved image of the list in
question, and follows a second list that has news at that moment. Whatever
the server does: nothing is withdrawn, nothing else is approved, the second
list's news arrive, the operator reads one sentence, and when the server is
well again the site is as if nothing had been.

``SHOWN`` names the test for each known failure of servers and of the
tools before this one.
"""

from __future__ import annotations

from collections.abc import Callable
from collections.abc import Iterator
import contextlib
import dataclasses
import functools
from pathlib import Path
from typing import Any

import pytest

from hepix_vm.catalogue import attempts
from hepix_vm.catalogue import model
from hepix_vm.catalogue import store
from hepix_vm.catalogue import subscription
from hepix_vm.catalogue import sync
from tests import endorser
from tests.unit.catalogue import faults
from tests.unit.catalogue import following
from tests.unit.catalogue import servers
from tests.unit.catalogue import simulator

HERE = 'test_sync_servers.py'
SOURCES_OCI = 'functional/test_sources_oci.py'
READING = 'unit/imagelist/test_imagelist_reading.py'
FAULT = f'{HERE}::test_fault_changes_nothing_and_heals'

#: Failure, and the tests that show what becomes of it here: files beside
#: this one, or below ``tests``.
SHOWN = {
    # Servers that misbehave
    '503, 404 and other statuses': (FAULT,),
    'timeout': (FAULT, 'test_fetch.py::test_silent_server_is_left_after'),
    'endless body': (
        FAULT,
        'test_fetch.py::test_endless_body_ends_at_the_size_limit',
        'test_fetch.py::test_compressed_bomb_ends_at_the_size_limit',
    ),
    'slow drip': (
        FAULT,
        'test_fetch.py::test_server_that_never_ends_is_cut_off_at',
    ),
    'truncated body, wrong length': (FAULT,),
    'redirect, redirect loop': (
        FAULT,
        'test_source_access.py::test_redirect_loop_ends',
    ),
    'TLS error': (FAULT,),
    'old list': (FAULT, 'test_sync_lists.py::test_older_version_is_a'),
    'other list': (FAULT,),
    "another endorser's list": (FAULT,),
    'empty list': (
        FAULT,
        'test_brake.py::test_empty_list_waits',
        'test_sync_lists.py::test_empty_list_retires',
    ),
    'list that withdraws much at once': (
        'test_brake.py::test_one_more_makes_all_of_them_wait',
    ),
    'connections that stay open': (
        'test_source_lines.py::test_what_follows_a_list_is_not_the_next_one',
        'test_source_lines.py::test_fetch_that_fails_leaves_nothing_to_the',
    ),
    'driver that does not end': (
        'test_sync_attempts.py::test_source_that_ignores_its_deadline_is',
    ),
    'list growing by 100 times': (
        FAULT,
        f'{HERE}::test_list_that_grows_is_taken_and_approves_nothing_by',
    ),
    'unsigned list, garbage': (FAULT,),
    'registry answering 401, 429, garbage': (
        FAULT,
        f'{SOURCES_OCI}::test_registry_with_users_refuses_strangers',
        f'{SOURCES_OCI}::test_token_server_that_refuses_is_named',
        'test_source_oci.py::test_answer_that_is_no_manifest_is_refused',
    ),
    'other digest in a registry': (
        FAULT,
        f'{SOURCES_OCI}::test_list_that_was_changed_in_the_registry_is',
    ),
    'proxy away, nobody listening, unknown host': (FAULT,),
    'faults one after the other': (
        f'{HERE}::test_faults_one_after_the_other_change_nothing',
    ),
    'faults of all kinds in one run': (
        f'{HERE}::test_faults_all_at_once_are_each_ones_own',
    ),
    'two syncs at once': ('test_sync_lists.py::test_two_syncs_at_once_end',),
    # vmcatcher
    'frozen, unreachable or expired list keeps its images for ever': (
        'test_sync_failures.py::test_silent_server_makes_the_list_stale',
        'test_sync_failures.py::test_list_that_expires_stops_without',
        'test_sync_failures.py::test_server_that_still_serves_the_expired',
        f'{HERE}::test_list_that_never_expires_still_gets_stale',
    ),
    'hv:uri in a shell': ('test_source_access.py::test_url_of_an_image_is',),
    'dc:identifier as a path': (
        'unit/imagelist/test_imagelist_reading.py::test_image_with_a_broken_value_is_dropped',
    ),
    'another list that reuses an image UUID overwrites it': (
        'test_sync_lists.py::test_identifier_of_another_list_is_not_taken',
        'test_sync_lists.py::test_lists_that_first_come_with_one_identifier',
    ),
    'endorser mismatch raises TypeError': (
        FAULT,
        'test_sync_lists.py::test_list_that_names_another_endorser_than',
    ),
    'passwords in clear': (
        'test_source_access.py::test_secret_is_never_sent_in_clear',
        'test_source_access.py::test_secret_that_everybody_may_read',
        'test_source_access.py::test_secrets_are_not_shown_in_logs',
    ),
    # smimeX509validation
    'CRLs of intermediate CAs never consulted': (
        'unit/trust/test_answers.py::test_revoked_intermediate_is_named',
    ),
    # cloudkeeper
    'download never compared with the hash': (
        f'{SOURCES_OCI}::test_other_bytes_than_endorsed_are_not_believed',
    ),
    'no endorser pinning, no version check': (
        FAULT,
        'test_sync_lists.py::test_other_content_under_the_same_version',
    ),
    'unsigned JSON accepted as a fall-back': (
        FAULT,
        f'{HERE}::test_unsigned_list_is_told_and_no_more_where_that_is',
        f'{SOURCES_OCI}::test_unsigned_artefact_is_never_believed',
    ),
    # atrope
    'one bad list ends the run for all': (
        f'{HERE}::test_faults_all_at_once_are_each_ones_own',
        'test_sync_lists.py::test_one_hostile_list_does_not_end_the_run',
        'test_sync_lists.py::test_fault_of_our_own_with_one_list_does_not',
    ),
    'failed fetch or expired list deletes every image': (
        FAULT,
        'test_sync_failures.py::test_list_that_expires_stops_without',
        f'{SOURCES_OCI}::test_registry_that_is_away_withdraws_nothing_and',
    ),
    'images of a registry are trusted by default and never expire': (
        f'{SOURCES_OCI}::test_unsigned_artefact_is_never_believed',
        f'{HERE}::test_list_that_never_expires_still_gets_stale',
    ),
    'missing expiry of an image is read as long ago': (
        'test_sync_lists.py::test_first_list_is_believed_and_its_images',
    ),
    # cloudkeeper-os
    'removing a list does nothing': (
        'test_sync_site.py::test_subscription_that_left_the_configuration',
    ),
}

Outcome = sync.Outcome
Reason = model.Reason


@pytest.fixture
def staged(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Callable[[str], faults.Stage]]:
    """Sets a stage, of one form."""
    # Those that keep to their deadline are not left behind, though the
    # machine stands still.
    monkeypatch.setattr(attempts, 'GRACE', 600)
    with contextlib.ExitStack() as stack:

        def make(form: str) -> faults.Stage:
            server = stack.enter_context(simulator.running())
            made = faults.Stage(tmp_path, server, form, stack, monkeypatch)
            stack.callback(made.site.close)
            return made

        yield make


@pytest.fixture(scope='module')
def undisturbed(
    tmp_path_factory: pytest.TempPathFactory,
) -> Callable[[str], list[Any]]:
    """What a site holds in the end whose servers were always well."""

    @functools.cache
    def made(form: str) -> list[Any]:
        folder = tmp_path_factory.mktemp(form)
        with contextlib.ExitStack() as stack:
            server = stack.enter_context(simulator.running())
            stage = faults.Stage(
                folder, server, form, stack, pytest.MonkeyPatch()
            )
            stack.callback(stage.site.close)
            stage.serve('first', 'second, newer')
            stage.sync(60)
            stage.heal()
            return stage.facts()

    return made


def unharmed(stage: faults.Stage) -> None:
    """Nothing is withdrawn, nothing is approved but the second's news."""
    site = stage.site
    assert site.withdrawals == ()
    assert site.decide(faults.DATA) is Reason.APPROVED
    assert site.decide(faults.OTHER) is Reason.APPROVED
    assert site.decide(faults.OTHER_NEWS) is Reason.APPROVED
    for data in (faults.EVIL, faults.NEWS):
        assert site.decide(data) is Reason.NOT_ENDORSED
    assert not any(found.withdrawn for found in site.images())
    with site.database.reading() as connection:
        states = [record.state for record in store.records(connection)]
    assert set(states) == {model.RecordState.POSITIVE}


def clear(sentence: str) -> None:
    """One line that an operator understands."""
    assert sentence
    assert sentence.isprintable()
    assert len(sentence) < 500
    for noise in ('Traceback', ' at 0x', 'Max retries', 'Pool(', 'Error('):
        assert noise not in sentence


@pytest.mark.parametrize('name', sorted(faults.FAULTS))
def test_fault_changes_nothing_and_heals(staged, undisturbed, name):
    fault, form = faults.FAULTS[name], name.partition(':')[0]
    stage = staged(form)
    report = stage.suffer(fault)
    assert (report.outcome, report.code) == (fault.outcome, fault.code)
    assert fault.said in report.detail
    clear(report.detail)
    assert report.standing is model.Standing.TRUSTED
    assert not report.well
    unharmed(stage)
    stage.patch.undo()
    stage.heal()
    assert stage.facts() == undisturbed(form)
    assert stage.site.decide(faults.NEWS) is Reason.APPROVED
    assert stage.site.decide(faults.EVIL) is Reason.NOT_ENDORSED


@pytest.mark.parametrize('form', ['web', 'registry'])
def test_faults_one_after_the_other_change_nothing(staged, undisturbed, form):
    stage = staged(form)
    for name, fault in sorted(faults.FAULTS.items()):
        if not name.startswith(form) or fault.settings is not faults.PATIENT:
            continue
        stage.server.heal()
        stage.site.configured['main'] = stage.well
        report = stage.suffer(fault)
        assert report.outcome is fault.outcome, name
        unharmed(stage)
        stage.patch.undo()
    stage.site.now = faults.start() + 60
    stage.heal()
    assert stage.facts() == undisturbed(form)


def test_faults_all_at_once_are_each_ones_own(staged):
    stage = staged('web')
    site = stage.site
    by = site.endorsers['main']
    expected = {}
    for name, fault in sorted(faults.CONTENTS.items()):
        site.follow(
            name,
            by,
            url=stage.server.url(f'/{len(expected)}'),
            list_identifier=following.identifier_of('main'),
        )
        stage.serve('first', 'second, newer')
        fault.arrange(stage)
        body = servers.answer(stage.server.list)
        stage.server.misbehave(body, f'/{len(expected)}')
        expected[name] = fault.outcome
    for code in (401, 404, 429, 503):
        url = stage.server.tell(f'/{code}', servers.status(code))
        site.follow(str(code), by, url=url)
        expected[str(code)] = Outcome.UNREACHABLE
    stage.serve('first', 'second, newer')
    reports = stage.sync(60)
    found = {name: report.outcome for name, report in reports.items()}
    # A subscription of its own has seen no version before.
    expected['old list'] = Outcome.ACCEPTED
    expected['same version again'] = Outcome.ACCEPTED
    assert found == expected | {
        'main': Outcome.UNCHANGED,
        'second': Outcome.ACCEPTED,
    }
    assert site.decide(faults.OTHER_NEWS) is Reason.APPROVED


def test_servers_that_hang_in_every_place_end_no_run(staged):
    stage = staged('web')
    site = stage.site
    site.configured.clear()
    for number in range(5):
        path = f'/{number}'
        site.follow(
            f'hangs {number}',
            following.endorser_named('Endorser of main'),
            url=stage.server.tell(path, servers.dripping_headers),
        )
    site.follow('second')
    stage.serve('first', 'second, newer')
    places = dataclasses.replace(faults.HURRIED, parallel=2)
    reports = site.sync(after=60, settings=places)
    assert reports['second'].outcome is Outcome.ACCEPTED
    assert len(reports) == 6
    for name in set(reports) - {'second'}:
        assert 'not finished within 0.5 s' in reports[name].detail


def test_server_that_fails_now_and_then_is_taken_when_it_is_well(staged):
    stage = staged('registry')
    stage.serve('newer', 'second')
    # The manifest comes, its blob does not.
    well = stage.server.behaviour(simulator.MANIFEST)
    stage.server.script.extend([well, servers.status(503)])
    report = stage.sync(60)['main']
    assert 'found 503' in report.detail
    report = stage.sync()['main']
    assert report.outcome is Outcome.ACCEPTED


def test_what_a_server_says_of_a_refused_list_is_not_said_again(staged):
    stage = staged('web')
    stage.server.misbehave(
        servers.answer(faults.lists()['unsigned'], ETag='"evil"')
    )
    for _ in range(2):
        stage.sync()
    asked = [headers.get('If-None-Match') for _, headers in stage.server.asked]
    etag = f'"{simulator.digest_of(faults.lists()["first"])}"'
    assert asked == [None, etag, etag]


def test_list_that_grows_is_taken_and_approves_nothing_by_itself(staged):
    stage = staged('web')
    site = stage.site
    site.change('main', approval=subscription.Approval.LISTED)
    site.approve(faults.listed(faults.DATA))
    stage.serve('grown', 'second')
    report = stage.sync(60)['main']
    assert (report.outcome, report.added) == (Outcome.ACCEPTED, 99)
    approved = [found.identifier for found in site.images() if found.approved]
    assert approved == [faults.identified[faults.DATA]]


def test_unsigned_list_is_told_and_no_more_where_that_is_wanted(staged):
    stage = staged('web')
    stage.site.change('main', dangerous_list_unsigned=True)
    stage.serve('unsigned', 'second, newer')
    report = stage.sync(60)['main']
    assert (report.outcome, report.code) == (Outcome.REFUSED, 'not-signed')
    assert faults.identified[faults.EVIL] in report.detail
    unharmed(stage)


def test_list_that_never_expires_still_gets_stale(staged):
    stage = staged('registry')
    site = stage.site
    site.change('main', list_max_age=7 * endorser.DAY_SECONDS)
    stage.serve('never expires', 'second')
    assert stage.sync(60)['main'].outcome is Outcome.ACCEPTED
    stage.server.misbehave(servers.status(503))
    stage.sync(7 * endorser.DAY_SECONDS)
    assert site.decide(faults.DATA) is Reason.APPROVED
    stage.sync(60)
    assert site.decide(faults.DATA) is Reason.LIST_STALE
    assert site.withdrawals == ()
    stage.server.heal()
    stage.sync(60)
    assert site.decide(faults.DATA) is Reason.APPROVED


@pytest.mark.parametrize('failure', sorted(SHOWN))
def test_test_that_the_table_names_exists(failure):
    here = Path(__file__).parent
    for named in SHOWN[failure]:
        file, _, test = named.partition('::')
        folder = here.parents[1] if '/' in file else here
        assert test.startswith('test_')
        assert f'\ndef {test}' in (folder / file).read_text()
