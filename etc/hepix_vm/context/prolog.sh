#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
#
# The site's prolog. A virtual machine runs it as "prolog.sh start" early in
# its start-up, after the user's own scripts, and as "prolog.sh stop" when it
# shuts down. The working directory is the one that the bundle was unpacked
# into; all other files of the bundle are there.
#
# What a site may rely on, and what it owes the endorser of the image:
#
# * The script may run twice (from a CD and from the network) and over an
#   older copy of itself: do nothing that cannot be repeated.
# * The image stays as it was endorsed: no packages, no kernel modules,
#   nothing below /usr, /boot or /lib/modules.
# * Every user of every project can read it: no passwords and no keys.
# * Some guests source it: no "exit". Plain POSIX sh, nothing else is certain.

site_say() {
    logger -t site-context "$*" 2>/dev/null || echo "site-context: $*"
}

case "${1:-start}" in
    start)
        site_say 'prolog: start'
        # For instance the caches of this site:
        # cp -f site/cvmfs.local /etc/cvmfs/default.local
        ;;
    stop)
        site_say 'prolog: stop'
        ;;
    *)
        site_say "prolog: expected start or stop, found $1"
        ;;
esac
