# SPDX-License-Identifier: Apache-2.0
"""Whatever users write, a change of what boots is noticed; nothing raises."""

import json

from hypothesis import given
from hypothesis import strategies as st

from hepix_vm.catalogue import boot

PROPERTIES = [
    *(name for name in boot.NAMES if name != 'min_disk'),
    *(f'img_{name}' for name in sorted(boot.TWICE)),
]
TEXTS = st.text(max_size=40) | st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.text(max_size=8), inner, max_size=3)
    ),
    max_leaves=8,
).map(json.dumps)
IMAGES = st.tuples(
    st.integers(0, 2**31 - 1),
    st.dictionaries(
        st.sampled_from(PROPERTIES) | st.text(max_size=12), TEXTS, max_size=6
    ),
)


@given(IMAGES)
def test_an_image_is_what_was_recorded_of_it(image):
    seen = boot.of_glance(*image)
    assert boot.differs(seen, boot.stored(seen)) == ''
    assert dict(seen).keys() == set(boot.NAMES)


@given(IMAGES, IMAGES)
def test_two_images_are_the_same_only_when_they_boot_the_same(one, other):
    first, second = boot.of_glance(*one), boot.of_glance(*other)
    found = boot.differs(second, boot.stored(first))
    assert (found == '') is (first == second)
    if found:
        assert dict(first)[found] != dict(second)[found]


@given(IMAGES, st.sampled_from(PROPERTIES), st.text(min_size=1, max_size=9))
def test_one_more_property_is_noticed(image, name, text):
    min_disk, properties = image
    record = boot.stored(boot.of_glance(min_disk, properties))
    known = dict(boot.of_glance(min_disk, properties))
    after = boot.of_glance(min_disk, {**properties, name: f'new {text}'})
    changed = name.removeprefix('img_')
    if dict(after)[changed] != known[changed]:
        assert boot.differs(after, record) in boot.NAMES
