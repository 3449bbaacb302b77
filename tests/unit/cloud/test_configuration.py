# SPDX-License-Identifier: Apache-2.0
"""Configuration files say what the options say, and nothing else."""

import configparser
import dataclasses
import json
import pathlib

from oslo_config import cfg
import pytest

from tests.cloud import configuration
from tests.cloud import files
from tests.cloud import layout as layouts
from tests.cloud import network
from tests.cloud import options as opts
from tests.cloud import services
from tests.cloud import settings
from tests.cloud import site as sites
from tests.cloud import steps

PASTE = """[composite:metadata]
use = egg:Paste#urlmap
/: meta

[pipeline:meta]
pipeline = cors metaapp
"""


def make_site(
    work: pathlib.Path, options: opts.CloudOptions | None = None
) -> sites.Site:
    """Return a site whose environment ships the files that are copied."""
    venv = work / 'venv'
    (venv / 'etc' / 'glance').mkdir(parents=True)
    (venv / 'etc' / 'nova').mkdir(parents=True)
    (venv / 'etc' / 'cinder').mkdir(parents=True)
    (venv / 'etc/cinder/api-paste.ini').write_text('[pipeline:y]\n')
    (venv / 'etc/glance/glance-api-paste.ini').write_text('[pipeline:x]\n')
    (venv / 'etc/nova/api-paste.ini').write_text(PASTE)
    return sites.Site(
        layout=layouts.Layout(work),
        venv=venv,
        ports={name: 20000 + n for n, name in enumerate(services.PORTS)},
        password='word',
        metadata_secret='shared',
        options=options or opts.CloudOptions(),
    )


def read(path: pathlib.Path) -> configparser.RawConfigParser:
    parser = configparser.RawConfigParser(strict=False)
    parser.read_string(path.read_text())
    return parser


def test_values_are_rendered_by_their_type() -> None:
    text = configuration.render(
        {
            'a': {'yes': True, 'no': False, 'n': 3, 's': 'x y', 'gone': None},
            'b': {'many': ['one', 'two']},
        }
    )
    assert text == (
        '[a]\nyes = true\nno = false\nn = 3\ns = x y\n\n'
        '[b]\nmany = one\nmany = two\n'
    )


@pytest.mark.parametrize(
    'sections',
    [
        {'a': {'b': 'c\nd = e'}},
        {'a': {'b': ['c', 'd\r']}},
        {'a': {'b = c\nd': 'e'}},
        {'a]\n[b': {}},
    ],
)
def test_nothing_breaks_out_of_its_line(sections: opts.Sections) -> None:
    with pytest.raises(ValueError, match=r'line break|not the name'):
        configuration.render(sections)


def test_merging_overrides_single_options() -> None:
    merged = configuration.merge(
        {'a': {'one': 1, 'two': 2}, 'b': {'three': 3}},
        {'a': {'two': 'II'}, 'c': {'four': 4}},
    )
    assert merged == {
        'a': {'one': 1, 'two': 'II'},
        'b': {'three': 3},
        'c': {'four': 4},
    }


def test_our_filters_come_first_and_novas_stay(tmp_path: pathlib.Path) -> None:
    site = make_site(
        tmp_path,
        opts.CloudOptions(scheduler_filters=('a.b.OneFilter', 'c.TwoFilter')),
    )
    files.write(site)
    conf = cfg.ConfigOpts()
    conf.register_opts(
        [
            cfg.MultiStrOpt('available_filters'),
            cfg.ListOpt('enabled_filters'),
        ],
        'filter_scheduler',
    )
    conf(['--config-file', str(site.etc('nova') / 'nova.conf')])
    group = conf.filter_scheduler
    assert group.available_filters == [
        'nova.scheduler.filters.all_filters',
        'a.b.OneFilter',
        'c.TwoFilter',
    ]
    assert group.enabled_filters == [
        'OneFilter',
        'TwoFilter',
        *settings.FILTERS,
    ]


def test_files_that_say_the_same_stay_as_they_are(
    tmp_path: pathlib.Path,
) -> None:
    site = make_site(tmp_path, opts.CloudOptions())
    files.write(site)
    folder = site.layout.etc / 'glance'
    before = {path.name: path.stat().st_ino for path in folder.iterdir()}
    other = opts.CloudOptions(glance_policy={'upload_image': '!'})
    files.write(dataclasses.replace(site, options=other))
    after = {path.name: path.stat().st_ino for path in folder.iterdir()}
    assert after.keys() == before.keys()
    assert after.items() - before.items() == {
        ('policy.yaml', after['policy.yaml'])
    }


def test_options_reach_the_files(tmp_path: pathlib.Path) -> None:
    options = opts.CloudOptions(
        import_plugins=('one', 'two'),
        context_app='some.module:factory',
        glance_policy={'upload_image': '!'},
        extra={'glance-api': {'DEFAULT': {'debug': True}}},
    )
    site = make_site(tmp_path, options)
    files.write(site)
    etc = site.layout.etc
    imports = read(etc / 'glance' / 'glance-image-import.conf')
    assert imports['image_import_opts']['image_import_plugins'] == '[one,two]'
    policy = json.loads((etc / 'glance' / 'policy.yaml').read_text())
    assert policy == {'upload_image': '!'}
    glance = read(etc / 'glance' / 'glance-api.conf')
    assert glance['DEFAULT']['debug'] == 'true'
    assert glance['DEFAULT']['enabled_backends'] == 'local:file,local2:file'
    paste = read(etc / 'nova' / 'api-paste.ini')
    assert paste['composite:metadata']['/context'] == 'context'
    assert paste['composite:metadata']['/'] == 'meta'
    assert paste['app:context']['paste.app_factory'] == 'some.module:factory'


def test_a_stock_cloud_has_the_paste_file_that_nova_ships(
    tmp_path: pathlib.Path,
) -> None:
    site = make_site(tmp_path)
    files.write(site)
    assert (site.etc('nova') / 'api-paste.ini').read_text() == PASTE


def test_an_unknown_paste_file_is_refused() -> None:
    with pytest.raises(ValueError, match='composite:metadata'):
        settings.with_context_app('[composite:other]\n', 'a:b')


def test_extra_configuration_for_no_file_is_a_mistake(
    tmp_path: pathlib.Path,
) -> None:
    site = make_site(tmp_path, opts.CloudOptions(extra={'glance': {}}))
    with pytest.raises(ValueError, match='glance-api'):
        files.write(site)


def test_every_service_of_a_full_cloud_has_its_steps(
    tmp_path: pathlib.Path,
) -> None:
    site = make_site(tmp_path)
    names = {
        step.name
        for step in (
            *services.foundation(site),
            *services.apis(site),
            *services.nova(site),
        )
        if isinstance(step, steps.Service)
    }
    assert names == {
        'epmd',
        'rabbitmq',
        'mariadb',
        'keystone',
        'glance',
        'placement',
        'nova-api',
        'nova-metadata',
        'nova-conductor',
        'nova-scheduler',
        'nova-compute',
        'network',
    }


def test_fewer_parts_are_fewer_services(tmp_path: pathlib.Path) -> None:
    site = make_site(tmp_path, opts.CloudOptions(parts=opts.IDENTITY))
    assert [step.name for step in services.apis(site)] == ['keystone']
    site = make_site(
        tmp_path / 'b', opts.CloudOptions(parts=frozenset({'mariadb'}))
    )
    assert [step.name for step in services.foundation(site)] == ['mariadb']


def test_keys_are_for_the_owner_alone(tmp_path: pathlib.Path) -> None:
    site = make_site(tmp_path)
    files.write_keys(site)
    folder = site.layout.data / 'keystone' / 'fernet'
    assert folder.stat().st_mode & 0o077 == 0
    keys = [path.read_bytes() for path in sorted(folder.iterdir())]
    assert [len(key) for key in keys] == [44, 44]
    assert keys[0] != keys[1]


@pytest.mark.parametrize(
    ('path', 'status', 'body'),
    [
        ('/v2.0/ports?device_id=x', 200, {'ports': []}),
        ('/v2.0/security-groups', 200, {'security_groups': []}),
        ('/v2.0/ports.json', 200, {'ports': []}),
    ],
)
def test_the_stand_in_for_the_network_has_nothing(
    path: str, status: int, body: dict[str, object]
) -> None:
    assert network.answer(path, 'host') == (status, body)


def test_the_stand_in_has_no_quotas_no_members_and_one_version() -> None:
    status, body = network.answer('/v2.0/quotas/abc', 'host')
    assert (status, set(body['quota'].values())) == (200, {-1})
    status, body = network.answer('/v2.0/networks/abc', 'host')
    assert (status, body['NeutronError']['type']) == (404, 'NotFound')
    status, body = network.answer('/', 'host:1')
    assert body['versions'][0]['links'][0]['href'] == 'http://host:1/v2.0/'
