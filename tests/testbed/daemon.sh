# shellcheck shell=bash
# daemon.sh: finds, starts and stops the Incus daemon. Sourced by `up`, `down`.
#
# A daemon that already answers is used as it is. A machine without a service
# manager gets a private one in INCUS_DIR, which can live beside any other.

# Whether the machine's own daemon answers at the usual socket.
system_daemon_answers() (
    unset INCUS_DIR INCUS_SOCKET INCUS_PROJECT INCUS_REMOTE
    [ -S /var/lib/incus/unix.socket ] || [ -S /run/incus/unix.socket ] || exit 1
    INCUS_CONF=$TB_STATE/client timeout 20 incus query /1.0 </dev/null >/dev/null 2>&1
)

start_daemon() {
    if [ "$(daemon_kind)" != private ]; then
        if systemd_runs && ! system_daemon_answers; then
            say "starting the machine's Incus (incus.socket, incus.service)"
            systemctl start incus.socket incus.service || :
        fi
        if system_daemon_answers; then
            say "using the Incus daemon that the machine runs"
            echo system >"$TB_STATE/daemon"
            return 0
        fi
    fi
    echo private >"$TB_STATE/daemon"
    start_private
}

# Root's own range of ids, which containers live in. Any range that is there
# already is left as it is.
add_root_ids() {
    local kind
    for kind in subuid subgid; do
        awk -F: '$1 == "root" && $3 >= 65536 { found = 1 } END { exit !found }' \
            "/etc/$kind" 2>/dev/null && continue
        say "giving root a range of ids in /etc/$kind"
        echo 'root:1000000:1000000000' >>"/etc/$kind"
        record "$kind" 'root:1000000:1000000000'
    done
}

# What `incusbox setup` adds for a user: here for the first one alone, so that boxes
# are made with mapped ids and without.
add_user_ids() {
    local kind id
    for kind in subuid subgid; do
        id=$(id "-${kind:3:1}" "$1")
        grep -qx "root:$id:1" "/etc/$kind" 2>/dev/null && continue
        echo "root:$id:1" >>"/etc/$kind"
        record "$kind" "root:$id:1"
    done
}

start_private() {
    if ! pid_of "$TB_STATE/incusd.pid" >/dev/null; then
        add_root_ids
        say "starting a private Incus daemon in $TB_INCUS"
        mkdir -p "$TB_INCUS"
        chmod 711 "$TB_INCUS"
        detach incusd unshare --mount --propagation slave -- "$TB_DIR/private-daemon" incusd
        incus_root admin waitready --timeout 60 ||
            fail "the daemon does not answer, see $TB_STATE/incusd.log"
    fi
}

# The restricted daemon of group incus: a project and a socket of its own for
# each user. It sets itself up from what it finds, so it starts after pool and
# bridge are there.
start_restricted() {
    [ -x "$TB_LIBEXEC/incus-user" ] || return 0
    if [ "$(daemon_kind)" = system ]; then
        ! systemd_runs || systemctl start incus-user.socket || warn "incus-user.socket does not start"
        return 0
    fi
    ! pid_of "$TB_STATE/incus-user.pid" >/dev/null || return 0
    say "starting incus-user, the restricted daemon for group incus"
    detach incus-user "$TB_DIR/private-daemon" incus-user
    wait_for 10 test -S "$TB_INCUS/unix.socket.user" ||
        warn "incus-user does not answer, see $TB_STATE/incus-user.log; going on without"
}

# detach NAME CMD…: a process of its own session, without our terminal, pipes or
# lock, that outlives this script.
detach() {
    local name=$1
    shift
    rm -f "$TB_STATE/$name.pid"
    setsid --fork "$@" </dev/null >>"$TB_STATE/$name.log" 2>&1 9>&-
}

gone() { ! pid_of "$TB_STATE/$1.pid"; }

# Ends only processes that `start_private` began: by pid and start time.
stop_private() {
    local pid
    if pid=$(pid_of "$TB_STATE/incus-user.pid"); then
        say "stopping incus-user"
        kill "$pid"
        wait_for 10 gone incus-user || warn "incus-user (pid $pid) is still there"
    fi
    if pid=$(pid_of "$TB_STATE/incusd.pid"); then
        say "stopping the private daemon and its boxes"
        incus_root admin shutdown --timeout 60 || kill -PWR "$pid"
        wait_for 90 gone incusd || fail "the daemon (pid $pid) is still there, see $TB_STATE/incusd.log"
    fi
    rm -f "$TB_STATE/incus-user.pid" "$TB_STATE/incusd.pid"
}
