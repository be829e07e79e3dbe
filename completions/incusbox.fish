
# Written by hand: the names of boxes, asked of the daemon.
complete -c incusbox -n '__fish_seen_subcommand_from enter run info start stop restart rename rm set upgrade doctor apps export unexport' -f -a '(incusbox list --quiet 2>/dev/null </dev/null)' -d box
complete -c incusbox -n '__fish_seen_subcommand_from adopt' -f -a '(incusbox list --quiet --all 2>/dev/null </dev/null)' -d instance
