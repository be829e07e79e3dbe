
# Written by hand: the name of the box, asked of the daemon.
_incusbox_run() {
    local current=${COMP_WORDS[COMP_CWORD]} box= project= at word next
    for ((at = 1; at < COMP_CWORD; at++)); do
        word=${COMP_WORDS[at]}
        case $word in
            -- | --shim)
                # The command's words: files of this directory, which the box may see too.
                COMPREPLY=()
                return
                ;;
            --user | -u | --cwd | --env | -e | --tty | --mode | --project | --opened)
                # `--name=value` is three words to bash.
                next=$((at + 1))
                [ "${COMP_WORDS[next]}" != = ] || next=$((at + 2))
                if ((next >= COMP_CWORD)); then
                    [ "$current" != = ] || current=
                    _incusbox__run "$1" "$current" "$word"
                    return
                fi
                [ "$word" != --project ] || project=${COMP_WORDS[next]}
                at=$next
                ;;
            -*) ;;
            *) box=$word ;;
        esac
    done
    case $current in
        -*) _incusbox__run "$1" "$current" "$3" ;;
        *)
            local words=--
            [ -n "$box" ] || words=$(INCUS_PROJECT=${project:-${INCUS_PROJECT-}} \
                incusbox list --quiet 2>/dev/null </dev/null)
            mapfile -t COMPREPLY < <(compgen -W "$words" -- "$current")
            ;;
    esac
}

complete -F _incusbox_run -o nosort -o bashdefault -o default incusbox-run
