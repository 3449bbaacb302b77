# SPDX-License-Identifier: Apache-2.0
"""Publishing a site's context: what is looked at before."""

import dataclasses
import json
import pathlib
import shutil

import pytest

from hepix_vm.context import bundle
from hepix_vm.context import difference
from hepix_vm.context import facts
from hepix_vm.context import generations
from hepix_vm.context import lint
from hepix_vm.context import source as source_
from hepix_vm import errors
from hepix_vm.operations import context
from hepix_vm.operations import context_lint
from tests.unit.context import sites

ORDER = generations.Order(1, None, 'somebody', '', 10)


@pytest.fixture
def source(tmp_path):
    return source_.Source(
        sites.make(tmp_path / 'context'), tmp_path / 'state', True
    )


@pytest.fixture
def no_shellcheck(monkeypatch, tmp_path):
    monkeypatch.setenv('PATH', str(tmp_path))


def _shellcheck(monkeypatch, tmp_path: pathlib.Path, answer: str) -> None:
    """A program of that name that says so, and what it was given."""
    program = tmp_path / 'bin' / 'shellcheck'
    program.parent.mkdir()
    program.write_text(
        f'#!/bin/sh\necho "$@" > {tmp_path}/asked\n'
        f'cat <<"END"\n{answer}\nEND\nexit 1\n'
    )
    program.chmod(0o755)
    monkeypatch.setenv('PATH', f'{program.parent}:/usr/bin:/bin')


def test_what_shellcheck_says_is_a_warning(source, monkeypatch, tmp_path):
    comment = {
        'file': 'prolog.sh',
        'line': 2,
        'code': 2086,
        'level': 'error',
        'message': 'Double quote',
    }
    _shellcheck(
        monkeypatch, tmp_path, json.dumps({'comments': [comment, {'line': 1}]})
    )
    assert context.lint(source) == (
        lint.Finding(
            'prolog.sh',
            2,
            lint.Level.WARNING,
            'shellcheck',
            'SC2086: Double quote',
        ),
    )
    asked = (tmp_path / 'asked').read_text()
    assert asked.rstrip().endswith('-- epilog.sh prolog.sh site/bin/report')


@pytest.mark.parametrize('answer', ['', 'usage', '[]', '{}'])
def test_a_shellcheck_of_another_kind_says_nothing(
    source, monkeypatch, tmp_path, answer
):
    _shellcheck(monkeypatch, tmp_path, answer)
    assert context.lint(source) == ()


@pytest.mark.skipif(not shutil.which('shellcheck'), reason='not installed')
def test_the_real_shellcheck_is_understood(source):
    sites.write(
        source.directory, 'x.sh.in', '#!/bin/sh\nx=1\ncd @vo@\necho $((1+\n'
    )
    found = context.lint(source)
    assert {(f.path, f.rule, f.level) for f in found} == {
        ('x.sh.in', 'shellcheck', lint.Level.WARNING)
    }


def test_without_shellcheck_the_rest_is_said(source, no_shellcheck):
    sites.write(source.directory, 'x.sh', 'insmod x\n')
    [finding] = context.lint(source)
    assert finding.rule == 'kernel-module'


def test_a_variant_that_is_too_large_is_an_error(source, no_shellcheck):
    site = source.directory
    for name in ('common', 'atlas'):
        sites.make(site / name) if name == 'common' else None
        sites.write(site, f'{name}/{name}', 'x' * 9000)
    for name in ('prolog.sh', 'epilog.sh'):
        (site / name).unlink()
    shutil.rmtree(site / 'site')
    (site / 'empty').rmdir()
    sites.write(
        site,
        'layers.yaml',
        'layers: [{directory: common}, {directory: atlas, when: {vo: a}}]',
    )
    read = context.read(source_.Source(site, site, False))
    found = context_lint.findings(read, bundle.Limits(unpacked=20480))
    assert [(f.path, f.rule) for f in found] == [('common+atlas', 'size')]


def test_a_directory_that_is_edited_meanwhile_is_not_published(
    source, monkeypatch
):
    really = context_lint.findings

    def edited(*arguments):
        sites.write(source.directory, 'more', '')
        return really(*arguments)

    monkeypatch.setattr(context.context_lint, 'findings', edited)
    with pytest.raises(errors.TryAgain, match='changed while it was read'):
        context.publish(source, ORDER)
    assert generations.newest(source.state_directory) == 0


def test_the_same_content_again_says_so(source):
    assert context.publish(source, ORDER).unchanged is None
    again = context.publish(source, ORDER)
    assert (again.generation.serial, again.unchanged) == (2, 1)


def test_a_damaged_publication_is_published_over(source, caplog):
    context.publish(source, ORDER)
    state = source.state_directory
    (state / 'generations/1/generation.json').unlink()
    again = context.publish(source, ORDER)
    assert (again.generation.serial, again.unchanged) == (2, None)
    assert 'verdict=published-unreadable site context' in caplog.text


def test_what_cannot_be_served_any_more_is_not_gone_back_to(source):
    context.publish(source, ORDER)
    sites.write(source.directory, 'more', '')
    context.publish(source, ORDER)
    state = source.state_directory
    (state / 'generations/1/site.tar').write_bytes(b'')
    with pytest.raises(errors.Misconfigured, match='damaged'):
        context.rollback(source, ORDER)
    assert generations.current(state) == 2


@pytest.mark.parametrize(
    ('changes', 'says'),
    [
        ({'expires_at': 1}, '--expires: expected a time from now'),
        ({'expires_at': 253402300800}, '--expires: expected a time from now'),
        ({'comment': 'x' * 1001}, '--comment: expected at most 1000'),
    ],
)
def test_an_order_that_guests_or_we_could_not_read_is_refused(
    source, changes, says
):
    order = dataclasses.replace(ORDER, **changes)
    with pytest.raises(errors.Misconfigured, match=says):
        context.publish(source, order)
    assert generations.current(source.state_directory) is None
    context.publish(source, ORDER)
    with pytest.raises(errors.Misconfigured, match=says):
        context.rollback(source, order, 1)
    assert generations.current(source.state_directory) == 1


def test_the_last_time_and_the_longest_comment_are_served(source):
    order = dataclasses.replace(
        ORDER, expires_at=253402300799, comment='x' * 1000
    )
    context.publish(source, order)
    site = context.read(source)
    made = context.build(site, facts.Facts('', ''), source)
    assert b'expires: 9999-12-31T23:59:59Z\n' in made.manifest


def test_a_difference_of_many_lines_is_cut(source, monkeypatch):
    monkeypatch.setattr(difference, '_LINES', 10)
    context.publish(source, ORDER)
    sites.write(source.directory, 'more', 'x\n' * 50)
    [found] = context.differences(source)
    assert found.lines[-1] == '... 44 more lines differ'
    assert len(found.lines) == 11


def test_a_mode_that_changed_is_told(source):
    context.publish(source, ORDER)
    (source.directory / 'site/squid.conf').chmod(0o755)
    assert context.differences(source) == (
        difference.Difference(
            'site/squid.conf',
            'changed',
            'file of mode 644 to file of mode 755',
            (),
        ),
    )
