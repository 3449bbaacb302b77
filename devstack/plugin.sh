#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
#
# DevStack plugin of hepix_vm.
#
# Installs the package beside the services and switches on what exists of it:
# Glance's import plugins and policy, Nova's scheduler filter, and the site
# context in Nova's metadata service. Each step may be repeated; unstack takes
# out again what was put into the files of Glance and Nova, clean removes our
# own files.
#
# DevStack sources this file once for each phase:
#
#   stack install       the package
#   stack post-config   every configuration file, the catalogue's database
#   stack extra         the daemon, and a check of what runs now
#   unstack             no daemon, Glance's and Nova's files as they were
#   clean               our own files

_HEPIX_VM_XTRACE=$(set +o | grep xtrace)
set +o xtrace

_HEPIX_VM_FILTER=hepix_vm.nova.filter.HepixApprovedImageFilter
_HEPIX_VM_ALL_FILTERS=nova.scheduler.filters.all_filters

# What stands between these two lines in nova's api-paste.ini is ours.
_HEPIX_VM_BEGIN='# hepix_vm: begin'
_HEPIX_VM_END='# hepix_vm: end'


# Lists
# -----

# Print the members of a list one by one, without brackets and quotes
# _hepix_vm_members "['a', b]"
function _hepix_vm_members {
    local list=${1//[\[\]\"\' ]/}
    local -a members
    IFS=, read -r -a members <<< "$list"
    local member
    for member in "${members[@]}"; do
        [[ -z "$member" ]] || echo "$member"
    done
}

# Print a list without some members, joined by commas
# _hepix_vm_without "a,b,c" b
function _hepix_vm_without {
    local list=$1
    shift
    local member unwanted kept=""
    for member in $(_hepix_vm_members "$list"); do
        for unwanted in "$@"; do
            [[ "$member" != "$unwanted" ]] || continue 2
        done
        kept+=${kept:+,}$member
    done
    echo "$kept"
}


# Glance
# ------

# Glance reads glance-api.conf after glance-image-import.conf, so a list of
# plugins in the former hides one in the latter.
function _hepix_vm_import_file {
    if ini_has_option "$GLANCE_API_CONF" \
        image_import_opts image_import_plugins; then
        echo "$GLANCE_API_CONF"
    else
        echo "$GLANCE_CONF_DIR/glance-image-import.conf"
    fi
}

function _hepix_vm_policy_file {
    echo "$GLANCE_CONF_DIR/policy.d/hepix_vm.yaml"
}

function _hepix_vm_protections_file {
    echo "$GLANCE_CONF_DIR/hepix_vm-property-protections.conf"
}

# hepix_verify sees the bytes as they were endorsed, hepix_record what the
# plugins of others have left of them.
function configure_hepix_vm_glance {
    local file others
    file=$(_hepix_vm_import_file)
    [[ -e "$file" ]] || touch "$file"
    others=$(iniget "$file" image_import_opts image_import_plugins)
    others=$(_hepix_vm_without "$others" hepix_verify hepix_record)
    iniset "$file" image_import_opts image_import_plugins \
        "[hepix_verify,${others:+$others,}hepix_record]"

    iniset "$GLANCE_API_CONF" hepix_vm config_file "$HEPIX_VM_CONF"

    # A user who may name locations asserts a hash that nobody has checked.
    iniset "$GLANCE_API_CONF" DEFAULT show_multiple_locations False
    # Who sees where the data is copies it inside the store.
    iniset "$GLANCE_API_CONF" DEFAULT show_image_direct_url False

    # What changes how an image boots is for services and administrators.
    local shipped="$HEPIX_VM_DIR/etc/hepix_vm"
    install -m 644 "$shipped/glance-property-protections.conf" \
        "$(_hepix_vm_protections_file)"
    iniset "$GLANCE_API_CONF" DEFAULT property_protection_file \
        "$(_hepix_vm_protections_file)"
    iniset "$GLANCE_API_CONF" DEFAULT property_protection_rule_format roles

    # Next to the policy of others, and read after it.
    install -d -m 755 "$GLANCE_CONF_DIR/policy.d"
    install -m 644 "$HEPIX_VM_DIR/etc/hepix_vm/glance-policy.yaml" \
        "$(_hepix_vm_policy_file)"
    if ini_has_option "$GLANCE_API_CONF" oslo_policy policy_dirs; then
        if [[ " $(iniget_multiline "$GLANCE_API_CONF" \
            oslo_policy policy_dirs) " != *" policy.d "* ]]; then
            iniadd "$GLANCE_API_CONF" oslo_policy policy_dirs policy.d
        fi
    fi
}

function unconfigure_hepix_vm_glance {
    rm -f "$(_hepix_vm_policy_file)" "$(_hepix_vm_protections_file)"
    [[ -e "$GLANCE_API_CONF" ]] || return 0
    inidelete "$GLANCE_API_CONF" hepix_vm config_file
    iniset "$GLANCE_API_CONF" DEFAULT show_multiple_locations \
        "${GLANCE_SHOW_MULTIPLE_LOCATIONS:-False}"
    iniset "$GLANCE_API_CONF" DEFAULT show_image_direct_url \
        "${GLANCE_SHOW_DIRECT_URL:-False}"
    inidelete "$GLANCE_API_CONF" DEFAULT property_protection_file
    inidelete "$GLANCE_API_CONF" DEFAULT property_protection_rule_format
    local file others
    file=$(_hepix_vm_import_file)
    [[ -e "$file" ]] || return 0
    others=$(iniget "$file" image_import_opts image_import_plugins)
    others=$(_hepix_vm_without "$others" hepix_verify hepix_record)
    iniset "$file" image_import_opts image_import_plugins "[$others]"
}


# Nova
# ----

# Ours comes first: an image that is not approved needs no look at hosts.
function configure_hepix_vm_scheduler {
    local classes names filter=${_HEPIX_VM_FILTER##*.}
    classes=$(iniget_multiline "$NOVA_CONF" filter_scheduler available_filters)
    classes=${classes:-$_HEPIX_VM_ALL_FILTERS}
    if [[ " $classes " != *" $_HEPIX_VM_FILTER "* ]]; then
        classes+=" $_HEPIX_VM_FILTER"
    fi
    # One line for each class: split on purpose.
    # shellcheck disable=SC2086
    iniset_multiline "$NOVA_CONF" filter_scheduler available_filters $classes

    names=$(iniget "$NOVA_CONF" filter_scheduler enabled_filters)
    names=$(_hepix_vm_without "${names:-$NOVA_FILTERS}" "$filter")
    iniset "$NOVA_CONF" filter_scheduler enabled_filters \
        "$filter${names:+,$names}"
}

function unconfigure_hepix_vm_scheduler {
    local class classes="" names
    for class in $(iniget_multiline "$NOVA_CONF" \
        filter_scheduler available_filters); do
        [[ "$class" == "$_HEPIX_VM_FILTER" ]] || classes+=" $class"
    done
    if [[ "$classes" == " $_HEPIX_VM_ALL_FILTERS" ]]; then
        # Nova's default; without the line it holds as well.
        classes=""
    fi
    inidelete "$NOVA_CONF" filter_scheduler available_filters
    if [[ -n "$classes" ]]; then
        # shellcheck disable=SC2086
        iniset_multiline "$NOVA_CONF" \
            filter_scheduler available_filters $classes
    fi

    names=$(iniget "$NOVA_CONF" filter_scheduler enabled_filters)
    if [[ -n "$names" ]]; then
        iniset "$NOVA_CONF" filter_scheduler enabled_filters \
            "$(_hepix_vm_without "$names" "${_HEPIX_VM_FILTER##*.}")"
    fi
}

function configure_hepix_vm_metadata {
    unconfigure_hepix_vm_metadata
    if ! grep -q '^\[composite:metadata\]' "$NOVA_API_PASTE_INI"; then
        die $LINENO "no [composite:metadata] in $NOVA_API_PASTE_INI"
    fi
    local prefix
    for prefix in context machinefeatures jobfeatures; do
        if grep -q "^/$prefix *[:=]" "$NOVA_API_PASTE_INI"; then
            die $LINENO "/$prefix is taken already in $NOVA_API_PASTE_INI"
        fi
    done
    sed -i "/^\[composite:metadata\]/a\\
$_HEPIX_VM_BEGIN\\
/context: hepix_context\\
/machinefeatures: hepix_context\\
/jobfeatures: hepix_context\\
$_HEPIX_VM_END" "$NOVA_API_PASTE_INI"
    cat >> "$NOVA_API_PASTE_INI" <<PASTE
$_HEPIX_VM_BEGIN
[app:hepix_context]
paste.app_factory = hepix_vm.context.wsgi:app_factory
hepix_vm_config = $HEPIX_VM_CONF
$_HEPIX_VM_END
PASTE
}

function unconfigure_hepix_vm_metadata {
    sed -i "/^$_HEPIX_VM_BEGIN\$/,/^$_HEPIX_VM_END\$/d" "$NOVA_API_PASTE_INI"
}

function configure_hepix_vm_nova {
    iniset "$NOVA_CONF" hepix_vm config_file "$HEPIX_VM_CONF"
    if is_service_enabled n-sch; then
        configure_hepix_vm_scheduler
    fi
    if is_service_enabled n-api-meta n-api; then
        configure_hepix_vm_metadata
    fi
}

function unconfigure_hepix_vm_nova {
    if [[ -e "$NOVA_CONF" ]]; then
        inidelete "$NOVA_CONF" hepix_vm config_file
        unconfigure_hepix_vm_scheduler
    fi
    if [[ -e "$NOVA_API_PASTE_INI" ]]; then
        unconfigure_hepix_vm_metadata
    fi
}


# hepix_vm itself
# ---------------

function install_hepix_vm {
    setup_develop "$HEPIX_VM_DIR"
}

# What is in our files already stays, unless DevStack knows better.
function configure_hepix_vm {
    local samples=$HEPIX_VM_DIR/etc/hepix_vm script
    sudo install -d -o "$STACK_USER" -m 755 \
        "$HEPIX_VM_CONF_DIR" "$HEPIX_VM_CONTEXT_DIR"
    sudo install -d -o "$STACK_USER" -m 700 "$HEPIX_VM_DATA_DIR"
    if [[ ! -e "$HEPIX_VM_CONF" ]]; then
        # It holds passwords, from its first byte on.
        install -m 600 /dev/null "$HEPIX_VM_CONF"
        if [[ -e "$samples/hepix_vm.conf.sample" ]]; then
            cat "$samples/hepix_vm.conf.sample" > "$HEPIX_VM_CONF"
        fi
    fi
    for script in prolog.sh epilog.sh; do
        [[ -e "$HEPIX_VM_CONTEXT_DIR/$script" ]] \
            || install -m 755 "$samples/context/$script" \
                "$HEPIX_VM_CONTEXT_DIR/$script"
    done

    iniset "$HEPIX_VM_CONF" catalogue connection \
        "$(database_connection_url "$HEPIX_VM_DATABASE")"
    iniset "$HEPIX_VM_CONF" context directory "$HEPIX_VM_CONTEXT_DIR"
    iniset "$HEPIX_VM_CONF" fetch spool_directory "$HEPIX_VM_DATA_DIR/spool"

    # The account that publishes images.
    iniset "$HEPIX_VM_CONF" openstack auth_type password
    iniset "$HEPIX_VM_CONF" openstack auth_url "$KEYSTONE_SERVICE_URI"
    iniset "$HEPIX_VM_CONF" openstack username admin
    iniset "$HEPIX_VM_CONF" openstack password "$ADMIN_PASSWORD"
    iniset "$HEPIX_VM_CONF" openstack user_domain_id default
    iniset "$HEPIX_VM_CONF" openstack project_name admin
    iniset "$HEPIX_VM_CONF" openstack project_domain_id default
    iniset "$HEPIX_VM_CONF" openstack region_name "$REGION_NAME"
    iniset "$HEPIX_VM_CONF" openstack interface public
}

# A new catalogue, as DevStack gives every service a new database: records of
# images that Glance has forgotten would be of no use.
function init_hepix_vm {
    recreate_database "$HEPIX_VM_DATABASE"
    "$(get_python_exec_prefix)/hepix-vm" \
        --config-file "$HEPIX_VM_CONF" db sync
}

function check_hepix_vm {
    "$(get_python_exec_prefix)/hepix-vm-status" \
        --config-file "$HEPIX_VM_CONF" upgrade check \
        || warn $LINENO "hepix-vm-status: see the table above"
    echo_summary "hepix_vm: add [subscription:NAME] groups to" \
        "$HEPIX_VM_CONF, then have the daemon read it:" \
        "sudo systemctl kill -s HUP devstack@hepix-vm-sync"
}

# Only where it is enabled: run_process and stop_process look.
function start_hepix_vm {
    run_process hepix-vm-sync \
        "$(get_python_exec_prefix)/hepix-vm-sync --config-file $HEPIX_VM_CONF"
}

function stop_hepix_vm {
    stop_process hepix-vm-sync
}

function unconfigure_hepix_vm {
    unconfigure_hepix_vm_glance
    unconfigure_hepix_vm_nova
}

function cleanup_hepix_vm {
    sudo rm -rf "${HEPIX_VM_CONF_DIR:?}" "${HEPIX_VM_DATA_DIR:?}"
}

if is_service_enabled hepix-vm; then
    case "${1:-}:${2:-}" in
        stack:install)
            echo_summary "Installing hepix_vm"
            install_hepix_vm
            ;;
        stack:post-config)
            echo_summary "Configuring hepix_vm"
            configure_hepix_vm
            if is_service_enabled g-api; then
                configure_hepix_vm_glance
            fi
            if is_service_enabled nova; then
                configure_hepix_vm_nova
            fi
            # One catalogue for the cloud: on the node that has Glance.
            if is_service_enabled g-api; then
                init_hepix_vm
            fi
            ;;
        stack:extra)
            if is_service_enabled g-api; then
                start_hepix_vm
                check_hepix_vm
            fi
            ;;
        unstack:*)
            stop_hepix_vm
            unconfigure_hepix_vm
            ;;
        clean:*)
            unconfigure_hepix_vm
            cleanup_hepix_vm
            ;;
    esac
fi

$_HEPIX_VM_XTRACE
