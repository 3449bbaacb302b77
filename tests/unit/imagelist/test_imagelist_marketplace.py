# SPDX-License-Identifier: Apache-2.0
"""The documents of a marketplace: one entry, several, or something else."""

from __future__ import annotations

import pytest

from hepix_vm import errors
from hepix_vm.imagelist import marketplace

RDF = (
    '<r:RDF xmlns:r="http://www.w3.org/1999/02/22-rdf-syntax-ns#">'
    '<title>{}</title></r:RDF>'
)


def titles(document: str) -> list[str | None]:
    root = marketplace.load(document.encode())
    return [entry.findtext('title') for entry in marketplace.entries(root)]


def test_document_that_is_an_entry_has_one() -> None:
    assert titles(RDF.format('one')) == ['one']


def test_document_of_several_has_them_in_order() -> None:
    inside = RDF.format('one') + '<other/>' + RDF.format('two')
    assert titles(f'<metadata>{inside}</metadata>') == ['one', 'two']


def test_document_without_entries_has_none() -> None:
    assert titles('<metadata/>') == []


@pytest.mark.parametrize(
    'document', ['<html/>', '<RDF/>', '<a><metadata/></a>']
)
def test_other_document_is_refused(document: str) -> None:
    with pytest.raises(errors.InvalidList, match='rdf:RDF') as caught:
        titles(document)
    tag = document.strip('</>').partition('>')[0]
    assert str(caught.value) == (
        f'at /: expected rdf:RDF, or metadata with several, found {tag}'
    )


def test_what_is_no_xml_is_told_shortly() -> None:
    with pytest.raises(errors.InvalidList) as caught:
        titles('<' + 'a' * 300)
    assert (caught.value.path, caught.value.expected) == ('/', 'XML')
    assert caught.value.found
    assert len(caught.value.found) <= 200
