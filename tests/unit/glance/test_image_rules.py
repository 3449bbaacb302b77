# SPDX-License-Identifier: Apache-2.0
"""Rules and templates of a site: what is read, and what is refused."""

from __future__ import annotations

import pytest

from hepix_vm import errors
from hepix_vm.glance import rules
from hepix_vm.glance import template


def test_a_rule_sets_properties_and_attributes():
    rule = rules.parse(
        'title = "a: b" : hw_vif_model = virtio, owner = p1, '
        'note = "one, {vo}: two",trait:HW_CPU_X86_AVX2=required, gone ='
    )
    assert rule.attributes == {'owner': 'p1'}
    assert {name: value.text for name, value in rule.properties.items()} == {
        'hw_vif_model': 'virtio',
        'note': 'one, {vo}: two',
        'trait:HW_CPU_X86_AVX2': 'required',
        'gone': '',
    }
    assert rule.holds({'title': ('a: b',)})
    assert not rule.holds({'title': ('a',)})
    assert not rule.holds({})


def test_a_star_is_every_image():
    assert rules.parse('* : a = b').holds({})


@pytest.mark.parametrize(
    ('text', 'said'),
    [
        ('os = linux', 'found no colon'),
        ('title = "a : b', 'found no colon'),
        ('os = linux :', 'found nothing'),
        ('os = linux : , ,', 'found nothing'),
        ('os = linux : hw_disk_bus', 'expected KEY = VALUE'),
        ('os = linux : = virtio', 'expected KEY = VALUE'),
        ('os = linux : a = "b', 'No closing quotation'),
        ('os = linux : a = b, a = c', 'expected a once'),
        (': a = b', 'expected at least one term'),
        ('colour = red : a = b', 'expected one of vo, os'),
        ('* : kernel_id = x', 'changes what boots'),
        ('* : os_command_line = x', 'changes what boots'),
        ('* : os_glance_x = y', 'is reserved'),
        ('* : name = x', 'is an attribute'),
        ('* : a/b = x', 'is no name'),
        ('* : a = {secret}', 'expected one of {title}'),
        ('* : a = {title.__class__}', 'a brace that is alone'),
        ('* : hw_disk_bus = fast', 'expected one of fdc, ide'),
        ('* : os_type = {os}', 'expected one of linux, windows'),
        ('* : hypervisor_type = kvm2', 'expected one of bhyve'),
        ('* : hw_qemu_guest_agent = perhaps', 'expected true or false'),
        ('* : visibility = secret', 'expected one of auto, public'),
        ('* : protected = perhaps', 'expected true or false'),
        ('* : owner = two words', 'expected the id of a project'),
        ('* : min_disk = 1.5', 'expected a whole number'),
        ('* : min_disk = \u0661', 'expected a whole number'),
        ('* : min_ram = 2147483648', 'expected a whole number'),
        ('* : min_ram = -1', 'expected a whole number'),
    ],
)
def test_a_rule_that_cannot_be_used_is_refused_in_words(text, said):
    with pytest.raises(errors.Misconfigured) as caught:
        rules.parse(text)
    assert said in str(caught.value)


def test_templates_know_their_variables_and_braces():
    found = template.parse('{{{title}}} by {vo}{{}}')
    assert found.filled({'title': '{vo}', 'vo': 'x'}) == '{{vo}} by x{}'
    assert found.variables == {'title', 'vo'}
    assert found.whole({'title': 'a', 'vo': 'b'})
    assert not found.whole({'title': 'a', 'vo': ''})
    assert template.parse('').filled({}) == ''


@pytest.mark.parametrize(
    'text', ['{', '}', '{title', 'title}', '{Title}', '{}', '{title!r}']
)
def test_other_templates_are_refused(text):
    with pytest.raises(errors.Misconfigured, match='expected'):
        template.parse(text)


@pytest.mark.parametrize(
    ('text', 'shown'),
    [
        ('  a \t b ', 'a b'),
        ('a\u2028b', 'a b'),
        ('e\u0301', '\u00e9'),
        ('a\u200bb\u202ec', 'abc'),
        ('\U0001f600', '\ufffd'),
        ('\ue000\ud83d', ''),
    ],
    ids=ascii,
)
def test_text_is_cleaned(text, shown):
    assert template.clean(text) == shown
