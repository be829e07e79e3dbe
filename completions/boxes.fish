
# Written by hand: the name of the box, asked of the daemon.
function __incusbox_boxes
    set -l words (commandline -opc)
    set -l project $INCUS_PROJECT
    for position in (seq (count $words))
        switch $words[$position]
            case --project
                set project $words[(math $position + 1)]
            case '--project=*'
                set project (string replace -- --project= '' $words[$position])
        end
    end
    INCUS_PROJECT=$project incus list --format csv --columns n 2>/dev/null </dev/null
end

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
