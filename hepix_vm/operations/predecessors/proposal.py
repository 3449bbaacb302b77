# SPDX-License-Identifier: Apache-2.0
"""What a predecessor keeps, as groups of a configuration file.

A proposal: an operator reads it, decides, and puts it into hepix_vm.conf.
What a predecessor or a server wrote is data of that file, never syntax: it
stands behind an option's name where it was checked, or in a comment.
"""

from __future__ import annotations

from collections.abc import Iterable
from collections.abc import Mapping
import dataclasses
import re
import textwrap
import urllib.parse
import uuid

from hepix_vm.operations.predecessors import values

#: Characters of a subscription's name at most.
_LONGEST_NAME = 64
#: Last parts of URLs that say nothing about a list.
_GENERIC = re.compile(r'(image|images|list|lists|imagelist|index)', re.I)
#: A common name that is a host's, in either form of a DN.
_HOST = re.compile(r'(^|[/,])CN=(host/)?[^/,= ]+\.[A-Za-z]{2,}($|[/,])')
_ENDINGS = re.compile(r'\.(list|smime|json|txt|signed|p7m|eml|mime)$', re.I)


@dataclasses.dataclass(frozen=True, slots=True)
class Claim:
    """What a fetched list says of itself; nobody has verified it.

    :ivar endorsers: subject and issuer DN of each
    :ivar problem: why there is nothing to show, or ''
    """

    identifier: str = ''
    version: str = ''
    endorsers: tuple[tuple[str, str], ...] = ()
    signed: bool = False
    problem: str = ''


@dataclasses.dataclass(frozen=True, slots=True)
class Group:
    """One list of the predecessor under the name that is proposed."""

    name: str
    followed: values.Followed
    claim: Claim | None = None


def named(
    followed: Iterable[values.Followed], taken: Iterable[str]
) -> tuple[tuple[str, values.Followed], ...]:
    """Each list with a name that the configuration takes.

    :param taken: names of groups that are there already
    """
    used = {name.lower() for name in taken}
    found = []
    for item in followed:
        stem = _stem(item)
        name, number = stem, 1
        while name.lower() in used:
            number += 1
            ending = f'-{number}'
            name = stem[: _LONGEST_NAME - len(ending)] + ending
        used.add(name.lower())
        found.append((name, item))
    return tuple(found)


def _stem(item: values.Followed) -> str:
    """A name from the predecessor's own, or from the URL."""
    parts = urllib.parse.urlsplit(item.url)
    path = [part for part in parts.path.split('/') if part]
    candidates = [
        _ENDINGS.sub('', part)
        for part in reversed(path)
        if not _GENERIC.fullmatch(_ENDINGS.sub('', part))
    ]
    for candidate in (item.name, *candidates, parts.hostname or ''):
        name = re.sub('[^A-Za-z0-9_.-]+', '-', candidate).strip('-_.')
        if name:
            return name[:_LONGEST_NAME]
    return 'list'


def render(
    predecessor: values.Predecessor,
    groups: Iterable[Group],
    followed_already: Mapping[str, str],
) -> str:
    """The proposal as a configuration file.

    :param followed_already: names of configured subscriptions, by list
        identifier
    """
    lines = _head(predecessor)
    for group in groups:
        lines += _group(predecessor.name, group, followed_already)
    for left_out in predecessor.left_out:
        lines += [
            '',
            *_comment(f'Left out: {left_out.label}: {left_out.reason}.'),
        ]
    return '\n'.join(lines) + '\n'


def _head(predecessor: values.Predecessor) -> list[str]:
    name = predecessor.name
    lines = _comment(
        f'Proposed from what {name} keeps. Read it, decide, put it into '
        'hepix_vm.conf (owned by root, not writable by others), run '
        '"hepix-vm sync" and approve images.'
    )
    lines += _comment(
        'To decide for each list: whether this site still trusts its '
        'endorser; which directory of CAs may certify him (trust_anchors, '
        'with current CRLs); which images are approved (approval) and for '
        'whom (projects).'
    )
    for title, sentences in (
        (f'Insecure with {name}:', predecessor.insecure),
        (f'Without an equivalent of {name}:', predecessor.no_equivalent),
    ):
        if sentences:
            lines += ['#', *_comment(title)]
            for sentence in sentences:
                lines += _comment(sentence, '# - ', '#   ')
    return lines


def _group(
    tool: str, group: Group, followed_already: Mapping[str, str]
) -> list[str]:
    item = group.followed
    lines = ['', *_comment(f'{tool}: {item.label}')]
    already = followed_already.get(item.list_identifier or '')
    if already is not None:
        lines += _comment(
            f'[subscription:{already}] follows this list already: one of the '
            'two is enough.'
        )
    if item.seen is not None:
        lines += _comment(
            f'{tool} had accepted version {item.seen.version}, created '
            f'{item.seen.created:%Y-%m-%dT%H:%M:%SZ}. To have older lists '
            'refused from the first sync on, repeat the command with '
            '--apply-state once this group is in hepix_vm.conf.'
        )
    for note in item.notes:
        lines += _comment(f'Note: {note}.')
    lines += _claim(group.claim)
    lines += [f'[subscription:{group.name}]', _option('url', item.url)]
    lines += _identity(item)
    lines += _anchors(item)
    lines += _approval(tool, item)
    if item.projects:
        lines.append(_option('projects', ','.join(item.projects)))
    return lines + _secret(group.name, item)


def _identity(item: values.Followed) -> list[str]:
    lines = []
    if item.list_identifier is None:
        lines += _missing(
            'list_identifier',
            "the list's UUID (dc:identifier), as its endorser tells it",
        )
    else:
        lines.append(_option('list_identifier', item.list_identifier))
    if not item.endorsers:
        lines += _missing(
            'endorser_subject', "DN of the endorser's certificate"
        )
        return lines + _missing('endorser_issuer', 'DN of the CA of it')
    first, *others = item.endorsers
    if _HOST.search(first.subject):
        lines += _comment(
            'Its endorser looks like a server. Should the list be refused for '
            "its certificate's purpose: see accept_server_certificates."
        )
    lines.append(_option('endorser_subject', first.subject))
    lines.append(_option('endorser_issuer', first.issuer))
    if others:
        lines += _comment('Each of these could sign, too:')
    for other in others:
        if '|' in other.subject or '|' in other.issuer:
            lines += _comment(
                f'{other.subject} (a "|" cannot be written in co_endorsers)'
            )
            continue
        lines.append(
            _option('co_endorsers', f'{other.subject} | {other.issuer}')
        )
    return lines


def _missing(option: str, what: str) -> list[str]:
    """An option that only the operator can fill in."""
    return [f'# {option} = FILL IN: {what}']


def _anchors(item: values.Followed) -> list[str]:
    found = item.trust_anchors
    if found is None or not found.isprintable():
        return [_option('trust_anchors', values.ANCHORS)]
    return [_option('trust_anchors', found.rstrip('/') or '/')]


def _approval(tool: str, item: values.Followed) -> list[str]:
    lines = []
    if item.takes_all:
        lines += _comment(
            f'{tool} took every image, also those that come later; '
            '"approval = all" is the same.'
        )
    lines.append(_option('approval', 'listed'))
    if item.images:
        lines += _comment(
            f'{tool} used these images; once the list is accepted:'
        )
    for image in item.images:
        try:
            lines.append(f'#   hepix-vm image approve {uuid.UUID(image)}')
        except ValueError:
            lines += _comment(f'({image} is no UUID)', '#   ')
    return lines


def _secret(name: str, item: values.Followed) -> list[str]:
    if item.secret is None:
        return []
    file = f'/etc/hepix_vm/{name}.secret'
    lines = _comment(
        f'Its server asked for a secret, which is not shown here: '
        f'{item.secret.place}. Write it as one line, {item.secret.form}, into '
        'this file, readable by its account only.'
    )
    if not item.url.startswith('https:'):
        lines += _comment(
            'A secret is shown over https only, and this URL is not; ask '
            'for another one, then take the "#" off.'
        )
        return [*lines, f'# {_option("token_file", file)}']
    return [*lines, _option('token_file', file)]


def _claim(claim: Claim | None) -> list[str]:
    if claim is None:
        return []
    if claim.problem:
        return _comment(f'The list could not be shown: {claim.problem}')
    lines = _comment(
        'NOT VERIFIED, anybody between here and the server may have written '
        'it: the list that was fetched claims what follows. Check each line '
        'by another way (the endorser, a GGUS ticket, the CA) before you '
        'use it.'
    )
    claims = [
        ('list_identifier', claim.identifier),
        ('version', claim.version),
    ]
    for subject, issuer in claim.endorsers:
        claims += [('endorser_subject', subject), ('endorser_issuer', issuer)]
    # Whole, for they are compared.
    lines += [f'#   claims {name} {_clean(text)}' for name, text in claims]
    if not claim.signed:
        lines += _comment(
            'It carries no signature: it will be refused until its endorser '
            'signs it.'
        )
    return lines


def _option(name: str, value: str) -> str:
    """A line that oslo.config reads as exactly this value."""
    # Not '$$': behind a backslash of the value that would be read otherwise.
    value = value.replace('$', r'\$')
    if len(value) > 1 and value[0] == value[-1] and value[0] in '"\'':
        quote = '"' if value[0] == "'" else "'"
        value = f'{quote}{value}{quote}'
    return f'{name} = {value}'


def _clean(text: str) -> str:
    """A text that stays in its line."""
    return ''.join(c if c.isprintable() else '?' for c in text[:2000])


def _comment(text: str, first: str = '# ', following: str = '# ') -> list[str]:
    """Lines of a comment, whatever the text is."""
    return textwrap.wrap(
        _clean(text),
        76,
        initial_indent=first,
        subsequent_indent=following,
        break_long_words=False,
        break_on_hyphens=False,
    )
