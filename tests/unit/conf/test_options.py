# SPDX-License-Identifier: Apache-2.0
"""Options: documented, in the sample, and read from one file."""

from __future__ import annotations

import contextlib
import importlib
from importlib import metadata
import os
from pathlib import Path
import re

from oslo_config import cfg
from oslo_config import generator
import pytest

from hepix_vm import conf
from hepix_vm.conf import catalogue
from hepix_vm.conf import fetch
from hepix_vm.conf import openstack
from hepix_vm.conf import quarantine
from hepix_vm import errors

ROOT = Path(__file__).parents[3]
SAMPLE = ROOT / 'etc/hepix_vm/hepix_vm.conf.sample'
GENERATOR = ROOT / 'etc/hepix_vm/config-generator.conf'

#: The options of other projects are described by these.
FOREIGN = {'openstack': openstack, 'quarantine': quarantine}


@pytest.fixture
def file(tmp_path):
    path = tmp_path / 'hepix_vm.conf'
    path.touch(mode=0o640)
    return path


def own_options() -> list[tuple[str, cfg.Opt]]:
    found = []
    for name in (*conf.MODULES, 'subscription'):
        module = importlib.import_module(f'hepix_vm.conf.{name}')
        found += [(name, opt) for opt in module.OPTS]
    return found


def test_every_option_says_what_it_is_for():
    for module, opt in own_options():
        assert opt.help, opt.name
        assert len(opt.help.split()) >= 5, opt.name
        assert opt.help.strip()[-1] in '.)', f'{module} {opt.name}'


def test_every_group_is_described():
    for group, _ in conf.list_opts():
        assert isinstance(group, cfg.OptGroup)
        assert group.title
        assert group.help


def test_every_module_of_options_is_listed():
    modules = {
        path.stem
        for path in (ROOT / 'hepix_vm/conf').glob('*.py')
        if 'OPTS = [' in path.read_text()
    }
    # What stands in the files of Glance and Nova is listed apart.
    assert modules == {
        *conf.MODULES,
        'subscription',
        'access',
        'approval',
        'inside',
    }


def test_passwords_are_not_shown():
    secret = {
        opt.name for _, opts in conf.list_opts() for opt in opts if opt.secret
    }
    assert {'connection', 'password'} <= secret


def test_entry_point_for_the_generator_is_installed():
    (point,) = [
        point
        for point in metadata.entry_points(group='oslo.config.opts')
        if point.name == 'hepix_vm'
    ]
    assert point.load() is conf.list_opts


def generated(tmp_path: Path) -> str:
    output = tmp_path / 'sample'
    with contextlib.chdir(ROOT):
        generator.main(
            [
                f'--config-file={GENERATOR}',
                f'--output-file={output}',
            ]
        )
    return output.read_text()


def by_group(text: str) -> dict[str, str]:
    parts = re.split(r'^\[(.*)\]$', text, flags=re.MULTILINE)
    return dict(zip(parts[1::2], parts[2::2], strict=True))


def test_sample_file_is_what_the_generator_makes(tmp_path):
    made, kept = by_group(generated(tmp_path)), by_group(SAMPLE.read_text())
    assert list(made) == list(kept), 'run "tox -e genconfig"'
    for group, text in made.items():
        if group in FOREIGN:
            # The second half is keystoneauth's, in that release's words.
            assert (
                text.split('From hepix_vm')[0]
                == kept[group].split('From hepix_vm')[0]
            )
            names = re.findall('^#([a-z_]+) =', text, re.MULTILINE)
            for opt in FOREIGN[group].OPTS:
                assert opt.dest in names
                assert f'#{opt.dest} =' in kept[group]
        else:
            assert text == kept[group], f'[{group}]: run "tox -e genconfig"'


def test_sample_file_is_a_configuration_that_follows_nothing(tmp_path):
    path = tmp_path / 'hepix_vm.conf'
    path.write_text(SAMPLE.read_text())
    path.chmod(0o640)
    loaded = conf.load([str(path)])
    from_module = importlib.import_module('hepix_vm.conf.subscription')
    assert from_module.subscriptions(loaded) == {}
    assert loaded.catalogue.reader_max_age == 300


# The file


def test_options_have_their_documented_defaults(file):
    loaded = conf.load([str(file)])
    settings = catalogue.reader_settings(loaded)
    assert settings.connection.startswith('sqlite:////var/lib/hepix_vm/')
    assert settings.reader_max_age == 300
    assert settings.store_timeout == 2.0
    assert loaded.catalogue.list_max_age == 7 * 86400
    limits = fetch.settings(loaded)
    assert limits.max_list_size == 16 * 1024 * 1024
    assert limits.parallel == 8


def test_options_are_read(file):
    file.write_text(
        '[catalogue]\nconnection = sqlite:///x\nreader_max_age = 60\n'
        'refresh_interval = 2\nstore_timeout = 3\nnegative_ttl = 4\n'
        '[fetch]\ntimeout = 5\nlist_deadline = 6\nmax_list_size = 2048\n'
        'parallel = 7\nca_file = /ca\nspool_directory = /spool\n'
        'image_deadline = 8\nleftovers_days = 0.5\n'
    )
    loaded = conf.load([str(file)])
    settings = catalogue.reader_settings(loaded)
    assert settings.connection == 'sqlite:///x'
    assert settings.reader_max_age == 60
    assert settings.refresh_interval == 2
    assert settings.store_timeout == 3
    assert settings.negative_ttl == 4
    limits = fetch.settings(loaded)
    assert (limits.timeout, limits.list_deadline) == (5, 6)
    assert (limits.max_list_size, limits.parallel) == (2048, 7)
    assert (limits.ca_file, limits.spool_directory) == ('/ca', '/spool')
    assert (limits.image_deadline, limits.leftovers_days) == (8, 0.5)


def test_later_files_override_earlier_ones(file, tmp_path):
    file.write_text('[fetch]\nparallel = 2\ntimeout = 9\n')
    second = tmp_path / 'second.conf'
    second.write_text('[fetch]\nparallel = 3\n')
    loaded = conf.load([str(file), str(second)])
    assert (loaded.fetch.parallel, loaded.fetch.timeout) == (3, 9)


def test_two_configurations_do_not_share_values(file, tmp_path):
    second = tmp_path / 'second.conf'
    file.write_text('[fetch]\nparallel = 2\n')
    second.write_text('[fetch]\nparallel = 3\n')
    first, other = conf.load([str(file)]), conf.load([str(second)])
    assert (first.fetch.parallel, other.fetch.parallel) == (2, 3)


def refused(*files: Path) -> str:
    with pytest.raises(errors.Misconfigured) as caught:
        conf.load([str(file) for file in files])
    assert '\n' not in str(caught.value)
    return str(caught.value)


def test_missing_file_is_one_sentence(tmp_path):
    said = refused(tmp_path / 'absent.conf')
    assert 'absent.conf: expected a readable file' in said
    assert 'No such file' in said


def test_folder_is_no_file(tmp_path):
    assert 'expected a readable file' in refused(tmp_path)


@pytest.mark.skipif(os.geteuid() == 0, reason='root may read everything')
def test_unreadable_file_is_one_sentence(file):
    file.chmod(0)
    assert 'Permission denied' in refused(file)


@pytest.mark.parametrize('mode', [0o666, 0o602, 0o777])
def test_file_that_everybody_may_write_is_refused(file, mode):
    file.chmod(mode)
    said = refused(file)
    assert 'everybody may write it' in said
    assert 'chmod o-w' in said


def test_each_of_several_files_is_looked_at(file, tmp_path):
    second = tmp_path / 'second.conf'
    second.touch()
    second.chmod(0o666)
    assert 'second.conf' in refused(file, second)


@pytest.mark.parametrize(
    'text',
    [
        'an option without group and value',
        '[catalogue\nconnection = x',
        '= value',
        '[fetch]\nparallel = many',
        '[fetch]\nparallel = 0',
        '[catalogue]\nreader_max_age = 1',
        '[openstack]\ninterface = secret',
    ],
)
def test_file_with_a_mistake_is_one_sentence(file, text):
    file.write_text(text)
    assert str(file) in refused(file)


def test_file_that_is_not_text_is_one_sentence(file):
    file.write_bytes(b'[catalogue]\nconnection = \xff\xfe\n')
    assert str(file) in refused(file)


# The account


def test_without_auth_type_there_is_no_session(file):
    assert openstack.session(conf.load([str(file)])) is None


def test_session_of_an_account(file):
    file.write_text(
        '[openstack]\nauth_type = password\nauth_url = http://127.0.0.1:1\n'
        'username = me\npassword = secret\nproject_name = mine\n'
        'user_domain_id = default\nproject_domain_id = default\n'
    )
    assert openstack.session(conf.load([str(file)])) is not None


@pytest.mark.parametrize(
    'lines', ['auth_type = magic', 'auth_type = password\ntimeout = soon']
)
def test_account_that_cannot_be_used_names_its_group(file, lines):
    file.write_text(f'[openstack]\n{lines}\n')
    with pytest.raises(errors.Misconfigured, match='openstack'):
        openstack.session(conf.load([str(file)]))
