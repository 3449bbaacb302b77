# SPDX-License-Identifier: Apache-2.0
"""Parts of the application for tests, and requests to it."""

from __future__ import annotations

from wsgiref import util
from wsgiref import validate

from hepix_vm.context import application
from hepix_vm.context import asking
from hepix_vm.context import facts
from hepix_vm.context import forms
from hepix_vm.context import identity
from hepix_vm.context import noted
from hepix_vm.context import prepared
from tests.unit.context import test_identity

KNOWN = identity.Instance(test_identity.UUID, test_identity.PROJECT)
FACTS = facts.Facts(test_identity.UUID, test_identity.PROJECT)
SHA256 = 'ab' * 32
MADE = prepared.Prepared(
    7,
    SHA256,
    {
        asking.What.BUNDLE: prepared.Body(forms.PKZIP_TYPE, b'PK bundle'),
        asking.What.BASE64: prepared.Body(forms.TEXT_TYPE, b'YnVuZGxl\n'),
        asking.What.MANIFEST: prepared.Body(forms.TEXT_TYPE, b'serial: 7\n'),
        asking.What.SIGNATURE: prepared.Body(forms.TEXT_TYPE, b'c2ln\n'),
    },
)


class Audit:
    """Remembers what it was told."""

    def __init__(self):
        self.notes: list[noted.Fetch] = []

    def note(self, fetch):
        self.notes.append(fetch)


def parts(**changes):
    """What answers everything, unless said otherwise."""
    return application.Parts(
        **{
            'identify': lambda environ: KNOWN,
            'facts_of': lambda instance, now, at_most: FACTS,
            'variant_of': lambda facts, now: MADE,
            'features_of': lambda what, facts: {
                'machinefeatures': {'total_cpu': '8', 'hs06': '80.5'},
                'jobfeatures': {'job_id': facts.uuid},
            }[what],
            'audit': Audit(),
            **changes,
        }
    )


def ask(app, path='/default.tgz', method='GET', script='/context', **environ):
    """One request, checked against the rules of WSGI."""
    request = {
        'REQUEST_METHOD': method,
        'SCRIPT_NAME': script,
        'PATH_INFO': path,
        'QUERY_STRING': '',
        **test_identity.headers(),
        **environ,
    }
    util.setup_testing_defaults(request)
    heard = []
    pieces = validate.validator(app)(
        request, lambda status, headers: heard.append((status, headers))
    )
    body = b''.join(pieces)
    pieces.close()
    [(status, headers)] = heard
    return int(status[:3]), dict(headers), body
