
# Whether the word at the cursor is the box: no `--` and no box before it.
function __incusbox_wants_box
    set -l words (commandline -opc)
    set -e words[1]
    set -l skip no
    for word in $words
        if test $skip = yes
            set skip no
            continue
        end
        switch $word
            case --
                return 1
            case -u --user --cwd -e --env --tty --mode --project --opened
                set skip yes
            case --shim
                return 1
            case '-*'
            case '*'
                return 1
        end
    end
    test $skip = no
end

complete -c incusbox-run -n __incusbox_wants_box -f -a '(__incusbox_boxes)' -d box
