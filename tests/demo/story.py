# SPDX-License-Identifier: Apache-2.0
"""The story: endorsed, approved, booted, withdrawn.

Each step asks a real service or runs the real command and looks at what
comes back. A step stands on what the ones before it made, so after a failed
one the others are not told, and count as failed.
"""

from __future__ import annotations

import base64
from collections.abc import Callable
import datetime
import gzip
import hashlib
import io
from pathlib import Path
import shutil
import tarfile
import time
from typing import Any
import uuid

from hepix_vm import imagelist
from tests.cloud import cloud as clouds
from tests.cloud import hepix
from tests.demo import asked
from tests.demo import disks
from tests.demo import machines
from tests.demo import told
from tests import endorser as endorsers
from tests import worker

NAME = 'story'


class Story:
    """The people, the images and the steps.

    :param cloud: with every part of hepix_vm
    :param folder: an empty folder for what the people make
    :param url: where ``folder / 'web'`` is served
    """

    def __init__(
        self,
        cloud: clouds.Cloud,
        teller: told.Teller,
        folder: Path,
        url: str,
    ) -> None:
        self.cloud = cloud
        self.tell = teller
        self.folder = folder
        self.url = url
        self.web = folder / 'web'
        self.anchors = folder / 'trust-anchors'
        self.list_file = self.web / 'images.smime'
        self.list_id = str(uuid.uuid4())
        self.config = folder / 'subscription.conf'
        self.user = asked.Person(cloud, teller, 'demo')
        self.admin = asked.Person(cloud, teller, 'admin')
        self.operator = asked.Operator(
            cloud, teller, (hepix.config_file(cloud.layout.work), self.config)
        )
        self.endorser = endorsers.Endorser.create(
            folder / 'endorser', name='Erin Endorser'
        )
        self.entries: list[imagelist.ImageEntry] = []
        self.published = ''
        self.server = ''
        #: What servers are asked for with besides the image.
        self.wanted: dict[str, Any] = {}
        self.machines: machines.Machines | None = None
        if machines.are_real(cloud):
            self.machines = machines.Machines(teller, self.user, self.admin)

    def steps(self) -> tuple[tuple[str, Callable[[], None]], ...]:
        """Titles and acts, in order."""
        return (
            ('An endorser signs a list of two images', self.endorse),
            ('The site syncs; nothing is approved yet', self.sync),
            ('One image is approved, published and booted', self.approve),
            ('Only endorsed bytes get in, whoever brings them', self.judge),
            ('A way around the import is closed, and then found', self.around),
            ("The metadata service serves the site's context", self.context),
            ('The endorser withdraws, and it acts', self.withdraw),
        )

    def run(self) -> bool:
        """Tell all; returns whether every step was as expected."""
        well = True
        for number, (title, act) in enumerate(self.steps(), 1):
            if well:
                well = self.tell.step(number, title, act)
            else:
                self.tell.not_reached(number, title)
        return self.tell.summary()

    # Step 1

    def endorse(self) -> None:
        """A CA, a certificate, a CRL, two disks and a signed list."""
        self.endorser.write_trust_anchors(self.anchors)
        disk = self.web / 'worker.qcow2'
        if self.machines is not None:
            shutil.copy(worker.image(worker.Kind.AGENT), disk)
        else:
            disks.qcow2(disk, 'worker')
        batch = disks.raw(self.web / 'batch.raw', 'batch', 4)
        self.entries = [
            self._entry(disk, 'Worker node', 'qcow2'),
            self._entry(batch, 'Batch node', 'raw'),
        ]
        self.tell.say(
            f'{self.endorser.subject} answers for two images, signs a list '
            'of them with an X.509 certificate and puts all on a web server.'
        )
        self._serve('1', self.entries)
        for entry in self.entries:
            self.tell.answered(
                f'{entry.title}: {entry.size} bytes, sha512 '
                f'{entry.sha512[:32]}..., {entry.uri}'
            )
        code, found = self.operator.read(
            'list',
            'verify',
            str(self.list_file),
            '--trust-anchors',
            str(self.anchors),
        )
        self.tell.expect(
            code == 0 and found['code'] == 'ok',
            'a subscriber can verify the list',
            found,
        )

    def _entry(
        self, path: Path, title: str, format_: str
    ) -> imagelist.ImageEntry:
        return endorsers.make_image(
            path.read_bytes(),
            uri=f'{self.url}/{path.name}',
            title=title,
            description=f'{title} of the story',
            format=format_,
            os_name='Debian',
            os_version='12',
        )

    def _serve(
        self,
        version: str,
        images: list[imagelist.ImageEntry],
        signer: endorsers.Endorser | None = None,
        expires: datetime.datetime | None = None,
    ) -> None:
        """Put a list on the web server, in one moment."""
        signer = signer or self.endorser
        now = endorsers.now_utc()
        created = now - datetime.timedelta(seconds=30)
        if expires is not None:
            created = expires - datetime.timedelta(days=1)
        message = signer.sign(
            signer.make_list(
                self.list_id,
                version,
                images,
                created=created,
                expires=expires or now + datetime.timedelta(days=28),
            )
        )
        fresh = self.list_file.with_suffix('.new')
        fresh.write_bytes(message)
        fresh.replace(self.list_file)

    # Step 2

    def sync(self) -> None:
        """The list is believed, and approves nothing by itself."""
        self.tell.say(
            'The operator names the list and whom to believe in '
            'hepix_vm.conf. The rule "listed" approves no image by itself.'
        )
        self.config.write_text(
            f'[subscription:{NAME}]\n'
            f'url = {self.url}/{self.list_file.name}\n'
            f'list_identifier = {self.list_id}\n'
            f'endorser_subject = {self.endorser.subject}\n'
            f'endorser_issuer = {self.endorser.issuer}\n'
            f'trust_anchors = {self.anchors}\n'
            'approval = listed\n'
        )
        self.config.chmod(0o640)
        self.tell.answered(self.config.read_text())
        code, reports = self.operator.read('sync', NAME)
        self.tell.expect(
            code == 0 and reports[0]['outcome'] == 'accepted',
            'the list is accepted',
            reports,
        )
        self._expect_verdicts('not-approved', 'not-approved')
        status, message = self._import('mine', self._bytes(0), 'qcow2')
        self.tell.expect(
            status == 'queued' and 'not-approved' in message,
            'an import of these bytes is refused: not approved yet',
            (status, message),
        )

    def _bytes(self, index: int) -> bytes:
        name = self.entries[index].uri.rpartition('/')[2]
        return (self.web / name).read_bytes()

    def _expect_verdicts(self, *codes: str) -> None:
        _, images = self.operator.read('image', 'list', '--subscription', NAME)
        by_identifier = {image['identifier']: image for image in images}
        found = [by_identifier[e.identifier]['code'] for e in self.entries]
        self.tell.expect(
            found == list(codes), f'the images are {", ".join(codes)}', found
        )

    def _import(
        self, name: str, data: bytes, disk_format: str
    ) -> tuple[str, str]:
        image_id = self.user.upload(name, data, disk_format)
        return self.user.imported(image_id)

    # Step 3

    def approve(self) -> None:
        """The approved image goes the way of every image into Glance."""
        first = self.entries[0]
        code, _ = self.operator.read(
            'image', 'approve', first.identifier, '--reason', 'tried it'
        )
        self.tell.expect(code == 0, 'the operator approves one image', code)
        self._expect_verdicts('approved', 'not-approved')
        code, results = self.operator.read('publish')
        mine = [r for r in results if r['identifier'] == first.identifier]
        self.tell.expect(
            code == 0 and [r['outcome'] for r in mine] == ['published'],
            'it is published',
            results,
        )
        self.published = mine[0]['image_id']
        shown = self.user.ask(
            'image', 'GET', f'/v2/images/{self.published}'
        ).json()
        self.tell.expect(
            shown['status'] == 'active'
            and shown['os_hash_value'] == first.sha512,
            'Glance has it, with the endorsed hash',
            shown,
        )
        code, results = self.operator.read('publish')
        mine = [r for r in results if r['identifier'] == first.identifier]
        self.tell.expect(
            [r['outcome'] for r in mine] == ['present'],
            'publishing again makes no second copy',
            results,
        )
        if self.machines is not None:
            self.wanted = self.machines.prepare()
        self.server, status, fault = self.user.booted(
            self.user.boot('story-endorsed', self.published, **self.wanted)
        )
        self.tell.expect(
            status == 'ACTIVE', 'a user boots it', (status, fault)
        )

    # Step 4

    def judge(self) -> None:
        """Bytes are recognised; nothing else helps."""
        endorsed = self._bytes(0)
        status, message = self._import('by hand', endorsed, 'qcow2')
        self.tell.expect(
            status == 'active',
            'the same bytes from a user are recognised by content',
            (status, message),
        )
        changed = bytearray(endorsed)
        changed[-1] ^= 1
        unknown = disks.qcow2(self.folder / 'unknown.qcow2', 'unknown')
        batch = self.entries[1]
        self.operator.read(
            'image', 'approve', batch.identifier, '--reason', 'for a moment'
        )
        code, _ = self.operator.read(
            'image', 'block', batch.identifier, '--reason', 'a bad kernel'
        )
        self.tell.expect(code == 0, 'the operator blocks the other', code)
        for title, data, format_, reason in (
            ('one changed bit', bytes(changed), 'qcow2', 'not-endorsed'),
            ('unknown bytes', unknown.read_bytes(), 'qcow2', 'not-endorsed'),
            ('the blocked image', self._bytes(1), 'raw', 'blocked'),
            ('a truncated file', endorsed[:-512], 'qcow2', 'not-endorsed'),
        ):
            status, message = self._import(title, data, format_)
            self.tell.expect(
                status == 'queued' and reason in message,
                f'{title}: refused, {reason}',
                (status, message),
            )

    # Step 5

    def around(self) -> None:
        """The old upload call runs no plugin: policy closes it to users."""
        refused = self._slip_in(self.user)[1]
        self.tell.expect(
            refused == 403,
            "a user's PUT /file is refused by the shipped policy",
            refused,
        )
        image_id, accepted = self._slip_in(self.admin, visibility='public')
        self.tell.expect(
            accepted == 204,
            'an administrator slips an image in that way',
            accepted,
        )
        shown = self.user.ask(
            'image', 'GET', f'/v2/images/{image_id}', show=False
        ).json()
        self.tell.expect(
            shown['status'] == 'active', 'it is active', shown['status']
        )
        answer = self.user.boot('story-slipped-in', image_id)
        self.tell.expect(
            answer.status_code == 403 and 'no-record' in answer.text,
            "Nova's API refuses it, and says why",
            answer.text,
        )

    def _slip_in(
        self, person: asked.Person, visibility: str = 'private'
    ) -> tuple[str, int]:
        created = person.ask(
            'image',
            'POST',
            '/v2/images',
            show=False,
            json={
                'name': 'slipped in',
                'disk_format': 'qcow2',
                'container_format': 'bare',
                'visibility': visibility,
            },
        )
        image_id = str(created.json()['id'])
        answer = person.ask(
            'image',
            'PUT',
            f'/v2/images/{image_id}/file',
            data=self._bytes(0),
            headers={'Content-Type': 'application/octet-stream'},
        )
        return image_id, answer.status_code

    # Step 6

    def context(self) -> None:
        """What a guest would get at 169.254.169.254."""
        path = '/context/default.tgz.b64'
        status, body = self._metadata(path, self.server)
        self.tell.expect(status == 200, 'a signed request is answered', status)
        tgz = base64.b64decode(body)
        with tarfile.open(fileobj=io.BytesIO(gzip.decompress(tgz))) as archive:
            names = archive.getnames()
            prolog = archive.extractfile('prolog.sh')
            content = prolog.read().decode() if prolog else ''
        self.tell.answered('\n'.join(names))
        self.tell.expect(
            {'prolog.sh', 'epilog.sh'} <= set(names)
            and content == hepix.PROLOG,
            "the tarball has the site's scripts",
            names,
        )
        status, body = self._metadata(path, self.server, secret='wrong')
        self.tell.expect(
            status == 403 and not body.strip(),
            'a request with a wrong signature is refused',
            status,
        )
        if self.machines is not None:
            self._in_the_machine(self.machines)

    def _in_the_machine(self, machine: machines.Machines) -> None:
        """The machine itself has asked at 169.254.169.254 and says so."""
        self.tell.say(
            'The image has the agent in it. The machine has found the '
            'metadata service through its network, run what the user gave '
            'it, and then what the site has for it.'
        )
        digest = machine.expect_context(self.server)
        end = time.monotonic() + asked.PATIENCE
        mine: list[dict[str, object]] = []
        # What was fetched is written down now and then.
        while not mine and time.monotonic() < end:
            rows = self.operator.read('context', 'status')[1]
            mine = [
                row
                for row in rows
                if row['server'] == self.server and row['told'] == 'ran'
            ]
        self.tell.expect(
            [row['sha256'] for row in mine] == [digest],
            'the site knows which context ran in it',
            mine,
        )

    def _metadata(
        self, path: str, server: str, secret: str | None = None
    ) -> tuple[int, bytes]:
        status, body = asked.metadata(
            self.cloud, path, server, self.user.project, secret
        )
        self.tell.asked(f'guest: curl http://169.254.169.254{path}')
        self.tell.answered(
            f'{status}, {len(body)} bytes, sha256 '
            f'{hashlib.sha256(body).hexdigest()[:16]}...'
        )
        return status, body

    # Step 7

    def withdraw(self) -> None:
        """A withdrawal acts; what cannot be believed does not."""
        self.tell.say(
            'The endorser publishes version 2 of the list, without the '
            'worker node.'
        )
        self._serve('2', self.entries[1:])
        done = self.operator.run('sync', NAME)
        self.tell.expect(
            self.server in done.stderr,
            'the sync reports the server that still runs',
            done.stderr,
        )
        self._expect_status(
            'deactivated', 'the image is deactivated in Glance'
        )
        answer = self.user.boot('story-withdrawn', self.published)
        # Nova itself has 400 for it, before a guard has seen the withdrawal.
        self.tell.expect(
            answer.status_code in (400, 403), 'it cannot be booted', answer
        )
        servers = self.operator.read('server', 'list', '--not-approved')[1]
        self.tell.expect(
            self.server in {row['server'] for row in servers},
            'the operator sees what still runs',
            servers,
        )
        if self.machines is not None:
            self._told_to_end(self.machines)
        self._reactivated()
        self._anyway()
        self._disbelieved()

    def _told_to_end(self, machine: machines.Machines) -> None:
        line = 'worker: jobfeatures/shutdowntime_job ([0-9]+)[\r\n]'
        at = int(machine.says(self.server, line)[1])
        self.tell.answered(f'console: $JOBFEATURES/shutdowntime_job is {at}')
        self.tell.expect(
            at > time.time(),
            'its jobs read in a file when the machine has to end',
            at,
        )

    def _reactivated(self) -> None:
        answer = self.admin.ask(
            'image', 'POST', f'/v2/images/{self.published}/actions/reactivate'
        )
        self.tell.expect(
            answer.status_code == 204,
            'an administrator reactivates the image by hand',
            answer.status_code,
        )
        answer = self.user.boot('story-reactivated', self.published)
        self.tell.expect(
            answer.status_code == 403 and 'withdrawn' in answer.text,
            'our guard still refuses it',
            answer.text,
        )
        self.operator.run('sync', NAME)
        self._expect_status(
            'deactivated', 'the next sync deactivates it again'
        )

    def _anyway(self) -> None:
        """The site runs the image for a while all the same."""
        until = datetime.datetime.now(datetime.UTC) + datetime.timedelta(
            hours=1
        )
        code, allowed = self.operator.read(
            'image',
            'run-anyway',
            self.published,
            '--until',
            until.strftime('%Y-%m-%dT%H:%M:%SZ'),
            '--reason',
            'a campaign has to end',
        )
        self.tell.expect(
            code == 0 and self.published in allowed['restored'],
            'the operator lets it run for an hour although it was withdrawn',
            allowed,
        )
        self.operator.run('sync', NAME)
        self._expect_status('active', 'the next sync reactivates it')
        status, fault = self.user.booted(
            self.user.boot('story-anyway', self.published, **self.wanted)
        )[1:]
        self.tell.expect(status == 'ACTIVE', 'it boots', (status, fault))
        self.operator.read('image', 'run-anyway', self.published, '--end')
        self.operator.run('sync', NAME)
        self._expect_status('deactivated', 'ended, it is deactivated again')

    def _expect_status(self, status: str, claim: str) -> None:
        shown = self.admin.ask(
            'image', 'GET', f'/v2/images/{self.published}', show=False
        ).json()
        self.tell.expect(shown['status'] == status, claim, shown['status'])

    def _disbelieved(self) -> None:
        """Three lists that are not believed, and change nothing."""
        stranger = endorsers.Endorser.create(name='Mallory Stranger')
        stranger.write_trust_anchors(self.anchors)
        past = endorsers.now_utc() - datetime.timedelta(days=1)
        _, before = self.operator.read('subscription', 'show', NAME)
        for title, code, serve in (
            (
                'signed by somebody else',
                'endorser-mismatch',
                lambda: self._serve('3', self.entries, signer=stranger),
            ),
            (
                'expired',
                'list-expired',
                lambda: self._serve('3', self.entries, expires=past),
            ),
            (
                'rolled back',
                'rollback',
                lambda: self._serve('1', self.entries),
            ),
        ):
            # Web servers date a file to the second.
            time.sleep(1.1)
            serve()
            status, reports = self.operator.read('sync', NAME)
            self.tell.expect(
                status == 1
                and reports[0]['outcome'] == 'refused'
                and reports[0]['code'] == code,
                f'a list that is {title} is refused: {code}',
                reports,
            )
            _, after = self.operator.read('subscription', 'show', NAME)
            self.tell.expect(
                (after['version'], after['payload_sha256'], after['standing'])
                == ('2', before['payload_sha256'], 'trusted'),
                'the list of before stands',
                after,
            )
