# SPDX-License-Identifier: Apache-2.0
"""The options of the context and the value made of them."""

import pathlib

from oslo_config import cfg
import pytest

from hepix_vm.conf import context as conf_context
from hepix_vm.context import bundle
from hepix_vm.context import source


def _options(file):
    options = cfg.ConfigOpts()
    conf_context.register(options)
    options([], default_config_files=[str(file)], default_config_dirs=[])
    return options


def test_the_defaults_are_those_of_the_code(tmp_path):
    (tmp_path / 'conf').write_text('')
    assert conf_context.context_settings(
        _options(tmp_path / 'conf')
    ) == conf_context.ContextSettings(
        source=source.Source(
            directory=pathlib.Path('/etc/hepix_vm/context'),
            state_directory=pathlib.Path('/var/lib/hepix_vm/context'),
            published=False,
            limits=bundle.DEFAULT_LIMITS,
        ),
        refresh_interval=5.0,
    )


def test_every_option_reaches_the_value(tmp_path):
    (tmp_path / 'conf').write_text(
        '[context]\n'
        'directory = /srv/context\n'
        'state_directory = /srv/state\n'
        'serve = published\n'
        'max_files = 3\n'
        'max_unpacked_size = 20000\n'
        'max_answer_size = 2000\n'
        'refresh_interval = 0.5\n'
    )
    assert conf_context.context_settings(
        _options(tmp_path / 'conf')
    ) == conf_context.ContextSettings(
        source=source.Source(
            directory=pathlib.Path('/srv/context'),
            state_directory=pathlib.Path('/srv/state'),
            published=True,
            limits=bundle.Limits(members=3, unpacked=20000, answer=2000),
        ),
        refresh_interval=0.5,
    )


def test_an_answer_can_never_be_allowed_to_reach_a_mebibyte(tmp_path):
    (tmp_path / 'conf').write_text('[context]\nmax_answer_size = 1048576\n')
    with pytest.raises(cfg.ConfigFileValueError):
        conf_context.context_settings(_options(tmp_path / 'conf'))


def test_each_option_has_help_for_an_operator():
    for option in conf_context.OPTS:
        assert option.help
        assert len(option.help.split()) > 15
