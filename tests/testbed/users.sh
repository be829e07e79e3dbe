# shellcheck shell=bash
# users.sh: the people of the tests. Sourced by `up`.
#
#   ibxtest    uid 1000, group incus-admin: the user that most tests are
#   ibxtest2   another uid, group incus-admin: boxes of somebody else
#   ibxnobody  no group of Incus: must be refused
#   ibxuser    group incus: the restricted socket of incus-user only

# free_uid WANTED: WANTED if no user and no group has it, else the next free
# number from 3000 on.
free_uid() {
    local id=$1
    if getent passwd "$id" >/dev/null || getent group "$id" >/dev/null; then
        id=3000
        while getent passwd "$id" >/dev/null || getent group "$id" >/dev/null; do
            id=$((id + 1))
        done
    fi
    printf '%s\n' "$id"
}

# make_user NAME UID [GROUP]
make_user() {
    local name=$1 uid
    if ! id "$name" >/dev/null 2>&1; then
        uid=$(free_uid "$2")
        [ "$uid" = "$2" ] || say "uid $2 is taken: $name gets $uid"
        say "creating user $name (uid $uid${3:+, group $3})"
        groupadd --gid "$uid" "$name"
        useradd --create-home --shell /bin/bash --uid "$uid" --gid "$uid" \
            --comment 'incusbox test bed' "$name"
        record user "$name"
        # Without it the client greets a newcomer on stderr.
        install -d -m 700 -o "$name" -g "$name" "/home/$name/.config" "/home/$name/.config/incus"
        install -m 600 -o "$name" -g "$name" /dev/stdin "/home/$name/.config/incus/config.yml" <<<'{}'
    fi
    if [ -n "${3:-}" ] && ! id -nG "$name" | grep -qwF -- "$3"; then
        usermod --append --groups "$3" "$name"
    fi
}

make_users() {
    make_user ibxtest 1000 incus-admin
    make_user ibxtest2 1234 incus-admin
    make_user ibxnobody 3000
    make_user ibxuser 3001 incus
    env_set IBX_USER ibxtest
    env_set IBX_USER2 ibxtest2
    env_set IBX_NOBODY ibxnobody
    env_set IBX_RESTRICTED ibxuser
}
