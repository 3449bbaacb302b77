# SPDX-License-Identifier: Apache-2.0
"""A variant as a CD, for clouds whose guests are given one; no I/O.

At its root are the files of the bundle, ``manifest`` and, where the site
signs, ``manifest.sig``. Guests of the HEPiX scheme look for ``prolog.sh`` on
any CD; OpenNebula's own agent runs ``init.sh``, which runs both scripts.
"""

from __future__ import annotations

from hepix_vm.context import archive
from hepix_vm.context import forms
from hepix_vm.context import iso9660
from hepix_vm.context import variants

#: Never ``CONTEXT``, ``config-2`` or ``cidata``: other agents take these.
LABEL = 'HEPIX_CTX'

#: A site may bring its own.
INIT = 'init.sh'

_SHIM = f"""\
#!/bin/sh
# Runs the site's scripts where an agent knows only this one, such as that of
# OpenNebula. An agent that sources it knows the scripts itself.

site_context_run() (
    target=${{CONTEXT_DIR:-/var/lib/hepix/context}}
    mounted=
    source=
    for place in "${{0%/*}}" "$PWD" "${{MOUNT_DIR:-}}"; do
        if [ -n "$place" ] && [ -f "$place/prolog.sh" ]; then
            source=$place
            break
        fi
    done
    umask 077
    if [ -z "$source" ]; then
        mounted=$(mktemp -d) || return 1
        if ! mount -o ro -L {LABEL} "$mounted"; then
            rmdir "$mounted"
            echo "site context: expected prolog.sh beside $0 or a CD with" \\
                'the label {LABEL}, found none' >&2
            return 1
        fi
        source=$mounted
    fi
    mkdir -p "$target" && cp -R "$source/." "$target/"
    copied=$?
    if [ -n "$mounted" ]; then
        umount "$mounted" && rmdir "$mounted"
    fi
    [ "$copied" -eq 0 ] && cd "$target" || return 1
    status=0
    for script in prolog.sh epilog.sh; do
        /bin/sh "./$script" start || status=1
    done
    return "$status"
)

case "$0" in
    {INIT} | */{INIT}) site_context_run ;;
esac
"""


def image(variant: variants.Variant, signature: bytes | None) -> bytes:
    """Make the ISO 9660 file system of a variant.

    :param signature: of its manifest, DER; None: the site does not sign
    :raises archive.BundleRefused: the bundle has a file where one of the
        CD's own belongs, or its directories are nested too deep
    """
    source = f'bundle {variant.bundle.sha256_tar}'
    members = archive.unpack(
        variant.bundle.tar, variant.bundle.tar.count(b'ustar'), source
    )
    own = [archive.Member('manifest', False, variant.manifest)]
    if signature is not None:
        own.append(
            archive.Member('manifest.sig', False, forms.base64(signature))
        )
    names = {member.path for member in members}
    for member in own:
        if member.path in names:
            raise archive.BundleRefused(
                f'site context: {member.path}: on a CD this is the name of a'
                ' file of its own; give yours another name'
            )
    if INIT not in names:
        own.append(archive.Member(INIT, True, _SHIM.encode('ascii')))
    return iso9660.image(archive.ordered([*members, *own], source), LABEL)
