
# Written by hand: the names of boxes, asked of the daemon; in the project that the line names.
function __incusbox_boxes
    set -l words (commandline -opc)
    set -l project $INCUS_PROJECT
    for position in (seq (count $words))
        switch $words[$position]
            case --
                break
            case --project
                set project $words[(math $position + 1)]
            case '--project=*'
                set project (string replace -- --project= '' $words[$position])
        end
    end
    INCUS_PROJECT=$project incusbox list --quiet $argv 2>/dev/null </dev/null
end
