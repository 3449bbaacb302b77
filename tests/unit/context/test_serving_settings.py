# SPDX-License-Identifier: Apache-2.0
"""The options of serving and the value made of them."""

from oslo_config import cfg
import pytest

from hepix_vm import conf
from hepix_vm.conf import serving
from hepix_vm.context import identities
from hepix_vm.context import prepared
from hepix_vm import errors


def _options(tmp_path, text=''):
    file = tmp_path / 'hepix_vm.conf'
    file.write_text(f'[context]\n{text}')
    return conf.load((str(file),), serving.MODULES)


def test_the_defaults_are_those_of_the_code(tmp_path):
    found = serving.settings(_options(tmp_path))
    assert found.variants == prepared.Settings()
    assert found.identities == identities.Settings()
    assert found.most == 64
    assert found.signing_key is None
    assert found.audit.connection == found.reader.connection
    assert found.state.connection == found.reader.connection


def test_every_option_reaches_the_value(tmp_path):
    key = tmp_path / 'key.pem'
    key.write_bytes(b'a key')
    key.chmod(0o600)
    found = serving.settings(
        _options(
            tmp_path,
            'behind = direct\n'
            'facts_ttl = 7\n'
            'nova_timeout = 2.5\n'
            'max_concurrent = 3\n'
            'max_variants_size = 2000000\n'
            'max_files = 9\n'
            f'signing_key = {key}\n',
        )
    )
    assert found.variants.neutron is False
    assert found.variants.most == 2_000_000
    assert found.variants.limits.members == 9
    assert found.identities == identities.Settings(ttl=7, timeout=2.5)
    assert found.most == 3
    assert found.signing_key == b'a key'
    assert 'a key' not in repr(found)


def test_the_secret_of_a_process_of_its_own_must_be_set(tmp_path):
    with pytest.raises(errors.Misconfigured, match='anybody could sign'):
        serving.shared_secret(_options(tmp_path))
    options = _options(tmp_path, 'metadata_proxy_shared_secret = s3cret\n')
    assert serving.shared_secret(options) == b's3cret'


def test_a_word_that_is_no_choice_is_told(tmp_path):
    with pytest.raises(errors.Misconfigured, match='behind'):
        _options(tmp_path, 'behind = ovn\n')


def test_each_option_has_help_for_an_operator():
    for option in serving.OPTS:
        assert option.help
        assert len(option.help.split()) > 15


def test_the_group_is_one_in_the_sample():
    groups = [
        (group.name, {option.name for option in options})
        for group, options in conf.list_opts()
        if isinstance(group, cfg.OptGroup) and group.name == 'context'
    ]
    names = [name for _, options in groups for name in options]
    assert len(names) == len(set(names))
    assert {'directory', 'behind'} <= set(names)
