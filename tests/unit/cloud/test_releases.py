# SPDX-License-Identifier: Apache-2.0
"""The releases of which a cloud can be started."""

import re

import pytest

from tests.cloud import errors
from tests.cloud import releases


@pytest.mark.parametrize('name', sorted(releases.RELEASES))
def test_a_release_pins_every_service_exactly(name: str) -> None:
    lines = releases.named(name).constraints.read_text().splitlines()
    pins = [line for line in lines if not line.startswith('#')]
    assert all(re.fullmatch(r'[a-z0-9-]+==[0-9a-z.]+', pin) for pin in pins)
    pinned = [pin.partition('==')[0] for pin in pins]
    assert pinned == sorted(set(pinned), key=lambda one: f'{one}==')
    assert set(releases.PACKAGES) <= set(pinned)


def test_a_release_that_there_is_not_is_one_clear_error() -> None:
    with pytest.raises(errors.CloudError) as caught:
        releases.named('1999.1')
    assert str(caught.value) == (
        "no cloud of OpenStack '1999.1' can be started; choose (for tests by "
        'HEPIX_VM_RELEASE) one of 2026.2, 2026.1, 2025.1'
    )
