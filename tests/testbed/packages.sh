# shellcheck shell=bash
# packages.sh: what the test bed needs from Debian, and where apt finds it.
# Sourced by `up` and `image`.

# incus-base is the daemon without QEMU (the package `incus` adds 200 MB for
# virtual machines, which the test bed does not start).
# shellcheck disable=SC2034  # for `up`
TB_PACKAGES="incus-base incus-client uidmap nftables dnsmasq-base iproute2 \
    mmdebstrap zstd sudo util-linux acl openssh-client rsync git less fzf strace \
    vim-tiny socat jq tmux hyperfine python3 busybox-static gcc g++ libc6-dev pkg-config"

# What `make demo` and `make bench` open windows with: apart, for no test needs them.
# shellcheck disable=SC2034  # for `up`
TB_WINDOW_PACKAGES="xvfb xauth x11-utils imagemagick xterm python3-xlib"

# machine_source SUITE: `URI KEYRING` of the apt source that serves Debian's
# SUITE/main on this machine. apt itself reads its sources (both formats); only
# Signed-By must be taken from the file, at the entry that apt names:
# FILE:LINE in a one-line list, FILE:STANZA in a deb822 file.
machine_source() {
    local uri entry key
    # shellcheck disable=SC2016  # apt's own field syntax
    IFS='|' read -r uri entry < <(apt-get indextargets \
        --format '$(REPO_URI)|$(SOURCESENTRY)' \
        'Created-By: Packages' "Release: $1" 'Component: main') || return 1
    case $entry in
        *.sources:*)
            key=$(awk -v RS= -v n="${entry##*:}" 'NR == n' "${entry%:*}" |
                sed -n 's/^[Ss]igned-[Bb]y: *\(\/[^ ]*\).*/\1/p') ;;
        *)  key=$(sed -n "${entry##*:}s/.*signed-by=\([^] ,]*\).*/\1/p" "${entry%:*}") ;;
    esac
    # Cloud images name a file of mirrors; a box or a new source needs one.
    case $uri in
        mirror+file:*) uri=$(grep -m1 -o '^[a-z]*://[^[:space:]]*' "/${uri#mirror+file:/}") ;;
    esac
    printf '%s %s\n' "$uri" "${key:-/usr/share/keyrings/debian-archive-keyring.gpg}"
}

# apt tells of a source only when it has its lists, and a fresh machine has none.
fetch_lists() {
    # shellcheck disable=SC2016  # apt's own field syntax
    [ -z "$(apt-get indextargets --format '$(SITE)' 'Created-By: Packages')" ] || return 0
    say "fetching apt's lists"
    run_apt update || fail "apt-get update failed, see $TB_STATE/apt.log"
}

# Debian 12 has Incus only in its backports.
add_backports() {
    local suite uri key
    suite=$(host_suite)
    [ "$suite" = bookworm ] && [ -n "$(missing_packages incus-base)" ] && [ ! -e "$TB_SOURCES" ] || return 0
    fetch_lists
    ! machine_source bookworm-backports >/dev/null || return 0
    read -r uri key < <(machine_source bookworm) ||
        fail "no apt source here serves bookworm/main, so its backports cannot be added"
    say "adding bookworm-backports (for Incus) in $TB_SOURCES"
    printf '%s\n' "# Made by incusbox's tests/testbed/up; down --purge removes it." \
        'Types: deb' "URIs: $uri" 'Suites: bookworm-backports' \
        'Components: main' "Signed-By: $key" >"$TB_SOURCES"
    record sources "$TB_SOURCES"
}

missing_packages() {
    local installed name
    # shellcheck disable=SC2016  # dpkg-query's own field syntax
    installed=$(dpkg-query -W -f '${db:Status-Abbrev} ${Package}\n' "$@" 2>/dev/null |
        sed -n 's/^ii *//p') || :
    for name in "$@"; do
        grep -qxF -- "$name" <<<"$installed" || printf '%s\n' "$name"
    done
}

# Without a service manager, packages must not try to start services: the usual
# policy file says so to invoke-rc.d, for as long as apt runs.
run_apt() (
    policy=/usr/sbin/policy-rc.d
    if ! systemd_runs && [ ! -e "$policy" ]; then
        trap 'rm -f "$policy"' EXIT
        printf '#!/bin/sh\nexit 101\n' >"$policy"
        chmod 755 "$policy"
    fi
    DEBIAN_FRONTEND=noninteractive apt-get -qq -y -o Dpkg::Use-Pty=0 "$@" \
        </dev/null >>"$TB_STATE/apt.log" 2>&1 || {
        tail -n 20 "$TB_STATE/apt.log" >&2
        exit 1
    }
)

# install_packages NAME…: what is missing of them, if anything.
install_packages() {
    local missing
    missing=$(missing_packages "$@")
    [ -n "$missing" ] || return 0
    say "installing packages: $(xargs <<<"$missing")"
    run_apt update || fail "apt-get update failed, see $TB_STATE/apt.log"
    # shellcheck disable=SC2086  # a list of words
    run_apt install --no-install-recommends $missing ||
        fail "apt-get install failed, see $TB_STATE/apt.log"
}
