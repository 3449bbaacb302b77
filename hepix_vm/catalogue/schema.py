# SPDX-License-Identifier: Apache-2.0
"""Tables of the catalogue.

Times are whole UNIX seconds. Every row that decisions depend on carries the
``revision`` of the transaction that last changed it; ``catalogue.number`` is
raised first in every writing transaction and its row lock puts writers in
line, so a reader that has seen revision N asks for rows above N only.
The migrations under ``migrations/`` are the authority; a test holds this
module against them.
"""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects import mysql

metadata = sa.MetaData(
    naming_convention={
        'ix': 'ix_%(table_name)s_%(column_0_N_name)s',
        'uq': 'uq_%(table_name)s_%(column_0_N_name)s',
        'fk': 'fk_%(table_name)s_%(column_0_N_name)s',
        'pk': 'pk_%(table_name)s',
    }
)

# Whatever the server's defaults are: transactions, every character of a list,
# and names that are equal only when they are the same.
_KIND: dict[str, Any] = {
    'mysql_engine': 'InnoDB',
    'mysql_charset': 'utf8mb4',
    'mysql_collate': 'utf8mb4_bin',
}
# SQLite counts up only a column of type INTEGER.
_ROW = sa.BigInteger().with_variant(sa.Integer, 'sqlite')
_BLOB = sa.LargeBinary().with_variant(mysql.LONGBLOB(), 'mysql')
_TEXT = sa.Text().with_variant(mysql.LONGTEXT(), 'mysql')
_NAME = sa.String(64)
_SHA512 = sa.String(128)
_SHA256 = sa.String(64)
_UUID = sa.String(36)

#: The cloud of group ``[openstack]``.
DEFAULT_CLOUD = 'default'

#: One row: which store this is, the newest revision, and the head and length
#: of the history's chain.
catalogue = sa.Table(
    'catalogue',
    metadata,
    sa.Column('id', sa.Integer, primary_key=True, autoincrement=False),
    sa.Column('store', _UUID, nullable=False),
    sa.Column('number', sa.BigInteger, nullable=False),
    sa.Column('history_sha256', _SHA256, nullable=False),
    sa.Column('history_length', sa.BigInteger, nullable=False),
    # What becomes of snapshots of servers: the site's word, as the last sync
    # read it.
    sa.Column(
        'children', sa.String(16), nullable=False, server_default='follow'
    ),
    **_KIND,
)

#: The newest revisions, each with a value that no other transaction has. A
#: store that lost its newest transactions, restored from a back-up or after
#: a crash of a server that does not write at once, reaches the same numbers
#: again; by its mark a reader tells that it has seen another one.
mark = sa.Table(
    'mark',
    metadata,
    sa.Column('number', sa.BigInteger, primary_key=True, autoincrement=False),
    sa.Column('value', _UUID, nullable=False),
    **_KIND,
)

#: Who may sync as a daemon: see ``lease``. Every write of a holder asks for
#: its fence number.
lease = sa.Table(
    'lease',
    metadata,
    sa.Column('name', _NAME, primary_key=True),
    sa.Column('holder', sa.String(255), nullable=False),
    sa.Column('fence', sa.BigInteger, nullable=False),
    sa.Column('beat', sa.BigInteger, nullable=False),
    sa.Column('at', sa.BigInteger, nullable=False),
    **_KIND,
)

#: The state of each subscription that was ever configured.
subscription = sa.Table(
    'subscription',
    metadata,
    sa.Column('name', _NAME, primary_key=True),
    sa.Column('revision', sa.BigInteger, nullable=False, index=True),
    sa.Column('configured', sa.Boolean, nullable=False),
    sa.Column('list_identifier', _UUID),
    sa.Column('list_version', sa.String(255)),
    sa.Column('created', sa.BigInteger),
    sa.Column('expires', sa.BigInteger),
    sa.Column('payload_sha256', _SHA256),
    sa.Column('list_id', _ROW),
    sa.Column('standing', sa.String(16), nullable=False),
    sa.Column('verified_at', sa.BigInteger),
    sa.Column('max_age', sa.BigInteger, nullable=False),
    sa.Column('projects', _TEXT),
    sa.Column('last_attempt', sa.BigInteger),
    sa.Column('last_code', sa.String(64)),
    sa.Column('last_detail', _TEXT),
    sa.Column('etag', sa.String(255)),
    sa.Column('last_modified', sa.String(255)),
    sa.Column('reset_at', sa.BigInteger),
    # Failed attempts in a row, and when the daemon tries next.
    sa.Column('failures', sa.Integer, nullable=False, server_default='0'),
    sa.Column('next_attempt', sa.BigInteger),
    # What the standing was found with (message, anchors, policy), and until
    # when the same look would find the same.
    sa.Column('judged_by', _SHA256),
    sa.Column('judged_until', sa.BigInteger),
    # The site's rules that the rows were last settled by.
    sa.Column('rules_sha256', _SHA256),
    # Whether images whose withdrawal waits go on running meanwhile.
    sa.Column(
        'held_run', sa.Boolean, nullable=False, server_default=sa.false()
    ),
    **_KIND,
)

#: Every list that was ever accepted or refused, with its signed message:
#: see ``kept``.
list_seen = sa.Table(
    'list_seen',
    metadata,
    sa.Column('id', _ROW, primary_key=True),
    sa.Column('subscription', _NAME, nullable=False, index=True),
    sa.Column('seen_at', sa.BigInteger, nullable=False),
    sa.Column('verdict', sa.String(16), nullable=False),
    sa.Column('code', sa.String(64), nullable=False),
    sa.Column('detail', _TEXT),
    sa.Column('message_sha256', _SHA256, nullable=False, index=True),
    sa.Column('message', _BLOB, nullable=False),
    sa.Column('list_identifier', _UUID),
    sa.Column('list_version', sa.String(255)),
    sa.Column('signers', _TEXT),
    # Bytes of the message, and whether they are still here.
    sa.Column('size', sa.BigInteger, nullable=False, server_default='0'),
    sa.Column('kept', sa.Boolean, nullable=False, server_default=sa.false()),
    sa.Index(
        'ix_list_seen_verdict_kept_seen_at', 'verdict', 'kept', 'seen_at'
    ),
    **_KIND,
)

#: One row for each (subscription, image, version, bytes) ever listed.
endorsement = sa.Table(
    'endorsement',
    metadata,
    sa.Column('id', _ROW, primary_key=True),
    sa.Column('revision', sa.BigInteger, nullable=False, index=True),
    sa.Column('subscription', _NAME, nullable=False),
    sa.Column('identifier', _UUID, nullable=False, index=True),
    sa.Column('version', sa.String(255), nullable=False),
    sa.Column('sha512', _SHA512, nullable=False, index=True),
    sa.Column('size', sa.BigInteger, nullable=False),
    sa.Column('expires', sa.BigInteger),
    sa.Column('approved', sa.Boolean, nullable=False),
    sa.Column('withdrawn', sa.Boolean, nullable=False),
    sa.Column('proven', sa.Boolean, nullable=False, server_default=sa.false()),
    sa.Column('first_seen', sa.BigInteger, nullable=False),
    # Since when its withdrawal waits for a confirmation.
    sa.Column('held_at', sa.BigInteger),
    # A newer version took its place: until when it counts all the same, so
    # that the newer one can be there first.
    sa.Column('replaced_until', sa.BigInteger),
    sa.Column('vo', sa.String(255)),
    sa.Column('title', _TEXT, nullable=False),
    sa.Column('uri', _TEXT, nullable=False),
    sa.Column('entry', _TEXT, nullable=False),
    sa.Index(
        'ix_endorsement_subscription_identifier', 'subscription', 'identifier'
    ),
    **_KIND,
)

#: Images that the operator approved by hand.
approval = sa.Table(
    'approval',
    metadata,
    sa.Column('id', _ROW, primary_key=True),
    sa.Column('subscription', _NAME, nullable=False),
    sa.Column('identifier', _UUID, nullable=False),
    sa.Column('sha512', _SHA512, nullable=False),
    sa.Column('at', sa.BigInteger, nullable=False),
    sa.Column('who', sa.String(255), nullable=False),
    sa.Column('reason', _TEXT, nullable=False),
    sa.UniqueConstraint('subscription', 'identifier'),
    **_KIND,
)

#: Image identifiers and SHA-512 values that the site does not want.
block = sa.Table(
    'block',
    metadata,
    sa.Column('target', _SHA512, primary_key=True),
    sa.Column('revision', sa.BigInteger, nullable=False, index=True),
    sa.Column('active', sa.Boolean, nullable=False),
    sa.Column('at', sa.BigInteger, nullable=False),
    sa.Column('who', sa.String(255), nullable=False),
    sa.Column('reason', _TEXT, nullable=False),
    **_KIND,
)

#: SHA-512 values that the site runs although their endorsement has ended.
run_anyway = sa.Table(
    'run_anyway',
    metadata,
    sa.Column('sha512', _SHA512, primary_key=True),
    sa.Column('revision', sa.BigInteger, nullable=False, index=True),
    sa.Column('until', sa.BigInteger, nullable=False),
    sa.Column('at', sa.BigInteger, nullable=False),
    sa.Column('who', sa.String(255), nullable=False),
    sa.Column('reason', _TEXT, nullable=False),
    **_KIND,
)

#: What the import plugins recorded of each Glance image. Never deleted by
#: a withdrawal: servers are found through it.
glance_record = sa.Table(
    'glance_record',
    metadata,
    sa.Column('image_id', _UUID, primary_key=True),
    sa.Column('revision', sa.BigInteger, nullable=False, index=True),
    sa.Column('state', sa.String(16), nullable=False, index=True),
    sa.Column('task_id', _UUID, nullable=False),
    sa.Column('project', sa.String(255), nullable=False),
    sa.Column('sha512', _SHA512, nullable=False, index=True),
    sa.Column('size', sa.BigInteger, nullable=False),
    sa.Column('final_sha512', _SHA512, nullable=False),
    sa.Column('final_size', sa.BigInteger, nullable=False),
    sa.Column('created_at', sa.BigInteger, nullable=False),
    sa.Column('recorded_at', sa.BigInteger, nullable=False),
    sa.Column('reason', sa.String(64), nullable=False),
    # Whether it was positive when the sync withdrew it.
    sa.Column(
        'was_positive', sa.Boolean, nullable=False, server_default=sa.false()
    ),
    # When the sync deactivated the image itself; see ``glance.withdraw``.
    sa.Column('deactivated_at', sa.BigInteger),
    # How the stored bytes were made of the endorsed ones; '': they are the
    # same.
    sa.Column('step', sa.String(64), nullable=False, server_default=''),
    # What of the image changes how it boots, as ``catalogue.boot`` keeps it;
    # NULL: nobody looked.
    sa.Column('boot', _TEXT),
    # Glance id of the approved image whose server this is a snapshot of; ''
    # for an image that came in by import.
    sa.Column('parent', _UUID, nullable=False, server_default='', index=True),
    **_KIND,
)

#: Images that Nova has made for a snapshot and not filled yet: which image's
#: server they are of. A row ends with the record that it leads to.
lineage = sa.Table(
    'lineage',
    metadata,
    sa.Column('image_id', _UUID, primary_key=True),
    sa.Column('parent', _UUID, nullable=False),
    sa.Column('server', _UUID, nullable=False),
    sa.Column('project', sa.String(255), nullable=False),
    # The image's creation time in Glance, and what Nova said then of how it
    # boots.
    sa.Column('created_at', sa.BigInteger, nullable=False),
    sa.Column('boot', _TEXT, nullable=False),
    sa.Column('at', sa.BigInteger, nullable=False, index=True),
    **_KIND,
)

#: Glance images that are ours: this suite published or adopted them. What is
#: ours is known by these rows alone; see ``publications``.
publication = sa.Table(
    'publication',
    metadata,
    sa.Column('image_id', _UUID, primary_key=True),
    sa.Column('cloud', _NAME, nullable=False, server_default=DEFAULT_CLOUD),
    sa.Column('subscription', _NAME, nullable=False),
    sa.Column('identifier', _UUID, nullable=False),
    sa.Column('version', sa.String(255), nullable=False),
    sa.Column('sha512', _SHA512, nullable=False),
    sa.Column('state', sa.String(16), nullable=False),
    sa.Column('at', sa.BigInteger, nullable=False),
    # When it was released to users, and when it was taken from them.
    sa.Column('published_at', sa.BigInteger),
    sa.Column('retired_at', sa.BigInteger),
    # '', waiting, passed or failed; with what the console or script said.
    sa.Column('quarantine', sa.String(16), nullable=False, server_default=''),
    sa.Column('quarantine_detail', _TEXT),
    # When its members were last compared with the mapping, and what the
    # mapping was.
    sa.Column('members_at', sa.BigInteger),
    sa.Column('members_sha256', _SHA256),
    sa.Index('ix_publication_sha512', 'sha512'),
    sa.Index(
        'ix_publication_cloud_subscription_identifier',
        'cloud',
        'subscription',
        'identifier',
    ),
    **_KIND,
)

#: Why the newest version of an image is not published where it should be.
publication_problem = sa.Table(
    'publication_problem',
    metadata,
    sa.Column('cloud', _NAME, primary_key=True),
    sa.Column('subscription', _NAME, primary_key=True),
    sa.Column('identifier', _UUID, primary_key=True),
    sa.Column('version', sa.String(255), nullable=False),
    sa.Column('at', sa.BigInteger, nullable=False),
    sa.Column('detail', _TEXT, nullable=False),
    **_KIND,
)

#: Bytes that this site made of endorsed ones without changing the disk that
#: they hold. Their word is that of the endorsed ones, of which there may be
#: several: compressed once more, a disk is another file with the same disk.
derived = sa.Table(
    'derived',
    metadata,
    sa.Column('sha512', _SHA512, primary_key=True),
    sa.Column('origin_sha512', _SHA512, primary_key=True, index=True),
    sa.Column('revision', sa.BigInteger, nullable=False, index=True),
    sa.Column('size', sa.BigInteger, nullable=False),
    sa.Column('origin_size', sa.BigInteger, nullable=False),
    sa.Column('step', sa.String(64), nullable=False),
    sa.Column('at', sa.BigInteger, nullable=False),
    **_KIND,
)

#: Glance images that nobody but the site may boot, and in one project only,
#: until they have shown that they do; see ``quarantine``.
quarantine = sa.Table(
    'quarantine',
    metadata,
    sa.Column('image_id', _UUID, primary_key=True),
    sa.Column('revision', sa.BigInteger, nullable=False, index=True),
    sa.Column('cloud', _NAME, nullable=False),
    # Id of the project that the site boots it in.
    sa.Column('project', sa.String(255), nullable=False),
    sa.Column('held', sa.Boolean, nullable=False),
    # Name of the server that a boot makes, written before Nova is asked; ''
    # when no such server is left.
    sa.Column('server', sa.String(64), nullable=False, server_default=''),
    sa.Column('at', sa.BigInteger, nullable=False),
    **_KIND,
)

#: Which servers were last found to run from a withdrawn image, so that a
#: change is told once: JSON; see the module of that name.
withdrawn_use = sa.Table(
    'withdrawn_use',
    metadata,
    sa.Column('cloud', _NAME, primary_key=True),
    sa.Column('image_id', _UUID, primary_key=True),
    sa.Column('at', sa.BigInteger, nullable=False),
    sa.Column('servers', _TEXT, nullable=False),
    **_KIND,
)

#: Which images hosts were last asked to fetch beforehand, and when.
precached = sa.Table(
    'precached',
    metadata,
    sa.Column('cloud', _NAME, primary_key=True),
    sa.Column('aggregate', sa.String(255), primary_key=True),
    sa.Column('image_id', _UUID, primary_key=True),
    sa.Column('at', sa.BigInteger, nullable=False),
    **_KIND,
)

#: What others are to be told of, written together with what they are told;
#: see ``notices``. A channel's column is NULL until it has been told, and 0
#: when it was not to be told.
notice = sa.Table(
    'notice',
    metadata,
    sa.Column('id', _ROW, primary_key=True),
    sa.Column('at', sa.BigInteger, nullable=False, index=True),
    sa.Column('kind', sa.String(64), nullable=False),
    sa.Column('subject', sa.String(255), nullable=False),
    sa.Column('payload', _TEXT, nullable=False),
    sa.Column('hook_at', sa.BigInteger, index=True),
    sa.Column('message_at', sa.BigInteger, index=True),
    sa.Column('mail_at', sa.BigInteger, index=True),
    **_KIND,
)

#: How each way of telling others fares, and who tells by it at present; see
#: ``channels``.
channel = sa.Table(
    'channel',
    metadata,
    sa.Column('name', _NAME, primary_key=True),
    # Failed attempts in a row, the last one's cause, and when to try next.
    sa.Column('failures', sa.Integer, nullable=False),
    sa.Column('problem', _TEXT, nullable=False),
    sa.Column('next_attempt', sa.BigInteger),
    sa.Column('told_at', sa.BigInteger),
    # Notices that nobody was told of, and when that was seen last.
    sa.Column('given_up', sa.BigInteger, nullable=False),
    sa.Column('given_up_at', sa.BigInteger),
    sa.Column('claim', _UUID),
    sa.Column('claimed_until', sa.BigInteger),
    **_KIND,
)

#: How the last run of each job ended; see ``runs``.
run = sa.Table(
    'run',
    metadata,
    sa.Column('name', _NAME, primary_key=True),
    sa.Column('started_at', sa.BigInteger, nullable=False),
    sa.Column('ended_at', sa.BigInteger, nullable=False),
    sa.Column('ok', sa.Boolean, nullable=False),
    sa.Column('detail', _TEXT, nullable=False),
    **_KIND,
)

#: The CRLs in use, by anchor directory: see ``revocations``.
crl = sa.Table(
    'crl',
    metadata,
    sa.Column('directory_sha256', _SHA256, primary_key=True),
    sa.Column('sha256', _SHA256, primary_key=True),
    sa.Column('der', _BLOB, nullable=False),
    **_KIND,
)

#: What each instance fetched of its context, and what it said of running it.
#: A row counts its repetitions; see ``context_fetches``.
context_fetches = sa.Table(
    'context_fetches',
    metadata,
    sa.Column('instance', _UUID, primary_key=True),
    # Name of a form, ``ran``, ``failed`` or ``feature``.
    sa.Column('what', _NAME, primary_key=True),
    # Of the uncompressed tar; '' where there is none.
    sa.Column('sha256', _SHA256, primary_key=True),
    # The newest generation that these bytes were handed out as; 0: the site
    # directory as it is.
    sa.Column('serial', sa.BigInteger, nullable=False),
    sa.Column('project', sa.String(255), nullable=False),
    sa.Column('first_at', sa.BigInteger, nullable=False),
    sa.Column('last_at', sa.BigInteger, nullable=False, index=True),
    sa.Column('times', sa.BigInteger, nullable=False),
    **_KIND,
)

#: Processes that write the table above, and how many notes of theirs never
#: got there. One that ended well has closed its row; an open one that is not
#: seen any more ended with notes in its memory.
context_lost = sa.Table(
    'context_lost',
    metadata,
    sa.Column('process', sa.String(255), primary_key=True),
    sa.Column('since', sa.BigInteger, nullable=False),
    sa.Column('seen_at', sa.BigInteger, nullable=False),
    sa.Column('open', sa.Boolean, nullable=False),
    sa.Column('lost', sa.BigInteger, nullable=False),
    **_KIND,
)

#: Orders to end: when a host or a server goes away.
context_drains = sa.Table(
    'context_drains',
    metadata,
    # ``host`` or ``server``, with the name of the one or the other's uuid.
    sa.Column('kind', sa.String(16), primary_key=True),
    sa.Column('name', sa.String(255), primary_key=True),
    sa.Column('at', sa.BigInteger, nullable=False),
    sa.Column('set_at', sa.BigInteger, nullable=False),
    sa.Column('by', sa.String(255), nullable=False),
    # Whether it leaves servers less time than they were promised.
    sa.Column('forced', sa.Boolean, nullable=False),
    **_KIND,
)

#: What compute hosts have, as Nova and Placement said it last; NULL where
#: they did not.
context_hosts = sa.Table(
    'context_hosts',
    metadata,
    sa.Column('host', sa.String(255), primary_key=True),
    sa.Column('total_cpu', sa.Integer),
    sa.Column('cpu_model', _TEXT),
    # JSON: names of host aggregates.
    sa.Column('aggregates', _TEXT, nullable=False),
    sa.Column('hypervisor_type', _NAME),
    sa.Column('seen_at', sa.BigInteger, nullable=False),
    **_KIND,
)

#: Append-only: who did what, when and why. Each row's digest covers the row
#: before it: see ``chain``.
history = sa.Table(
    'history',
    metadata,
    sa.Column('id', _ROW, primary_key=True),
    sa.Column('at', sa.BigInteger, nullable=False, index=True),
    sa.Column('who', sa.String(255), nullable=False),
    sa.Column('event', sa.String(64), nullable=False),
    sa.Column('subject', sa.String(255), nullable=False),
    sa.Column('detail', _TEXT, nullable=False),
    sa.Column('sha256', _SHA256, nullable=False),
    sa.Index('ix_history_event_at', 'event', 'at'),
    sa.Index('ix_history_subject_at', 'subject', 'at'),
    sa.Index('ix_history_subject_event_at', 'subject', 'event', 'at'),
    **_KIND,
)
