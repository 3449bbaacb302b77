# SPDX-License-Identifier: Apache-2.0
"""What a case is: a message, what the site trusts, and the verdict."""

from __future__ import annotations

from collections.abc import Callable
import dataclasses
import datetime
from typing import Any

from cryptography import x509

from tests.assets import pki


@dataclasses.dataclass(frozen=True)
class Case:
    """One message and what has to be said of it.

    :param message: as it would be fetched
    :param code: the verdict's code
    :param payload: what an accepted message hands on
    :param anchors: certificates of the anchor directory
    :param crls: CRLs of the anchor directory
    :param signing_policies: texts of signing_policy files
    :param policy: knobs of the policy that differ from the defaults
    :param now: time of the verification
    :param is_list: whether the payload is judged as an image list, too
    """

    message: bytes
    code: str = 'ok'
    payload: bytes | None = None
    anchors: tuple[x509.Certificate, ...] = dataclasses.field(
        default_factory=lambda: usual_anchors()
    )
    crls: tuple[x509.CertificateRevocationList, ...] = dataclasses.field(
        default_factory=lambda: pki.site().crls
    )
    signing_policies: tuple[str, ...] = ()
    policy: dict[str, Any] = dataclasses.field(default_factory=dict)
    now: datetime.datetime = pki.NOW
    is_list: bool = False


Maker = Callable[[], Case]


def usual_anchors() -> tuple[x509.Certificate, ...]:
    """Root and issuing CA, as a grid site has them."""
    site = pki.site()
    return site.root.certificate, site.issuing.certificate


class Register(dict[str, Maker]):
    """Cases by their telling names."""

    def add(self, maker: Maker) -> Maker:
        """Decorator: the function's name tells the case."""
        assert maker.__name__ not in self
        self[maker.__name__] = maker
        return maker
