# shellcheck shell=bash
# project.sh: the pool, bridge, project, profile and image of the test bed in
# the daemon that serves it. Sourced by `up`.

# make_pool NAME [DIR]: in DIR where there is one, else where Incus keeps pools.
make_pool() {
    exists "/1.0/storage-pools/$1" && return 0
    say "creating storage pool $1 (dir)"
    if [ -n "${2:-}" ] && [ -d "$2" ]; then
        incus_root storage create "$1" dir "source=$2" >/dev/null
    else
        incus_root storage create "$1" dir >/dev/null
    fi
    record pool "$1"
}

# A /24 that no route of this machine covers or is part of; the default route
# covers everything and does not count. Incus's own search also dials into the
# subnet, and takes it for used where a gateway answers for every address.
free_subnet() {
    local net
    for net in 10.213.57 10.117.203 172.29.57 192.168.213 10.9.87; do
        ! ip -4 route show match "$net.1" | grep -qv '^default' || continue
        [ -z "$(ip -4 route show root "$net.0/24")" ] || continue
        printf '%s\n' "$net"
        return 0
    done
    return 1
}

# The API also lists interfaces that are not Incus's own, as `managed: false`.
is_bridge() { incus_root query "/1.0/networks/$1" 2>/dev/null | jq -e .managed >/dev/null; }

# Bridges are wanted, not needed: a machine that may not make one gets boxes
# without network. IPv4 only: boxes reach the registries through NAT by way of
# the host's own addresses.
make_bridge() {
    local name=$1 net
    ! is_bridge "$name" || return 0
    net=$(free_subnet) || {
        warn "no free subnet for bridge $name: its boxes have no network"
        return 0
    }
    say "creating bridge $name ($net.1/24, NAT)"
    if incus_root network create "$name" --type=bridge "ipv4.address=$net.1/24" \
        ipv4.nat=true ipv6.address=none >/dev/null 2>"$TB_STATE/bridge.err"; then
        record network "$name"
    else
        warn "no bridge $name, so its boxes have no network: $(cat "$TB_STATE/bridge.err")"
    fi
}

# What incus-user (6.0) takes for granted in the project that it makes for a
# user. The root disk is in a pool named `default`. The user gets a bridge, and is
# refused when no free subnet is found, which happens where a gateway answers for
# every address; a bridge of the right name that is there already is taken.
make_restricted() {
    local uid
    uid=$(id -u ibxuser)
    make_pool default
    make_bridge "incusbr-$uid"
    record project "user-$uid"
}

# Images and profiles are the project's own, so that nothing of the machine's
# other projects is seen or touched; networks are shared, to use the bridge.
make_project() {
    if ! exists "/1.0/projects/$TB_PROJECT"; then
        say "creating project $TB_PROJECT"
        incus_root project create "$TB_PROJECT" -c features.images=true -c features.profiles=true \
            -c features.storage.volumes=true -c features.networks=false >/dev/null
        record project "$TB_PROJECT"
    fi
    local devices
    devices=$(incus_root profile show default --project "$TB_PROJECT")
    grep -q '^  root:' <<<"$devices" ||
        incus_root profile device add default root disk path=/ "pool=$TB_POOL" --project "$TB_PROJECT" >/dev/null
    if ! grep -q '^  eth0:' <<<"$devices" && is_bridge "$TB_BRIDGE"; then
        incus_root profile device add default eth0 nic name=eth0 "network=$TB_BRIDGE" --project "$TB_PROJECT" >/dev/null
    fi
}

# The boxes' image in the Debian that is asked for.
make_image() {
    local suite=${TESTBED_SUITE:-$(host_suite)}
    env_set IBX_IMAGE "ibx-debian-$suite"
    import_image "ibx-debian-$suite" box
}

# import_image ALIAS box|host: the image carries the hash of its recipe, so a changed
# recipe is built again.
import_image() {
    local alias=$1 kind=$2 key dir
    key=$("$TB_DIR/image" --key "$kind")
    [ "$(incus_root image get-property "$alias" incusbox.recipe --project "$TB_PROJECT" 2>/dev/null)" != "$key" ] || return 0

    say "building image $alias, unless it is in $TB_CACHE"
    dir=$("$TB_DIR/image" "$kind")
    say "importing image $alias"
    incus_root image delete "$alias" --project "$TB_PROJECT" >/dev/null 2>&1 || :
    incus_root image import "$dir/metadata.tar" "$dir/rootfs.tar.zst" --alias "$alias" \
        --project "$TB_PROJECT" "incusbox.recipe=$key" >/dev/null
}
