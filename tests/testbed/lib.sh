# shellcheck shell=bash
# lib.sh: names, paths and small functions that every script of the test bed
# shares. It is sourced, never run, and does nothing by itself.
#
# shellcheck disable=SC2034,SC2031  # names for the scripts that source this

TB_DIR=$(cd -- "$(dirname -- "${BASH_SOURCE[0]}")" && pwd)
TB_STATE=/var/lib/incusbox-testbed   # what `up` made, and the private daemon
TB_CACHE=/var/cache/incusbox-testbed # images that were built
TB_INCUS=$TB_STATE/incus             # INCUS_DIR of the private daemon
TB_PROJECT=incusbox-testbed
TB_POOL=ibxtestbed
TB_BRIDGE=ibxtb0
TB_SOURCES=/etc/apt/sources.list.d/incusbox-testbed.sources
TB_LIBEXEC=/usr/libexec/incus

# A user's PATH has no sbin on Debian, and make hands it on through sudo.
PATH=$PATH:/usr/sbin:/sbin

say() { printf 'testbed: %s\n' "$*"; }
warn() { printf 'testbed: %s\n' "$*" >&2; }
fail() {
    warn "$*"
    exit 1
}

# The codename of the machine's own Debian, or nothing.
host_suite() { (. /etc/os-release && printf '%s\n' "${VERSION_CODENAME:-}"); }

systemd_runs() { [ -d /run/systemd/system ]; }

# become_root ARG…: runs the calling script again through sudo when it was not
# started by root. The suite wanted must survive sudo's clean environment.
become_root() {
    [ "$(id -u)" -ne 0 ] || return 0
    command -v sudo >/dev/null || fail "this needs root, and sudo is not here: run it as root"
    exec sudo -- env TESTBED_SUITE="${TESTBED_SUITE:-}" "$0" "$@"
}

# One run of `up` or `down` at a time. Held until the script ends.
lock_testbed() {
    mkdir -p "$TB_STATE"
    exec 9>"$TB_STATE/lock"
    flock -w 600 9 || fail "another run of the test bed holds $TB_STATE/lock"
}

# The journal of what `up` made, one `KIND VALUE` a line: `down --purge`
# removes what stands here and nothing else.
record() { made "$1" "$2" || printf '%s %s\n' "$1" "$2" >>"$TB_STATE/created"; }
made() { [ -e "$TB_STATE/created" ] && grep -qxF -- "$1 $2" "$TB_STATE/created"; }
made_list() { [ ! -e "$TB_STATE/created" ] || sed -n "s/^$1 //p" "$TB_STATE/created"; }

# env_set NAME VALUE: one variable of what `env` prints and `as` hands on.
env_set() {
    local file=$TB_STATE/env
    { [ ! -e "$file" ] || grep -v "^$1=" "$file" || :; } >"$file.new"
    printf '%s=%s\n' "$1" "$2" >>"$file.new"
    chmod 644 "$file.new"
    mv "$file.new" "$file"
}

# When a process began, in clock ticks since boot: with the pid it names a
# process for good, where a pid alone may be used again. Nothing for a process
# that has ended and only waits for a parent that never asks.
start_time() { sed -n 's/.*) \([^ZX] .*\)/\1/p' "/proc/$1/stat" 2>/dev/null | cut -d' ' -f20; }

# pid_of FILE: the pid in a `PID STARTTIME` file if that very process lives.
pid_of() {
    local pid begun
    [ -e "$1" ] && read -r pid begun <"$1" || return 1
    [ -n "$begun" ] && [ "$(start_time "$pid")" = "$begun" ] || return 1
    printf '%s\n' "$pid"
}

# inside NAME [OPTION…] -- CMD…: as root. In tests by the program that is tested, for on a busy
# machine `incus exec` loses all that a command writes, about once in a thousand runs.
inside() {
    local name=$1 options=()
    shift
    until [ "$1" = -- ]; do
        options+=("$1")
        shift
    done
    if [ -x "${IBX_BIN:-}" ]; then
        "$IBX_BIN" --mode native --root --cwd / "${options[@]}" "$name" "$@"
    else
        incus exec "$name" --cwd / "${options[@]}" "$@"
    fi
}

# The client as this test bed's root uses it: the daemon that `up` chose, and
# no files in root's own ~/.config.
incus_root() (
    unset INCUS_SOCKET INCUS_DIR INCUS_PROJECT INCUS_REMOTE
    if [ "$(daemon_kind)" = private ]; then export INCUS_DIR=$TB_INCUS; fi
    export INCUS_CONF=$TB_STATE/client
    mkdir -p "$INCUS_CONF"
    [ -e "$INCUS_CONF/config.yml" ] || echo '{}' >"$INCUS_CONF/config.yml"
    exec incus "$@" </dev/null
)

# Which daemon serves the test bed: `private` (ours), `system` (the machine's),
# or nothing before `up` has chosen.
daemon_kind() { [ ! -e "$TB_STATE/daemon" ] || cat "$TB_STATE/daemon"; }

exists() { incus_root query "$1" >/dev/null 2>&1; }

# wait_for SECONDS CMD…
wait_for() {
    local tenths=$(($1 * 10))
    shift
    until "$@" >/dev/null 2>&1; do
        [ $((tenths -= 1)) -gt 0 ] || return 1
        sleep 0.1
    done
}
