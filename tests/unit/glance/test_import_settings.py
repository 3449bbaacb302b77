# SPDX-License-Identifier: Apache-2.0
"""What code inside Glance and Nova reads of hepix_vm.conf."""

import pathlib

from oslo_config import cfg
import pytest

from hepix_vm.conf import inside
from hepix_vm import errors

GOOD = """
[catalogue]
connection = mysql+pymysql://reader:secret@db/hepix_vm
reader_max_age = 60
store_timeout = 0.5
[glance_import]
allow_conversion = true
unchanging_plugins = of_the_site, another
[database]
connection = of another program
"""


def host(config_file: pathlib.Path, tmp_path: pathlib.Path) -> cfg.ConfigOpts:
    """The configuration of a service, with a [database] of its own."""
    conf = cfg.ConfigOpts()
    conf.register_opts([cfg.StrOpt('connection')], group='database')
    path = tmp_path / 'host.conf'
    path.write_text(
        '[database]\nconnection = of the host\n'
        f'[hepix_vm]\nconfig_file = {config_file}\n'
    )
    conf(args=[], default_config_files=[str(path)], default_config_dirs=[])
    return conf


def test_the_file_becomes_settings(tmp_path: pathlib.Path) -> None:
    path = tmp_path / 'hepix_vm.conf'
    path.write_text(GOOD)
    conf = host(path, tmp_path)
    settings = inside.settings(conf)
    assert settings.reader.connection.endswith('secret@db/hepix_vm')
    assert settings.reader.reader_max_age == 60
    assert settings.reader.store_timeout == 0.5
    assert settings.allow_conversion is True
    assert settings.unchanging_plugins == {'of_the_site', 'another'}


def test_the_hosts_own_options_stay_as_they_were(
    tmp_path: pathlib.Path,
) -> None:
    path = tmp_path / 'hepix_vm.conf'
    path.write_text(GOOD)
    conf = host(path, tmp_path)
    inside.settings(conf)
    assert conf.database.connection == 'of the host'
    assert 'catalogue' not in conf


def test_it_may_be_read_again_and_again(tmp_path: pathlib.Path) -> None:
    path = tmp_path / 'hepix_vm.conf'
    path.write_text(GOOD)
    conf = host(path, tmp_path)
    assert inside.settings(conf) == inside.settings(conf)


def test_conversion_is_off_unless_the_site_says_so(
    tmp_path: pathlib.Path,
) -> None:
    path = tmp_path / 'hepix_vm.conf'
    path.write_text('')
    settings = inside.settings(host(path, tmp_path))
    assert settings.allow_conversion is False
    assert settings.unchanging_plugins == frozenset()


@pytest.mark.parametrize(
    ('content', 'expected'),
    [
        (None, 'No such file'),
        ('connection = x', 'hepix_vm.conf'),
        ('[catalogue]\nreader_max_age = soon\n', 'reader_max_age'),
        ('[catalogue]\nreader_max_age = 1\n', 'reader_max_age'),
        ('[glance_import]\nallow_conversion = perhaps\n', 'allow_conversion'),
        ('[catalogue\n', 'hepix_vm.conf'),
    ],
)
def test_a_file_that_cannot_be_used_is_one_error(
    tmp_path: pathlib.Path, content: str | None, expected: str
) -> None:
    path = tmp_path / 'hepix_vm.conf'
    if content is not None:
        path.write_text(content)
    with pytest.raises(errors.Misconfigured, match=expected):
        inside.settings(host(path, tmp_path))


def test_a_directory_in_place_of_the_file_is_an_error(
    tmp_path: pathlib.Path,
) -> None:
    with pytest.raises(errors.Misconfigured, match='configuration file'):
        inside.settings(host(tmp_path, tmp_path))


def test_the_default_is_where_packages_put_it() -> None:
    conf = cfg.ConfigOpts()
    inside.register(conf)
    conf(args=[], default_config_files=[], default_config_dirs=[])
    assert conf.hepix_vm.config_file == '/etc/hepix_vm/hepix_vm.conf'
