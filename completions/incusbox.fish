
complete -c incusbox -n '__fish_seen_subcommand_from enter run info start stop restart rename rm delete set upgrade doctor apps export unexport' -f -a '(__incusbox_boxes)' -d box
complete -c incusbox -n '__fish_seen_subcommand_from adopt' -f -a '(__incusbox_boxes --all)' -d instance
