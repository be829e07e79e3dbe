# Written by hand: the name of the box, asked of the daemon.
_incusbox_boxes() {
    local project=$INCUS_PROJECT
    # Filled by _arguments from what stands on the line already.
    project=${opt_args[--project]:-$project}
    local -a boxes
    boxes=(${(f)"$(INCUS_PROJECT=$project incus list --format csv --columns n 2>/dev/null </dev/null)"})
    _describe -t boxes box boxes
}
