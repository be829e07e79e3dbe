# What bash would complete, for `incusbox complete`: run by the bash of a box, never by the host's.
# Arguments: the command, COMP_CWORD, COMP_POINT, COMP_LINE, and the words of COMP_WORDS.
# Prints `:OPTION` for each of compopt's options that is on, then `=CANDIDATE` for each candidate.
command=$1 COMP_CWORD=$2 COMP_POINT=$3 COMP_LINE=$4
shift 4
COMP_WORDS=("$@") COMP_TYPE=9 COMP_KEY=9
exec 3>&1 >/dev/null 2>&1
shopt -s progcomp extglob
for place in /usr/local/share /usr/share; do
    [ -r "$place/bash-completion/bash_completion" ] || continue
    # As an interactive shell has it: before that it returns at once.
    PS1='$ '
    . "$place/bash-completion/bash_completion"
    break
done

# There is no completion at work that the own one could change the options of.
declare -A options
compopt() {
    while [ $# -gt 0 ]; do
        case $1 in
            -o) options[${2-}]=1; shift ;;
            +o) unset "options[${2-}]"; shift ;;
        esac
        shift
    done
}

find_function() {
    local specification word=
    specification=$(complete -p -- "$command" 2>/dev/null || complete -p -- "${command##*/}") || return
    eval "set -- $specification"
    function= rest=()
    shift
    while [ $# -gt 1 ]; do
        case $1 in
            -F) function=$2; shift ;;
            -o) options[$2]=1; shift ;;
            *) rest+=("$1") ;;
        esac
        shift
    done
}

load() {
    local loader
    for loader in _comp_load _completion_loader; do
        declare -F "$loader" >/dev/null || continue
        "$loader" "$command"
        return 0
    done
}

current=${COMP_WORDS[COMP_CWORD]-} previous=${COMP_WORDS[COMP_CWORD - 1]-}
find_function || { load; find_function; } || exit 0
COMPREPLY=()
if [ "$function" ]; then
    "$function" "${COMP_WORDS[0]}" "$current" "$previous"
    if [ $? -eq 124 ]; then
        # It has loaded another one.
        options=() COMPREPLY=()
        find_function && [ "$function" ] && "$function" "${COMP_WORDS[0]}" "$current" "$previous"
    fi
elif [ ${#rest[@]} -gt 0 ]; then
    mapfile -t COMPREPLY < <(compgen "${rest[@]}" -- "$current")
fi
[ ${#options[@]} -eq 0 ] || printf ':%s\n' "${!options[@]}" >&3
[ ${#COMPREPLY[@]} -eq 0 ] || printf '=%s\n' "${COMPREPLY[@]}" >&3
