#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
#
# The site's epilog. A virtual machine runs it as "epilog.sh start" at the
# very end of its start-up, when the network and the user's services are
# there, and as "epilog.sh stop" when it begins to shut down. What prolog.sh
# says about both scripts holds here too.

site_say() {
    logger -t site-context "$*" 2>/dev/null || echo "site-context: $*"
}

case "${1:-start}" in
    start)
        site_say 'epilog: start'
        ;;
    stop)
        site_say 'epilog: stop'
        ;;
    *)
        site_say "epilog: expected start or stop, found $1"
        ;;
esac
