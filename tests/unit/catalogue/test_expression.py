# SPDX-License-Identifier: Apache-2.0
"""Terms by which a site approves images: what holds, and of what."""

from __future__ import annotations

import pytest

from hepix_vm.catalogue import expression
from hepix_vm import errors

FACTS = {
    'vo': ('atlas',),
    'os': ('Linux',),
    'os_name': ('Scientific Linux',),
    'os_version': ('7.9',),
    'arch': ('x86_64',),
    'hypervisor': ('kvm', 'Xen'),
    'title': ('Worker [node] | 100%',),
    'version': ('3.3.0-10',),
}


@pytest.mark.parametrize(
    'line',
    [
        'vo = atlas',
        'vo=ATLAS',
        "  vo  =  'atlas'  ",
        'vo = cms|atlas|lhcb',
        'vo != cms|lhcb',
        'os_name = "scientific*"',
        'os_name = Scientific\\ Linux',
        'os_name = "Scientific "Linux',
        'os_version = [67].?',
        'os_version != 8*',
        'hypervisor = kvm',
        'hypervisor = xen',
        'hypervisor != vmware',
        'title = "worker [[]node] *"',
        'version > 3.3.0-9',
        'version >= 3.3.0-10',
        'version <= 3.3.0-10',
        'version < 3.10',
        'version = 3.3*',
        'version != 3.4*',
        'vo = atlas arch = x86_64 version >= 3',
        'vo = atlas and arch = x86_64 and version >= 3',
    ],
)
def test_what_holds(line):
    assert expression.parse(line).holds(FACTS)


@pytest.mark.parametrize(
    'line',
    [
        'vo = cms',
        'vo = atlas2',
        'vo = atla',
        'vo != atlas',
        'hypervisor != kvm',
        'hypervisor != *',
        'version > 3.3.0-10',
        'version < 3.3.0-10',
        'version >= 3.4',
        'version <= 3.3.0-9',
        'vo = atlas arch = i386',
        'vo = cms and arch = x86_64',
        # Nothing is said of the format.
        'format = *',
        'format != qcow2',
        'vo = atlas format != qcow2',
    ],
)
def test_what_does_not_hold(line):
    assert not expression.parse(line).holds(FACTS)


def test_order_of_what_is_no_version_holds_neither_way():
    facts = {'version': ('newest',)}
    for op in ('<', '<=', '>', '>='):
        assert not expression.parse(f'version {op} 1').holds(facts)


def test_one_line_that_holds_is_enough_and_none_is_not():
    lines = [expression.parse('vo = cms'), expression.parse('vo = atlas')]
    assert expression.any_holds(lines, FACTS)
    assert not expression.any_holds(lines[:1], FACTS)
    assert not expression.any_holds([], FACTS)


@pytest.mark.parametrize(
    ('line', 'said'),
    [
        ('', 'found nothing'),
        ('   ', 'expected KEY OP VALUE'),
        ('vo', 'expected KEY OP VALUE, such as vo = atlas'),
        ('vo =', 'expected KEY OP VALUE'),
        ('= atlas', 'expected KEY OP VALUE'),
        ('vo = "atlas', 'expected KEY OP VALUE'),
        ('vo = atlas\\', 'expected KEY OP VALUE'),
        ('vo = atlas or vo = cms', "found 'or vo = cms'"),
        ('and vo = atlas', 'expected KEY OP VALUE'),
        ('VO = atlas', "found 'VO'"),
        ('__class__ = x', "found '__class__'"),
        ('vo => atlas', "found '=>'"),
        ('vo = a|', "found 'a|'"),
        ("vo = ''", "found ''"),
        ('title < b', 'only a version has an order'),
        ('version < *', 'expected a version'),
        ('version < ' + '1' * 300, 'expected a version'),
        ('vo = a, arch = b', 'found a comma'),
        ('x' * 5000, 'expected at most 4096 characters, found 5000'),
    ],
)
def test_what_cannot_be_read_is_said_in_one_short_sentence(line, said):
    with pytest.raises(errors.Misconfigured) as caught:
        expression.parse(line)
    assert said in str(caught.value)
    assert len(str(caught.value)) < 300


def test_value_is_never_a_pattern_of_another_kind():
    line = expression.parse('title = "(a+)+$|.*"')
    assert not line.holds({'title': ('a' * 40,)})
    assert line.holds({'title': ('(a+)+$',)})
    assert line.holds({'title': ('.hidden',)})
