# SPDX-License-Identifier: Apache-2.0
"""What tests of importing share: outcomes, other plugins, a web server."""

from collections.abc import Iterator
import contextlib
import dataclasses
import functools
import http.server
import json
import os
import pathlib
import shutil
import threading
import time
from typing import Any

import sqlalchemy as sa

from tests import catalogue_rows
from tests.cloud import cloud as clouds
from tests.cloud import hepix
from tests.cloud import ports
from tests.cloud import site as sites
from tests.cloud import waits
from tests.functional import images as acts

OURS = ('hepix_verify', 'hepix_record')


def assert_taken_in(
    rows: catalogue_rows.Rows, outcome: acts.Outcome, data: bytes
) -> None:
    """The image is active and its record says these bytes."""
    assert outcome.status == 'success', outcome.message
    image = outcome.image
    assert image['status'] == 'active'
    assert image['os_hash_value'] == catalogue_rows.sha512(data)
    record = rows.recorded(image['id'])
    assert record is not None
    assert record.state == 'positive'
    assert record.final_sha512 == image['os_hash_value']
    assert record.final_size == image['size'] == len(data)
    assert record.project == image['owner']
    assert record.created_at == acts.created_at(image)
    assert rows.events(image['id'])[-2:] == [
        'import-verified',
        'import-recorded',
    ]


def assert_refused(
    cloud: clouds.Cloud,
    rows: catalogue_rows.Rows,
    outcome: acts.Outcome,
    sentence: str,
    stores: str = 'local',
) -> None:
    """The user reads the sentence, and nothing of the import is left."""
    assert outcome.status == 'failure'
    assert sentence in outcome.message
    image = outcome.image
    assert image['status'] == 'queued'
    assert image['os_hash_value'] is None
    assert image['size'] is None
    assert image.get('os_glance_importing_to_stores', '') == ''
    assert image['os_glance_failed_import'] == stores
    assert not acts.staged(cloud, image['id']).exists()
    record = rows.recorded(image['id'])
    assert record is None or record.state == 'withdrawn'


@contextlib.contextmanager
def served(folder: pathlib.Path) -> Iterator[str]:
    """A web server on loopback; gives its URL."""

    class Quiet(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *_args: Any) -> None:
            """Keep the tests' output readable."""

    handler = functools.partial(Quiet, directory=str(folder))
    with http.server.ThreadingHTTPServer((ports.ADDRESS, 0), handler) as one:
        thread = threading.Thread(target=one.serve_forever)
        thread.start()
        try:
            yield f'http://{ports.ADDRESS}:{one.server_port}'
        finally:
            one.shutdown()
            thread.join()


def restart_glance(cloud: clouds.Cloud) -> None:
    """Start Glance with the cloud's options."""
    cloud.write_configuration()
    cloud.restart('glance')


def forget_packages(cloud: clouds.Cloud) -> None:
    """Take away what stevedore remembers of the installed packages.

    It compares the times of files by about two minutes only.
    """
    memory = cloud.layout.data / 'cache' / 'python-entrypoints'
    shutil.rmtree(memory, ignore_errors=True)


@dataclasses.dataclass(frozen=True, slots=True)
class Plugins:
    """Starts Glance anew with other import plugins."""

    cloud: clouds.Cloud
    shipped: sites.Site

    def __call__(self, *names: str, **image_import: Any) -> None:
        shipped = self.shipped.options.extra
        # Under uWSGI Glance does not know its own interpreter.
        python = {'python_interpreter': self.shipped.program('python')}
        options = dataclasses.replace(
            self.shipped.options,
            import_plugins=names,
            # It would not let Glance start with some of them.
            glance_guard=None,
            extra={
                **shipped,
                'glance-api': {
                    **shipped.get('glance-api', {}),
                    'wsgi': python,
                },
                'glance-image-import': {'image_import_opts': image_import},
            },
        )
        self.cloud.site = dataclasses.replace(self.shipped, options=options)
        restart_glance(self.cloud)


STEP = 'hepix_test_step'
STEP_SOURCE = '''
"""Import plugin of the tests; the image's name says what it does."""
import pathlib
import time

from taskflow.patterns import linear_flow
from taskflow import task


class Step(task.Task):
    def __init__(self, repo, image_id, name):
        super().__init__(name=name)
        self.repo = repo
        self.image_id = image_id

    def execute(self, file_path, **kwargs):
        name = self.repo.get(self.image_id).name
        path = pathlib.Path(file_path.removeprefix('file://'))
        if name == 'exchange':
            path.write_bytes(bytes(path.stat().st_size))
        elif name == 'fail':
            raise RuntimeError('the plugin of the site fails')
        elif name == 'wait':
            reached = path.with_name(f'{self.image_id}.reached')
            reached.touch()
            for _ in range(3000):
                if not reached.exists():
                    return
                time.sleep(0.1)


def get_flow(**kwargs):
    name = 'step-' + kwargs['task_id']
    return linear_flow.Flow('step').add(
        Step(kwargs['image_repo'], kwargs['image_id'], name)
    )
'''


@contextlib.contextmanager
def between(
    cloud: clouds.Cloud, as_shipped: sites.Site, **image_import: str
) -> Iterator[None]:
    """Glance with that plugin between ours; the site vouches for it."""
    folder = cloud.layout.site
    module = folder / f'{STEP}.py'
    module.write_text(STEP_SOURCE)
    info = folder / f'{STEP}-1.0.dist-info'
    info.mkdir(exist_ok=True)
    (info / 'METADATA').write_text(
        f'Metadata-Version: 2.1\nName: {STEP}\nVersion: 1.0\n'
    )
    (info / 'entry_points.txt').write_text(
        f'[glance.image_import.plugins]\n{STEP} = {STEP}:get_flow\n'
    )
    path = hepix.config_file(cloud.layout.work)
    content = path.read_text()
    path.write_text(
        f'{content}\n[glance_import]\nunchanging_plugins = {STEP}\n'
    )
    forget_packages(cloud)
    Plugins(cloud, as_shipped)(
        'hepix_verify', STEP, 'hepix_record', **image_import
    )
    try:
        yield
    finally:
        path.write_text(content)
        module.unlink()
        shutil.rmtree(info)
        forget_packages(cloud)


def reached(cloud: clouds.Cloud, image_id: str) -> pathlib.Path:
    """The file that says that the plugin waits, and whose end lets it go."""
    path = acts.staged(cloud, f'{image_id}.reached')
    waits.until(
        'the import to reach the plugin of the tests',
        path.exists,
        acts.LIMIT,
        log=cloud.log('glance'),
    )
    return path


def take_lock(cloud: clouds.Cloud, image_id: str) -> None:
    """Give an image's import lock to another task, as after an hour."""
    engine = sa.create_engine(cloud.site.database('glance'))
    with engine.begin() as connection:
        changed = connection.execute(
            sa.text(
                "UPDATE image_properties SET value = 'another-task' WHERE "
                "image_id = :image AND name = 'os_glance_import_task'"
            ),
            {'image': image_id},
        )
        assert changed.rowcount == 1
    engine.dispose()


def write_rules(cloud: clouds.Cloud, rules: Any) -> None:
    """Have Glance, which looks at the times of the file, read other rules."""
    path = cloud.site.etc('glance') / 'policy.yaml'
    before = path.stat().st_mtime
    path.write_text(json.dumps(dict(rules), indent=1))
    later = max(time.time(), before + 1)
    os.utime(path, (later, later))


@contextlib.contextmanager
def ruled(cloud: clouds.Cloud, **rules: str) -> Iterator[None]:
    """Some rules are others for a while."""
    shipped = dict(cloud.site.options.glance_policy)
    write_rules(cloud, shipped | rules)
    try:
        yield
    finally:
        write_rules(cloud, shipped)
