
# Written by hand: the names of boxes, asked of the daemon.
_incusbox_with_boxes() {
    local current=${COMP_WORDS[COMP_CWORD]} subcommand= word before=
    for word in "${COMP_WORDS[@]:1:COMP_CWORD-1}"; do
        if [ "$before" = --project ]; then
            # `--project=name` is three words to bash.
            [ "$word" = = ] || before=
            continue
        fi
        case $word in
            --project) before=$word ;;
            --) COMPREPLY=(); return ;;
            -*) ;;
            *) subcommand=$word; break ;;
        esac
    done
    case $subcommand:$current in
        *:-*) ;;
        enter:* | run:* | info:* | start:* | stop:* | restart:* | rename:* | rm:* | set:* | adopt:* | upgrade:* | doctor:* | apps:* | export:* | unexport:*)
            local all=
            [ "$subcommand" != adopt ] || all=--all
            mapfile -t COMPREPLY < <(compgen -W "$(incusbox list --quiet $all 2>/dev/null </dev/null)" -- "$current")
            return
            ;;
    esac
    _incusbox "$@"
}

complete -F _incusbox_with_boxes -o nosort -o bashdefault -o default incusbox
