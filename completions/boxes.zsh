# Written by hand: the names of boxes, asked of the daemon; in the project that the line names.
_incusbox_boxes() {
    local project=$INCUS_PROJECT at all=
    for ((at = 2; at < $#typed; at++)); do
        case $typed[at] in
            --) break ;;
            --project) project=$typed[at+1] ;;
            --project=*) project=${typed[at]#--project=} ;;
        esac
    done
    [[ $words[1] != adopt ]] || all=--all
    local -a boxes
    boxes=(${(f)"$(INCUS_PROJECT=$project incusbox list --quiet $all 2>/dev/null </dev/null)"})
    _describe -t boxes box boxes
}

