# SPDX-License-Identifier: Apache-2.0
"""Check hepix_approved, asked by the real oslo.policy of Glance's images."""

from collections.abc import Callable
from collections.abc import Iterator
from collections.abc import Mapping
import concurrent.futures
import datetime
import logging
import os
import pathlib
import sys
import time
from typing import Any

from oslo_config import cfg
from oslo_context import context
from oslo_policy import opts
from oslo_policy import policy as oslo_policy
import pytest

pytest.importorskip('glance')

from glance.api import policy as glance_policy
from glance import domain

from hepix_vm.catalogue import boot
from hepix_vm.catalogue import model
from hepix_vm.catalogue import reader
from hepix_vm.catalogue import schema
from hepix_vm.conf import inside
from hepix_vm.glance import download
from hepix_vm.glance import policy
from tests import catalogue_rows

IMAGE = 'aaaaaaaa-0000-4000-8000-000000000001'
PROJECT = 'b7d5f1c0d3f44c0f9b1be6a2a2a70001'
PUBLISHER = 'b7d5f1c0d3f44c0f9b1be6a2a2a70002'
DATA = b'an endorsed image'
CREATED = datetime.datetime(2023, 11, 14, 22, 13, 20)  # noqa: DTZ001
CREATED_AT = 1_700_000_000


def image(**changes: Any) -> Any:
    """An image as Glance gives it to its policy."""
    properties = {'os_distro': 'alma'} | changes.pop('properties', {})
    values: dict[str, Any] = {
        'image_id': IMAGE,
        'status': 'active',
        'created_at': CREATED,
        'updated_at': CREATED,
        'owner': PROJECT,
        'size': len(DATA),
        'os_hash_algo': 'sha512',
        'os_hash_value': catalogue_rows.sha512(DATA),
    } | changes
    return glance_policy.ImageTarget(
        domain.Image(extra_properties=properties, **values)
    )


class Glance:
    """The policy of a Glance whose configuration names ours."""

    def __init__(self, path: pathlib.Path) -> None:
        self.conf = cfg.ConfigOpts()
        self.conf(args=[], default_config_files=[], default_config_dirs=[])
        opts.set_defaults(self.conf)
        inside.register(self.conf)
        self.conf.set_override('config_file', str(path), group='hepix_vm')

    def gives(
        self,
        target: Any,
        rule: str = 'hepix_approved:project',
        **creds: Any,
    ) -> Any:
        """What a policy with this rule says to a member of a project."""
        rules = {'download_image': rule, 'context_is_admin': 'role:admin'}
        enforcer = oslo_policy.Enforcer(
            self.conf,
            rules=oslo_policy.Rules.from_dict(rules),
            use_conf=False,
        )
        asking = {'project_id': PROJECT, 'roles': ['member']} | creds
        return enforcer.enforce(
            'download_image',
            target,
            context.RequestContext(**asking, overwrite=False),
        )


@pytest.fixture
def rows(tmp_path: pathlib.Path) -> Iterator[catalogue_rows.Rows]:
    one = catalogue_rows.in_file(tmp_path / 'catalogue.sqlite')
    one.subscription('trusted')
    one.endorse(DATA)
    one.record(IMAGE, DATA, created_at=CREATED_AT, boot='')
    yield one
    one.close()


@pytest.fixture
def path(tmp_path: pathlib.Path, rows: catalogue_rows.Rows) -> pathlib.Path:
    found = tmp_path / 'hepix_vm.conf'
    catalogue_rows.write_configuration(
        found, rows, publishing_projects=PUBLISHER
    )
    return found


@pytest.fixture
def glance(path: pathlib.Path) -> Iterator[Glance]:
    one = Glance(path)
    readers = inside.settings(one.conf).reader
    yield one
    reader.shared(readers).close()


def test_an_approved_image_is_given_out(
    glance: Glance, caplog: pytest.LogCaptureFixture
) -> None:
    assert glance.gives(image()) is True
    assert 'verdict=refused' not in caplog.text


CHANGED = {
    'another id': {'image_id': 'bbbbbbbb-0000-4000-8000-000000000002'},
    'no id': {'image_id': None},
    'another size': {'size': len(DATA) + 1},
    'no size': {'size': None},
    'another hash': {'os_hash_value': catalogue_rows.sha512(b'other')},
    'no hash': {'os_hash_value': None},
    'hash of another kind': {'os_hash_algo': 'sha256'},
    'no kind of hash': {'os_hash_algo': None},
    'created later': {'created_at': CREATED + datetime.timedelta(seconds=1)},
    'larger disk': {'min_disk': 1},
    **{
        name: {'properties': {name: 'something'}}
        for name in boot.NAMES
        if name != 'min_disk'
    },
    **{
        f'img_{name}': {'properties': {f'img_{name}': '[{"a": 1}]'}}
        for name in sorted(boot.TWICE)
    },
}


@pytest.mark.parametrize('change', CHANGED)
def test_another_image_than_the_recorded_one_is_not(
    glance: Glance, change: str, caplog: pytest.LogCaptureFixture
) -> None:
    assert glance.gives(image(**CHANGED[change])) is False
    said = [r.getMessage() for r in caplog.records if r.name.startswith('hep')]
    assert len(said) == 1
    assert said[0].startswith('verdict=refused image=')
    assert f'project={PROJECT}: ' in said[0]


def test_what_was_recorded_may_stay(
    glance: Glance, rows: catalogue_rows.Rows
) -> None:
    with_kernel = {'kernel_id': 'a kernel', 'min_disk': '2'}
    rows.change(
        schema.glance_record,
        schema.glance_record.c.image_id == IMAGE,
        boot=boot.stored(boot.seen(with_kernel)),
    )
    assert glance.gives(image()) is False
    assert glance.gives(
        image(min_disk=2, properties={'kernel_id': 'a kernel'})
    )


Change = Callable[[catalogue_rows.Rows], None]


def _record(**values: Any) -> Change:
    return lambda rows: rows.change(
        schema.glance_record,
        schema.glance_record.c.image_id == IMAGE,
        **values,
    )


def _list(**values: Any) -> Change:
    return lambda rows: rows.subscription('trusted', **values)


UNAPPROVED: dict[str, Change] = {
    'blocked': lambda rows: rows.block(catalogue_rows.sha512(DATA)),
    'withdrawn': lambda rows: rows.withdraw(DATA),
    'record-withdrawn': _record(state='withdrawn'),
    'record-pending': _record(state='verified'),
    'list-stale': _list(verified_at=1),
    'list-expired': _list(expires=1),
    'distrusted': _list(standing='distrusted'),
    'wrong-project': _list(projects=['another']),
}


@pytest.mark.parametrize('code', UNAPPROVED)
def test_an_image_that_is_not_approved_is_not(
    glance: Glance,
    rows: catalogue_rows.Rows,
    code: str,
    caplog: pytest.LogCaptureFixture,
) -> None:
    assert glance.gives(image()) is True
    UNAPPROVED[code](rows)
    # What was withdrawn is known a moment later.
    reader.shared(inside.settings(glance.conf).reader).close()
    assert glance.gives(image()) is False
    assert f'verdict=refused image={IMAGE}' in caplog.text
    assert f'code={code} project={PROJECT}' in caplog.text


def test_for_which_project_is_the_policys_own_word(
    glance: Glance, rows: catalogue_rows.Rows
) -> None:
    rows.subscription('trusted', projects=[PROJECT])
    another = {'project_id': 'another'}
    assert glance.gives(image(), 'hepix_approved:project') is True
    assert glance.gives(image(), 'hepix_approved:project', **another) is False
    assert (
        glance.gives(image(), 'hepix_approved:project', project_id=None)
        is False
    )
    assert glance.gives(image(), 'hepix_approved:any', **another) is True
    # Who publishes does so for others.
    assert glance.gives(
        image(), 'hepix_approved:project', project_id=PUBLISHER
    )


@pytest.mark.parametrize('code', UNAPPROVED)
def test_what_was_imported_is_enough_where_the_policy_says_so(
    glance: Glance,
    rows: catalogue_rows.Rows,
    code: str,
    caplog: pytest.LogCaptureFixture,
) -> None:
    rule = 'hepix_approved:imported'
    UNAPPROVED[code](rows)
    pending = code == 'record-pending'
    assert glance.gives(image(), rule) is not pending
    if code != 'wrong-project':
        verdict = 'refused' if pending else 'imported'
        assert f'verdict={verdict} image={IMAGE} ' in caplog.text
    for change in CHANGED.values():
        assert glance.gives(image(**change), rule) is False


@pytest.mark.parametrize(
    ('roles', 'given'),
    [
        (['reader', 'member'], False),
        (['reader', 'member', 'admin', 'service'], False),
        (['reader', 'member', *['admin', 'service'] * 3], False),
        (['admin', 'service'], False),
        (['member', 'admin'], True),
        (['admin', 'member', 'admin', 'service'], True),
    ],
)
def test_the_roles_of_a_service_make_no_administrator_of_its_user(
    glance: Glance,
    rows: catalogue_rows.Rows,
    roles: list[str],
    given: bool,
) -> None:
    asking = {'roles': roles, 'service_roles': ['admin', 'service']}
    UNAPPROVED['wrong-project'](rows)
    for rule in ('hepix_approved:imported', 'hepix_approved:any'):
        assert glance.gives(image(), rule, **asking) is given


@pytest.mark.parametrize(
    'rule',
    [
        'hepix_approved',
        'hepix_approved:',
        'hepix_approved:true',
        'hepix_approved:anybody',
        'hepix_approved:%(id)s',
        'hepix_approvd:project',
    ],
)
def test_a_rule_that_nobody_understands_is_never_true(
    glance: Glance, rule: str
) -> None:
    assert glance.gives(image(), rule) is False


def test_exemptions_are_the_policys_own_words(glance: Glance) -> None:
    other = image(size=7)
    rule = 'hepix_approved:project or project_id:operators'
    assert glance.gives(other, rule) is False
    assert glance.gives(other, rule, project_id='operators') is True
    assert glance.gives(other, 'not hepix_approved:project') is True


@pytest.mark.parametrize(
    'target',
    [
        {},
        {'project_id': PROJECT, 'owner': PROJECT, 'visibility': 'private'},
        {'image_id': IMAGE, 'extra_properties': None},
    ],
    ids=['nothing', 'the wish for an image', 'half an image'],
)
def test_what_is_no_image_is_not_given_out(
    glance: Glance,
    target: Mapping[str, Any],
    caplog: pytest.LogCaptureFixture,
) -> None:
    assert glance.gives(target) is False
    assert 'verdict=refused code=internal-error' in caplog.text


def test_no_property_stands_in_for_what_glance_knows(glance: Glance) -> None:
    forged = {
        'size': str(len(DATA)),
        'os_hash_value': catalogue_rows.sha512(DATA),
        'os_hash_algo': 'sha512',
        'min_disk': '0',
        'id': IMAGE,
        'image_id': IMAGE,
        'extra_properties': '{}',
    }
    assert glance.gives(image(size=None, properties=forged)) is False
    assert glance.gives(image(os_hash_value=None, properties=forged)) is False
    assert glance.gives(image(image_id='b', properties=forged)) is False
    assert glance.gives(image(min_disk=9, properties=forged)) is False


def test_without_configuration_nothing_is_given_out(
    glance: Glance, path: pathlib.Path, caplog: pytest.LogCaptureFixture
) -> None:
    content = path.read_text()
    path.unlink()
    assert glance.gives(image()) is False
    assert 'verdict=refused code=misconfigured' in caplog.text
    path.write_text(content)
    assert glance.gives(image()) is True


@pytest.mark.parametrize('whom', sorted(download.For))
def test_without_a_store_nothing_is_given_out(
    glance: Glance,
    path: pathlib.Path,
    whom: download.For,
    caplog: pytest.LogCaptureFixture,
) -> None:
    path.write_text(
        '[catalogue]\nconnection = sqlite:////nowhere/at/all\n'
        'store_timeout = 0.5\n'
    )
    assert glance.gives(image(), f'hepix_approved:{whom}') is False
    assert 'code=store-unavailable' in caplog.text


def test_what_is_in_memory_holds_for_a_time_only(
    glance: Glance, tmp_path: pathlib.Path
) -> None:
    ahead = 0
    asked = reader.shared(inside.settings(glance.conf).reader)
    asked._clock = lambda: time.time() + ahead
    assert glance.gives(image(), 'hepix_approved:imported') is True
    store = tmp_path / 'catalogue.sqlite'
    store.rename(tmp_path / 'away')
    assert glance.gives(image(), 'hepix_approved:imported') is True
    until = time.monotonic() + 60
    while glance.gives(image(), 'hepix_approved:imported'):
        assert time.monotonic() < until
        # More than it holds; a look may have begun before this.
        ahead += 1000
        time.sleep(0.1)
    (tmp_path / 'away').rename(store)


@pytest.mark.parametrize('fails', ['allowed', 'import'])
def test_a_check_that_fails_is_not_true(
    glance: Glance,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    fails: str,
) -> None:
    if fails == 'import':
        monkeypatch.setitem(sys.modules, 'hepix_vm.glance.download', None)
        policy._decisions.cache_clear()
    else:
        monkeypatch.setattr(download, 'allowed', lambda *given: 1 / 0)
    assert glance.gives(image()) is False
    assert 'verdict=refused code=internal-error' in caplog.text


def test_only_true_is_true(
    glance: Glance, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        download,
        'allowed',
        lambda *given: model.Decision(
            model.Verdict.REFUSED, model.Reason.BLOCKED, '', ''
        ),
    )
    assert glance.gives(image()) is False


def test_many_ask_at_once(glance: Glance) -> None:
    def asks(number: int) -> bool:
        return bool(glance.gives(image(size=len(DATA) + number % 2)))

    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        found = list(pool.map(asks, range(64)))
    assert found == [number % 2 == 0 for number in range(64)]


def test_a_child_process_decides_by_itself(
    glance: Glance, rows: catalogue_rows.Rows
) -> None:
    assert glance.gives(image()) is True
    rows.store.close()
    child = os.fork()
    if child == 0:
        code = 1
        try:
            refused = glance.gives(image(size=1)) is False
            code = 0 if refused and glance.gives(image()) is True else 2
        finally:
            os._exit(code)
    _, status = os.waitpid(child, 0)
    assert os.waitstatus_to_exitcode(status) == 0


def test_the_log_has_one_line_a_refusal(
    glance: Glance, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    glance.gives(image())
    glance.gives(image(size=1))
    lines = [r for r in caplog.records if r.name == 'hepix_vm.glance.download']
    assert [line.levelname for line in lines] == ['WARNING']
    assert 'code=image-changed' in lines[0].getMessage()
    assert model.SENTENCES[model.Reason.IMAGE_CHANGED] in lines[0].getMessage()
