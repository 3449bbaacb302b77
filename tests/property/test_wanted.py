# SPDX-License-Identifier: Apache-2.0
"""Whatever lists and operators write: what Glance would get is sound."""

from __future__ import annotations

import json
import re
import string

from hypothesis import given
from hypothesis import HealthCheck
from hypothesis import settings
from hypothesis import strategies as st

from hepix_vm import errors
from hepix_vm.glance import audience
from hepix_vm.glance import properties
from hepix_vm.glance import rules
from hepix_vm.glance import template
from hepix_vm.glance import wanted
from tests.unit.glance import images

#: A busy machine draws slowly; what is drawn stays the same.
BUSY = settings(
    deadline=None,
    max_examples=100,
    suppress_health_check=[HealthCheck.too_slow],
)

texts = st.text(max_size=40) | st.sampled_from(
    ['Worker', 'WORKER', 'Worker [0b5c2d1e]', '', '\x1b[2J', 'x' * 300]
)
said = st.none() | texts
entries = st.fixed_dictionaries(
    {},
    optional={
        'description': said,
        'arch': said,
        'os': said,
        'os_name': said,
        'os_version': said,
        'hypervisors': st.lists(
            st.sampled_from(['kvm', 'xen', 'qemu', 'vbox', 'm5']), max_size=3
        ),
        'format': said,
        'ram_minimum': st.none() | st.integers(0, 2**44),
        'mpuri': said,
        'comments': said,
        'extra': st.dictionaries(
            st.sampled_from(['ad:appid', 'eu.egi.cloud.x', 'kernel_id'])
            | st.text(max_size=12).map(lambda t: 'eu.egi.cloud.' + t),
            texts | st.integers(),
            max_size=6,
        ),
    },
)
listed = st.lists(
    st.builds(
        images.image,
        entries,
        row=st.integers(1, 99),
        subscription=st.sampled_from(['main', 'second']),
        identifier=st.integers(0, 5).map(lambda n: f'{n:08x}-0'),
        first_seen=st.integers(0, 9),
        version=texts,
        title=texts,
        vo=said,
    ),
    max_size=8,
)
forms = st.lists(
    st.sampled_from([f'{{{name}}}' for name in template.VARIABLES])
    | st.text(string.ascii_letters + ' {}', max_size=5),
    max_size=5,
).map(''.join)
projects = st.none() | st.frozensets(
    st.sampled_from(['p1', 'p2', 'p3']), max_size=3
)


def parsed(text: str) -> template.Template:
    try:
        return template.parse(text)
    except errors.Misconfigured as exc:
        assert 'expected' in str(exc)
        return template.parse('{title}')


@given(
    listed,
    forms,
    st.lists(forms, max_size=3),
    st.sampled_from(rules.VISIBILITIES),
    projects,
    projects,
)
@BUSY
def test_glance_takes_what_is_wanted(
    found, name, tags, visibility, mains, seconds
):
    site = wanted.Rules(
        parsed(name),
        tuple(parsed(tag) for tag in tags),
        visibility,
        rules=(rules.parse('* : note = {title} {vo}'),),
    )
    known = audience.Audience({'main': mains, 'second': seconds}, {})
    result = wanted.wanted(found, site, known)
    assert [one.image for one in result] == found
    owners: dict[str, tuple[str, str]] = {}
    for one in result:
        if isinstance(one, wanted.Unsuited):
            assert one.reason
            continue
        sound(one)
        may = known.projects[one.image.subscription]
        assert one.members <= (may or frozenset())
        assert visibility != 'auto' or (one.visibility == 'public') is (
            may is None
        )
        key = (one.image.subscription, one.image.identifier)
        assert owners.setdefault(template.folded(one.name), key) == key
    assert wanted.wanted(found, site, known) == result


def sound(one: wanted.Wanted) -> None:
    """Within the limits of Glance's schemas and columns."""
    assert one.visibility in ('public', 'private', 'shared', 'community')
    assert 1 <= len(one.name) <= 255
    assert all(1 <= len(tag) <= 255 for tag in one.tags)
    assert 0 <= one.min_disk < 2**31
    assert 0 <= one.min_ram < 2**31
    for text in (one.name, *one.tags, *one.properties.values()):
        assert not re.search('[\x00-\x1f\x7f-\x9f\ud800-\udfff]', text)
        assert max(text) <= '\uffff'
    for name, value in one.properties.items():
        assert not properties.refused(name)
        assert 1 <= len(value) <= properties.ATTRIBUTES_LENGTH
        assert len(value) <= 255 or name == 'APPLIANCE_ATTRIBUTES'
    json.loads(one.properties['APPLIANCE_ATTRIBUTES'])


@given(
    st.lists(
        st.sampled_from(
            ['os', ' = ', ' : ', ', ', '"', '{title}', 'min_disk', '*', 'x']
        )
        | st.text(max_size=5),
        max_size=10,
    ).map(''.join)
)
@BUSY
def test_a_rule_is_read_or_refused_in_words(text):
    try:
        rule = rules.parse(text)
    except errors.Misconfigured as exc:
        assert str(exc)
        return
    assert rule.attributes or rule.properties
    assert not any(properties.refused(name) for name in rule.properties)


@given(listed)
@BUSY
def test_later_images_take_no_name_from_earlier_ones(found):
    site = images.site()
    known = images.known()
    since = min((one.first_seen for one in found), default=0)
    earlier = images.image(
        title='Worker', first_seen=since - 1, identifier='eeeeeeee-1'
    )
    result = wanted.wanted([*found, earlier], site, known)
    last = result[-1]
    assert isinstance(last, wanted.Wanted)
    assert last.name == 'Worker'
