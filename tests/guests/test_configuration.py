# SPDX-License-Identifier: Apache-2.0
"""The agent's configuration file is read, never run."""

from __future__ import annotations

from tests.guests import machine
from tests.guests import site

HOSTILE = [
    'tries = $(touch escaped)',
    'tries = `touch escaped`',
    'tries = 1; touch escaped',
    'tries = -1',
    'tries = 0',
    'tries = 08',
    'tries = 9999999999',
    'timeout = 0',
    'http = maybe',
    'signature = none',
    'url = https://169.254.169.254',
    'url = http://169.254.169.254/x y',
    'url = http://$(id)',
    'url = http://a:b:c',
    'url = http://a:',
    'url = -o/etc/passwd',
    'state = relative',
    'state = /',
    'state = /var/../etc',
    'state = /var//lib',
    'state = /var/lib/',
    'state = /var/$(id)',
    'devices = /dev/sr0 /dev/*',
    'site_key = "/etc/key"',
    'PATH = /tmp',
    'path = /tmp',
    'conf = /tmp',
    'touch escaped',
    '. /tmp/escaped',
    '= 1',
]


def test_a_line_that_cannot_be_read_ends_it(guest, server):
    server.say(site.made().answers())
    conf = guest.configure()
    good = conf.read_text()
    for line in HOSTILE:
        conf.write_text(f'{good}{line}\n')
        done = guest.run('epilog', conf)
        assert done.returncode == 2, (line, done.stderr)
        assert f'{conf}: ' in done.stderr
        assert server.asked == []
        assert not guest.state.exists()


def test_blanks_comments_and_a_last_line_without_end_are_read(guest, server):
    bundle = site.made()
    server.say(bundle.answers())
    conf = guest.configure()
    text = conf.read_text().replace(' = ', '=')
    conf.write_text(f'# a comment\n\n  {text}\t tries  =  2 \n cd=no')
    assert guest.run('epilog', conf).returncode == 0
    assert guest.calls == ['prolog start', 'epilog start']


def test_the_shipped_file_names_every_default(guest):
    """As comments, of which each is taken when it is none."""
    shipped = machine.AGENT.with_name('hepix-context.conf')
    lines = [
        line[1:]
        for line in shipped.read_text().splitlines()
        if line.startswith('#') and line[1:2].islower() and ' = ' in line
    ]
    agent = machine.AGENT.read_text()
    for line in lines:
        key, _, value = line.partition(' = ')
        assert f'\n{key}={value}\n' in agent
    assert len(lines) == 17
    conf = guest.top / 'agent.conf'
    conf.write_text('\n'.join(lines))
    done = guest.run('check', conf)
    assert 'client=' in done.stderr, done.stderr


def test_an_unknown_command_is_refused(guest):
    assert guest.run('install').returncode == 2


def test_check_says_what_is_missing(guest, tmp_path):
    # busybox is awk whatever PATH has
    missing = 'awk is missing' if ':' in guest.path else 'openssl'
    guest.path = machine.without(
        tmp_path / 'few', guest.path, ['openssl', 'awk']
    )
    guest.options['signature'] = 'required'
    done = guest.run('check')
    assert done.returncode == 1
    assert missing in done.stderr
    assert 'expected openssl and' in done.stderr
