#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
#
# Stand-ins for the functions of DevStack that the plugin calls. Those that
# edit files edit real files; those that would change the machine write down
# what they were asked to do.
#
# From the environment: HERE (this folder), CALLS (a file), PROGRAMS (a
# folder), SERVICES.

function _ini {
    ACTION=$1 SECTION=$3 OPTION=$4 VALUES=${5-} awk -f "$HERE/ini.awk" "$2"
}

# Edit through a copy: the file that is read is written anew.
function _ini_edit {
    local edited
    [[ -e "$2" ]] || touch "$2"
    edited=$(_ini "$@" && echo .)
    printf '%s' "${edited%.}" > "$2"
}

function _one_a_line {
    printf '%s\n' "$@"
}

function iniget {
    _ini get "$@" || echo
}

function iniget_multiline {
    _ini get "$@" || echo
}

function ini_has_option {
    _ini get "$@" > /dev/null
}

function iniset {
    _ini_edit set "$@"
}

function iniset_multiline {
    _ini_edit set "$1" "$2" "$3" "$(_one_a_line "${@:4}")"
}

function iniadd {
    _ini_edit add "$1" "$2" "$3" "$(_one_a_line "${@:4}")"
}

function inidelete {
    _ini_edit delete "$@"
}

# DevStack's own, instead of ours, when somebody has them at hand.
if [[ -n "${DEVSTACK_INI_CONFIG:-}" ]]; then
    # shellcheck source=/dev/null
    source "$DEVSTACK_INI_CONFIG"
fi

function _called {
    echo "$*" >> "$CALLS"
}

# Any of the names; "nova" and "glance" mean any of their services.
function is_service_enabled {
    local name service
    for name in "$@"; do
        for service in $SERVICES; do
            case "$name:$service" in
                "$service:$service" | nova:n-* | glance:g-*) return 0 ;;
            esac
        done
    done
    return 1
}

function sudo {
    "$@"
}

function echo_summary {
    echo "$*"
}

function warn {
    echo "WARNING: $2"
}

function die {
    echo "DIED: $2" >&2
    exit 1
}

function define_plugin {
    _called define_plugin "$@"
}

function enable_service {
    SERVICES+=" $*"
}

function setup_develop {
    _called setup_develop "$@"
}

function recreate_database {
    _called recreate_database "$@"
}

function database_connection_url {
    echo "mysql+pymysql://root:secret@127.0.0.1/$1?charset=utf8&plugin=x"
}

function get_python_exec_prefix {
    echo "$PROGRAMS"
}

# DevStack's own look whether the service is enabled, too.
function run_process {
    if is_service_enabled "$1"; then
        _called run_process "$@"
    fi
}

function stop_process {
    if is_service_enabled "$1"; then
        _called stop_process "$@"
    fi
}
