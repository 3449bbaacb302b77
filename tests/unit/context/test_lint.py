# SPDX-License-Identifier: Apache-2.0
"""What is wrong with a site directory though it could be served."""

import pathlib

import pytest

from hepix_vm.context import lint
from hepix_vm.context import site as site_
from tests.unit.context import sites


@pytest.fixture
def top(tmp_path):
    return sites.make(tmp_path / 'context')


def _found(top: pathlib.Path) -> list[tuple[str, int, str, str]]:
    return [
        (f.path, f.line, f.level.value, f.rule)
        for f in lint.findings(site_.read_directory(top))
    ]


def _of(top: pathlib.Path, line: str) -> list[tuple[str, str]]:
    """Level and rule of what is found in one line of a script."""
    sites.write(top, 'part.sh', f'#!/bin/sh\n{line}\n')
    found = _found(top)
    assert {(path, number) for path, number, _, _ in found} <= {('part.sh', 2)}
    return [(level, rule) for _, _, level, rule in found]


def test_a_plain_site_has_no_findings(top):
    assert _found(top) == []


def test_the_sample_scripts_have_no_findings():
    samples = pathlib.Path(__file__).parents[3] / 'etc/hepix_vm/context'
    assert _found(samples) == []


@pytest.mark.parametrize(
    ('line', 'rule'),
    [
        ('apt-get install -y condor', 'package'),
        ('apt-get -q install condor', 'package'),
        ('/usr/bin/yum -y install condor', 'package'),
        ('rpm -Uvh http://example.org/x.rpm', 'package'),
        ('dpkg -i x.deb', 'package'),
        ('DEBIAN_FRONTEND=noninteractive apt-get update', 'package'),
        ('sudo -n dnf install x', 'package'),
        ('if ! zypper in x; then :; fi', 'package'),
        ('true && apk add x', 'package'),
        ('x=$(yum install y)', 'package'),
        ('echo "`yum install y`"', 'package'),
        ('( cd /tmp; rpm -e x )', 'package'),
        ("sh -c 'apt-get install x'", 'package'),
        ('eval "apt-get install x"', 'package'),
        ('timeout 60 yum update', 'package'),
        ('case $1 in start) yum update;; esac', 'package'),
        ('f() { yum update; }', 'package'),
        ('find / -name x -exec rpm -i {} +', 'package'),
        ('pip3 install numpy', 'python'),
        ('python3 -m pip install numpy', 'python'),
        ('update-alternatives --set python /opt/python', 'python'),
        ('cpanm Moose', 'perl'),
        ('perl -MCPAN -e install', None),
        ('perl -MCPAN install', 'perl'),
        ('insmod ./x.ko', 'kernel-module'),
        ('modprobe fuse', 'kernel-module'),
        ('ldconfig', 'glibc'),
        ('export LD_PRELOAD=/opt/x.so', 'glibc'),
        ('LD_PRELOAD=/opt/x.so', 'glibc'),
        ('echo /opt/lib > /etc/ld.so.conf.d/x.conf', 'glibc'),
        ('echo x > /usr/share/x', 'write'),
        ('echo x >>/boot/grub.cfg', 'write'),
        ('echo x &>/usr/x', 'write'),
        ('echo x >| "/usr/x"', 'write'),
        ('cp site/x /usr/local/bin', 'write'),
        ('cp -t /usr/local/bin site/x', 'write'),
        ('install -d /usr/local/x', 'write'),
        ('install -m 644 x /lib/modules/5/x', 'write'),
        ('ln -sf /opt/x /usr/bin/x', 'write'),
        ('mkdir -p //usr//share/x', 'write'),
        ('rm -rf /etc/../usr/share/doc', 'write'),
        ('mv /usr/bin/x /tmp', 'write'),
        ("sed -i 's/a/b/' /usr/share/x", 'write'),
        ('echo x | tee -a /usr/x >/dev/null', 'write'),
        ('dd if=/dev/zero of=/boot/x', 'write'),
        ('tar -C /usr -xf x.tar', 'write'),
        ('tar --directory=/usr -xf x.tar', 'write'),
        ('curl -o /usr/bin/x http://example.org', 'write'),
        ('mount -o bind /opt /usr', 'write'),
        ('chmod 4755 /bin/x', 'write'),
    ],
)
def test_what_changes_the_image_is_an_error(top, line, rule):
    assert _of(top, line) == ([('error', rule)] if rule else [])


@pytest.mark.parametrize(
    'line',
    [
        'rpm -q condor',
        'dpkg -l condor',
        'yum list installed',
        'echo apt-get install x',
        "echo 'apt-get install x'",
        '# apt-get install x',
        'echo x  # yum install y',
        'for x in yum apt-get; do echo "$x"; done',
        'case $1 in yum|apt-get) echo x;; esac',
        'case $1 in\n yum) :;;\n apt-get) :;; esac',
        'yum() { :; }',
        'cat <<END\nyum install x\necho > /usr/x\nEND\n',
        'cp /usr/share/x /etc/x',
        'ln -s /usr/bin/x /opt/x',
        'echo x > /etc/x',
        'echo x > usr/x',
        'cat < /usr/share/x',
        'echo x > "$prefix/usr/x"',
        'cp x /usrlocal',
        'sed s/a/b/ /usr/share/x > /tmp/x',
        '[ -x /usr/bin/x ] && /usr/bin/x',
        'LD_PRELOAD=x ./program',
        'python3 -m json.tool x',
        'update-alternatives --set editor /usr/bin/vim',
    ],
)
def test_what_leaves_the_image_alone_is_not(top, line):
    assert _of(top, line) == []


def test_a_finding_has_file_and_line_and_says_why(top):
    sites.write(top, 'prolog.sh', '#!/bin/sh\n\nyum install \\\n  x\n')
    [finding] = lint.findings(site_.read_directory(top))
    assert str(finding) == (
        'prolog.sh:3: error: yum changes the packages of the image [package]'
    )


def test_a_path_is_that_of_the_site_directory(tmp_path):
    sites.make(tmp_path / 'common')
    sites.write(tmp_path, 'atlas/x.sh.in', '#!/bin/sh\nyum install @vo@\n')
    sites.write(
        tmp_path,
        'layers.yaml',
        'layers: [{directory: common}, {directory: atlas, when: {vo: a}}]',
    )
    assert _found(tmp_path) == [('atlas/x.sh.in', 2, 'error', 'package')]


def test_any_file_with_the_line_of_a_shell_is_a_script(top):
    sites.write(top, 'bin/do', '#! /usr/bin/env bash\nyum install x\n')
    sites.write(top, 'bin/other', '#!/usr/bin/python3\nyum install x\n')
    assert _found(top) == [('bin/do', 2, 'error', 'package')]


@pytest.mark.parametrize(
    ('name', 'rule'),
    [
        ('condor.rpm', 'package'),
        ('x.ko.xz', 'kernel-module'),
        ('numpy.whl', 'python'),
        ('libc.so.6', 'glibc'),
    ],
)
def test_a_file_that_could_only_change_the_image_is_an_error(top, name, rule):
    sites.write(top, f'files/{name}', '')
    assert _found(top) == [(f'files/{name}', 0, 'error', rule)]


def test_a_private_key_is_an_error_in_any_file(top):
    key = '-----BEGIN EC PRIVATE KEY-----\nMA==\n'
    sites.write(top, 'site/a.pem', key)
    sites.write(top, 'site/b', '\0' + key.replace('EC ', ''))
    assert _found(top) == [
        ('site/a.pem', 0, 'error', 'private-key'),
        ('site/b', 0, 'error', 'private-key'),
    ]


@pytest.mark.parametrize(
    'text',
    [
        'password=hunter22',
        'PASSWD = "hunter22"',
        '"passphrase": "correct horse"',
        'CONDOR_PASSWORD=hunter22',
        'api_key: 0123456789abcdef',
        'export TOKEN=abcdefgh',
        'AKIAIOSFODNN7EXAMPLE',
        'aws_secret_access_key = wJalrXUtnFEMI/K7MDENG',
        'ghp_' + 'a' * 36,
        'glpat-' + 'a' * 20,
        'xoxb-1234567890-abc',
        'gAAAAA' + 'B' * 80,
        'eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0In0.c2lnbmF0dXJl',
        'Authorization: Bearer ' + 'a' * 30,
        'http://user:hunter22@example.org/',
    ],
)
def test_what_looks_like_a_secret_is_a_warning(top, text):
    sites.write(top, 'site/x.conf', f'# a file\n{text}\n')
    assert _found(top) == [('site/x.conf', 2, 'warning', 'secret')]


@pytest.mark.parametrize(
    'text',
    [
        'password=$1',
        'password="${password}"',
        'PASSWORD=$(cat /run/x)',
        'password=',
        'read -r password',
        'token=@vo@',
        'http://example.org:3128/a@b',
        '-----BEGIN PUBLIC KEY-----',
        'the password is asked for',
    ],
)
def test_what_names_a_secret_without_one_is_fine(top, text):
    sites.write(top, 'site/x.conf', f'{text}\n')
    assert _found(top) == []


def test_exit_is_warned_about_where_guests_source(top):
    sites.write(
        top,
        'prolog.sh',
        '#!/bin/sh\n. ./site/lib.sh\n(exit 1)\nx=$(exit 2)\n'
        "sh -c 'exit 3'\n[ -f x ] || exit 4\n",
    )
    sites.write(top, 'site/lib.sh', 'exit 1\n')
    sites.write(top, 'site/other.sh', 'exit 1\n')
    assert _found(top) == [
        ('prolog.sh', 6, 'warning', 'exit'),
        ('site/lib.sh', 1, 'warning', 'exit'),
    ]


def test_windows_line_ends_are_warned_about(top):
    sites.write(top, 'site/x', 'a\nb\r\n')
    assert _found(top) == [('site/x', 2, 'warning', 'crlf')]


def test_a_first_line_that_no_kernel_takes_is_an_error(top):
    (top / 'prolog.sh').write_bytes(b'#!/bin/sh\r\ntrue\r\n')
    assert _found(top) == [('prolog.sh', 1, 'error', 'crlf')]


def test_a_script_without_its_first_line_is_an_error(top):
    sites.write(top, 'epilog.sh', 'true\n')
    assert _found(top) == [('epilog.sh', 1, 'error', 'shebang')]


def test_a_script_that_is_binary_is_read_as_no_shell(top):
    (top / 'prolog.sh').write_bytes(b'#!\0yum install x\n')
    assert _found(top) == []


def test_variables_within_quotes_are_an_error(top):
    sites.write(
        top,
        'x.sh.in',
        '#!/bin/sh\nA=@vo@\nB="@vo@"\nC=\'x @host@\'\ncat <<E\n@flavor@\nE\n',
    )
    assert _found(top) == [
        ('x.sh.in', 3, 'error', 'template'),
        ('x.sh.in', 4, 'error', 'template'),
        ('x.sh.in', 6, 'warning', 'template'),
    ]


@pytest.mark.parametrize(
    'text',
    [
        'modprobe fuse  # context-lint: allow kernel-module',
        '# context-lint: allow write, kernel-module\nmodprobe fuse',
    ],
)
def test_what_a_comment_allows_is_a_warning(top, text):
    sites.write(top, 'x.sh', f'{text}\n')
    [(_, _, level, rule)] = _found(top)
    assert (level, rule) == ('warning', 'kernel-module')


def test_a_comment_allows_its_rule_and_its_line_alone(top):
    sites.write(
        top,
        'x.sh',
        'modprobe fuse  # context-lint: allow write\n\n'
        '# context-lint: allow kernel-module\n\nmodprobe fuse\n',
    )
    assert [level for _, _, level, _ in _found(top)] == ['error', 'error']


def test_five_hundred_files_are_read_in_their_order(top):
    for number in range(400):
        sites.write(top, f'many/{number:03}.sh', 'echo "$(date)"\nexit\n')
    assert _found(top) == []
