# SPDX-License-Identifier: Apache-2.0
"""The options of features and orders to end, and the values made of them."""

from __future__ import annotations

from pathlib import Path

from oslo_config import cfg
import pytest

from hepix_vm.cli import configured
from hepix_vm import conf as conf_
from hepix_vm.conf import context as conf_context
from hepix_vm.conf import withdraw as conf_withdraw
from hepix_vm.context import features
from hepix_vm.context import site_state
from hepix_vm import errors
from hepix_vm.nova import capacity

STORE = '[catalogue]\nconnection = sqlite:////var/lib/hepix_vm/catalogue\n'


def loaded(folder: Path, text: str) -> cfg.ConfigOpts:
    file = folder / 'hepix_vm.conf'
    file.write_text(STORE + text)
    file.chmod(0o640)
    return conf_.load((str(file),))


def test_the_defaults_are_those_of_the_code(tmp_path):
    conf = loaded(tmp_path, '')
    assert conf_context.features_settings(conf) == features.Settings()
    assert conf_context.ratings_file(conf) is None
    assert conf_context.site_state_settings(conf) == site_state.Settings(
        connection='sqlite:////var/lib/hepix_vm/catalogue'
    )
    assert conf_withdraw.settings(conf).drain_grace is None
    site = configured.site(conf)
    assert site.hosts == capacity.Settings(interval=3600)
    assert site.grace_secs == features.Settings().grace_secs


def test_every_option_reaches_its_value(tmp_path):
    conf = loaded(
        tmp_path,
        'store_timeout = 7\n'
        '[context]\n'
        'ratings_file = /srv/ratings.yaml\n'
        'wall_limit_spec = site:seconds\n'
        'grace_secs = 5\n'
        'names_2012 = true\n'
        'hosts_interval = 0\n'
        'hosts_max_age = 61\n'
        'refresh_interval = 0.5\n'
        '[withdraw]\n'
        'drain_grace = 0\n',
    )
    assert conf_context.features_settings(conf) == features.Settings(
        grace_secs=5,
        wall_limit_spec='site:seconds',
        hosts_max_age=61,
        names_2012=True,
    )
    assert conf_context.site_state_settings(conf) == site_state.Settings(
        connection='sqlite:////var/lib/hepix_vm/catalogue',
        ratings_file=Path('/srv/ratings.yaml'),
        refresh_interval=0.5,
        store_timeout=7,
    )
    site = configured.site(conf)
    assert site.hosts == capacity.Settings(interval=0)
    assert (site.grace_secs, site.withdrawal.drain_grace) == (5, 0)


@pytest.mark.parametrize(
    'line',
    ['grace_secs = -1', 'hosts_interval = x', 'hosts_max_age = 1'],
)
def test_values_that_cannot_be_are_refused(tmp_path, line):
    with pytest.raises(errors.Misconfigured, match=line.split()[0]):
        loaded(tmp_path, f'[context]\n{line}\n')
