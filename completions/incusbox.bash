
# Written by hand: the names of boxes, asked of the daemon.
_incusbox_with_boxes() {
    local current=${COMP_WORDS[COMP_CWORD]} subcommand= project= before= word
    for word in "${COMP_WORDS[@]:1:COMP_CWORD-1}"; do
        if [ "$before" = --project ]; then
            # `--project=name` is three words to bash.
            [ "$word" != = ] || continue
            project=$word before=
            continue
        fi
        case $word in
            --project) before=$word ;;
            --) COMPREPLY=(); return ;;
            -*) ;;
            *) subcommand=${subcommand:-$word} ;;
        esac
    done
    case $before:$subcommand:$current in
        --project:* | *:-*) ;;
        :enter:* | :run:* | :info:* | :start:* | :stop:* | :restart:* | :rename:* | :rm:* | :delete:* | :set:* | :adopt:* | :upgrade:* | :doctor:* | :apps:* | :export:* | :unexport:*)
            local all=
            [ "$subcommand" != adopt ] || all=--all
            mapfile -t COMPREPLY < <(compgen -W "$(INCUS_PROJECT=${project:-${INCUS_PROJECT-}} \
                incusbox list --quiet $all 2>/dev/null </dev/null)" -- "$current")
            return
            ;;
    esac
    _incusbox "$@"
}

# By one of its other names, `incusbox-enter`, all is as with the subcommand.
_incusbox_called_as() {
    local subcommand=${COMP_WORDS[0]##*/} rest=("${COMP_WORDS[@]:1}")
    local COMP_WORDS COMP_CWORD=$((COMP_CWORD + 1))
    COMP_WORDS=(incusbox "${subcommand#incusbox-}" "${rest[@]}")
    _incusbox_with_boxes incusbox "$2" "$3"
}

complete -F _incusbox_with_boxes -o nosort -o bashdefault -o default incusbox
complete -F _incusbox_called_as -o nosort -o bashdefault -o default @LINKS@
