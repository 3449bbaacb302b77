# SPDX-License-Identifier: Apache-2.0
"""Entries of a StratusLab marketplace, and the image list that one makes.

An entry is RDF/XML: what its endorser says of one image, signed as a whole.
A marketplace shows one entry as ``rdf:RDF`` and several as ``metadata`` with
one ``rdf:RDF`` each. The newest entry of an endorser for an image counts; one
that is *deprecated* takes the image back. Entries with one *alternative*
identifier (a tag) are versions of one image.

Needs ``lxml``, so nothing else here imports this module. The rules are those
of ``doc/source/admin/sources.rst``.
"""

from __future__ import annotations

from collections.abc import Iterator
import dataclasses
import datetime
import uuid

from lxml import etree

from hepix_vm import errors
from hepix_vm.imagelist import fields
from hepix_vm.imagelist import model

_RDF = '{http://www.w3.org/1999/02/22-rdf-syntax-ns#}'
_DC = '{http://purl.org/dc/terms/}'
_REQUIRED = '{http://mp.stratuslab.eu/slreq#}'
_TERMS = '{http://mp.stratuslab.eu/slterms#}'

#: Namespaces (RFC 9562, section 6.6) of the identifiers that we derive.
_LISTS = uuid.uuid5(uuid.NAMESPACE_URL, 'http://mp.stratuslab.eu/#list')
_IMAGES = uuid.uuid5(uuid.NAMESPACE_URL, 'http://mp.stratuslab.eu/#image')

#: A deprecation does not expire; the certificate that signed it does.
NEVER = datetime.datetime(9999, 12, 31, 23, 59, 59, tzinfo=datetime.UTC)

#: Where images may come from; ``pdisk:`` and others are the clouds' own.
_FETCHED = ('http:', 'https:', 'oci:', 'oci+http:')
_LONGEST = 16_384


@dataclasses.dataclass(frozen=True, slots=True)
class Key:
    """What an entry is about.

    :ivar identifier: StratusLab's, derived from the image's SHA-1
    :ivar tag: the alternative identifier; '' if there is none
    :ivar email: of the endorser, as the entry says
    :ivar created: when the endorsement was made, UTC
    """

    identifier: str
    tag: str
    email: str
    created: datetime.datetime


def load(content: bytes) -> etree._Element:
    """The root of an XML document.

    :raises hepix_vm.errors.InvalidList: not XML, or with a document type:
        nothing is expanded, nothing fetched
    """
    parser = etree.XMLParser(
        resolve_entities=False, no_network=True, load_dtd=False
    )
    try:
        root = etree.fromstring(content, parser)
    except (etree.XMLSyntaxError, ValueError) as error:
        raise errors.InvalidList('/', 'XML', str(error)[:200]) from None
    if root.getroottree().docinfo.doctype:
        raise errors.InvalidList('/', 'XML without a document type', 'one')
    return root


def entries(root: etree._Element) -> Iterator[etree._Element]:
    """The entries of a document, of one or of several."""
    if root.tag == f'{_RDF}RDF':
        yield root
    elif root.tag == 'metadata':
        yield from root.findall(f'{_RDF}RDF')
    else:
        raise errors.InvalidList(
            '/', 'rdf:RDF, or metadata with several', str(root.tag)[:200]
        )


def key(entry: etree._Element) -> Key:
    """What an entry is about.

    :raises hepix_vm.errors.InvalidList: it does not say so, once
    """
    body = _one(entry, f'{_RDF}Description')
    endorsement = _one(body, f'{_REQUIRED}endorsement')
    endorser = _one(endorsement, f'{_REQUIRED}endorser')
    return Key(
        _need(body, f'{_DC}identifier'),
        _text(body, f'{_DC}alternative'),
        _need(endorser, f'{_REQUIRED}email'),
        _moment(endorsement, f'{_DC}created'),
    )


def list_identifiers(about: Key, endorser: str) -> tuple[str, ...]:
    """The list identifiers under which an entry may be followed.

    By its tag, if it has one, and by the image's own identifier.

    :param endorser: subject and issuer of the signer, one line each
    """
    names = [f'image:{about.identifier}']
    if about.tag:
        names.insert(0, f'tag:{about.tag}')
    return tuple(str(uuid.uuid5(_LISTS, f'{endorser}\n{n}')) for n in names)


def as_list(entry: etree._Element, identifier: str) -> model.ImageList:
    """The image list that an entry amounts to: one image, or none.

    :param entry: the signed form, and nothing else
    :param identifier: of the list
    :raises hepix_vm.errors.InvalidList: something is missing or doubtful
    """
    about = key(entry)
    body = _one(entry, f'{_RDF}Description')
    endorser = _one(
        _one(body, f'{_REQUIRED}endorsement'), f'{_REQUIRED}endorser'
    )
    deprecated = body.find(f'{_TERMS}deprecated') is not None
    valid = NEVER if deprecated else _moment(body, f'{_DC}valid')
    version = f'{about.created:%Y%m%d%H%M%S}'
    title = _text(body, f'{_DC}title') or about.tag or about.identifier
    return model.ImageList(
        identifier=identifier,
        title=title,
        description=_text(body, f'{_DC}description'),
        created=about.created,
        expires=valid,
        source=_text(body, f'{_DC}publisher'),
        version=version,
        # No place of its own: the subscription knows the marketplace's.
        uri='http://mp.stratuslab.eu/',
        endorsers=(
            model.Endorser(
                creator=_text(body, f'{_DC}creator'),
                subject=_need(endorser, f'{_REQUIRED}subject'),
                issuer=_need(endorser, f'{_REQUIRED}issuer'),
                email=about.email,
            ),
        ),
        images=(
            ()
            if deprecated
            else (_image(body, title, version, valid, identifier),)
        ),
    )


def _image(
    body: etree._Element,
    title: str,
    version: str,
    valid: datetime.datetime,
    list_identifier: str,
) -> model.ImageEntry:
    format_ = _text(body, f'{_DC}format')
    compression = _text(body, f'{_DC}compression')
    if compression:
        format_ = f'{format_}.{compression}'
    return model.ImageEntry(
        identifier=str(uuid.uuid5(_IMAGES, list_identifier)),
        title=title,
        description=_text(body, f'{_DC}description'),
        uri=_location(body),
        size=fields.number(
            _need(body, f'{_REQUIRED}bytes'), _place(body, 'slreq:bytes')
        ),
        version=version,
        sha512=_sha512(body),
        arch=_text(body, f'{_TERMS}os-arch'),
        os=_text(body, f'{_TERMS}os'),
        os_version=_text(body, f'{_TERMS}os-version'),
        hypervisors=fields.hypervisors(
            _text(body, f'{_TERMS}hypervisor') or 'kvm',
            _place(body, 'slterms:hypervisor'),
            model.DEFAULT_LIMITS.title,
        ),
        format=format_.lower() or None,
        expires=valid,
    )


def _location(body: etree._Element) -> str:
    """The first place that is fetched from; the order is the endorser's."""
    for found in body.findall(f'{_TERMS}location'):
        text = _leaf(found)
        if text.startswith(_FETCHED):
            return text
    raise errors.InvalidList(
        _place(body, 'slterms:location'),
        'an http, https or oci location',
        'none',
    )


def _sha512(body: etree._Element) -> str:
    found = [
        _need(checksum, f'{_REQUIRED}value')
        for checksum in body.findall(f'{_REQUIRED}checksum')
        if _text(checksum, f'{_REQUIRED}algorithm') == 'SHA-512'
    ]
    place = _place(body, 'slreq:checksum')
    if len(found) != 1:
        raise errors.InvalidList(
            place, 'one SHA-512 checksum', str(len(found))
        )
    return fields.sha512(found[0], place)


def _one(parent: etree._Element, tag: str) -> etree._Element:
    found = parent.findall(tag)
    if len(found) != 1:
        raise errors.InvalidList(
            _place(parent, tag), 'this element once', f'{len(found)} of it'
        )
    return found[0]


def _text(parent: etree._Element, tag: str) -> str:
    """Text of an element that may be absent; '' then."""
    return _leaf(_one(parent, tag)) if parent.find(tag) is not None else ''


def _need(parent: etree._Element, tag: str) -> str:
    text = _leaf(_one(parent, tag))
    if not text:
        raise errors.InvalidList(_place(parent, tag), 'a text', 'nothing')
    return text


def _leaf(element: etree._Element) -> str:
    if len(element):
        raise errors.InvalidList(
            _place(element, ''), 'text only', 'something inside it'
        )
    text = (element.text or '').strip()
    if len(text) > _LONGEST:
        raise errors.InvalidList(
            _place(element, ''),
            f'at most {_LONGEST} characters',
            str(len(text)),
        )
    return text


def _moment(parent: etree._Element, tag: str) -> datetime.datetime:
    return fields.moment(_need(parent, tag), _place(parent, tag))


def _place(parent: etree._Element, tag: str) -> str:
    here = etree.QName(parent).localname
    child = tag.rpartition('}')[2].rpartition(':')[2]
    return f'/{here}/{child}' if child else f'/{here}'
