//! stdin: what it may be, that every byte arrives, and that the bytes which the command does not
//! take are left for the next reader.

use crate::support::{Case, Input, argv, script};

/// All byte values, several times.
fn binary() -> Vec<u8> {
    (0..=255).cycle().take(2000).collect()
}

/// Bytes without a pattern that a chunk's size could match.
fn much(count: usize) -> Vec<u8> {
    let next = |state: &mut u32| {
        *state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        Some((*state >> 24) as u8)
    };
    std::iter::successors(Some(1_u32), |state| Some(state.wrapping_add(7919)))
        .filter_map(|mut state| next(&mut state))
        .take(count)
        .collect()
}

fn to_cat(bytes: &[u8]) -> Case {
    argv(["cat"]).stdin(bytes)
}

cases! {
    an_empty_pipe_is_empty => argv(["wc", "-c"]).stdin("").gives(0, "0\n");
    a_pipes_content_arrives => to_cat(b"one\ntwo").gives(0, "one\ntwo");
    binary_content_with_nul_arrives => to_cat(&binary()).gives(0, binary());
    one_mebibyte_arrives => argv(["md5sum"]).stdin(much(1 << 20));
    four_mebibytes_go_through_both_ways => to_cat(&much(4 << 20));
    control_characters_of_terminals_are_plain_bytes => to_cat(b"\x03\x04\x1a\r\n\x11\x13").gives(0, b"\x03\x04\x1a\r\n\x11\x13");
    a_socket_is_read => argv(["cat"]).input(Input::Socket(b"from a socket\n".to_vec())).gives(0, "from a socket\n");
    a_socket_carries_a_mebibyte_both_ways => argv(["cat"]).input(Input::Socket(much(1 << 20)));
    dev_null_is_empty => script(r#""$@" cat </dev/null"#).gives(0, "");
    dev_null_is_a_character_device =>
        script(r#""$@" sh -c '[ -c /dev/stdin ] && readlink /proc/self/fd/0' </dev/null"#).gives(0, "/dev/null\n");
    a_closed_stdin_is_closed => script(r#""$@" sh -c 'cat; echo $?' <&-"#);
    dev_stdin_can_be_opened => script(r#"echo in | "$@" cat /dev/stdin"#).gives(0, "in\n");
    a_here_document_arrives => script("\"$@\" cat <<END\nhere\ndocument\nEND\n").gives(0, "here\ndocument\n");
    a_named_pipe_is_read =>
        script(r#"mkfifo $T/f; echo in >$T/f & "$@" cat <$T/f"#).gives(0, "in\n");
    a_named_pipe_with_more_than_it_holds_is_read =>
        script(r#"mkfifo $T/f; seq 20000 >$T/f & "$@" sh -c 'sleep 0.2; md5sum' <$T/f"#);
    a_file_open_for_reading_and_writing_is_read =>
        script(r#"echo in >$T/f; "$@" cat <>$T/f"#).gives(0, "in\n");
    a_directory_as_stdin_is_an_error => script(r#""$@" cat </ "#).whatever_stderr();
    what_comes_late_arrives =>
        script(r#"{ echo a; sleep 0.3; echo b; sleep 0.3; printf c; } | "$@" cat"#).gives(0, "a\nb\nc");
    a_line_is_passed_on_before_the_next_comes =>
        script(r#"coproc "$@" sh -c 'while read -r x; do echo "<$x>"; done'
            for i in 1 2 3; do echo $i >&${COPROC[1]}; read -r line <&${COPROC[0]}; echo "$line"; done"#)
        .gives(0, "<1>\n<2>\n<3>\n");
    a_stdin_that_stays_open_delays_nothing =>
        argv(["echo", "done"]).input(Input::Open(b"unread\n".to_vec())).gives(0, "done\n");
    a_yes_ends_when_the_command_closes =>
        script(r#"yes | "$@" head -n 2; echo "${PIPESTATUS[*]}""#).gives(0, "y\ny\n141 0\n");
    a_writer_sees_that_the_command_ended_without_reading =>
        script(r#"yes | "$@" true; echo "${PIPESTATUS[*]}""#).gives(0, "141 0\n");
    a_command_may_close_its_stdin_and_go_on =>
        script(r#"yes | "$@" sh -c 'exec <&-; sleep 0.2; echo on'; echo "${PIPESTATUS[*]}""#).gives(0, "on\n141 0\n");

    a_files_rest_is_left => script(
        r#"printf 'abcdef\n' >$T/f; { "$@" head -c 3; echo; cat; } <$T/f"#).gives(0, "abc\ndef\n");
    a_large_files_rest_is_left => script(
        r#"seq 300000 >$T/f; { "$@" dd bs=1000 count=7 status=none | md5sum; md5sum; } <$T/f"#);
    a_file_is_read_from_where_it_is => script(
        r#"printf '1\n2\n3\n' >$T/f; { read -r x; "$@" cat; } <$T/f"#).gives(0, "2\n3\n");
    a_file_at_its_end_is_empty => script(
        r#"echo a >$T/f; { cat >/dev/null; "$@" cat; echo "$?"; } <$T/f"#).gives(0, "0\n");
    a_file_is_untouched_by_a_command_that_does_not_read => script(
        r#"printf '1\n2\n' >$T/f; { "$@" true; cat; } <$T/f"#).gives(0, "1\n2\n");
    what_others_read_of_a_file_meanwhile_stays_read => script(
        r#"seq 3 >$T/f; { "$@" sleep 1 <&0 & sleep 0.5; read -r a; read -r b; wait; echo "$a $b"; cat; } <$T/f"#)
        .gives(0, "1 2\n3\n");
    a_file_that_was_read_to_its_end_is_at_its_end => script(
        r#"printf '1\n2\n' >$T/f; { "$@" cat >/dev/null; echo rest; cat; } <$T/f"#).gives(0, "rest\n");
    a_reader_that_seeks_back_leaves_the_next_line => script(
        r#"printf '1\n2\n3\n' >$T/f; { "$@" head -n 1; cat; } <$T/f"#).gives(0, "1\n2\n3\n");
    a_loop_over_a_file_loses_no_line => script(
        r#"seq 5 >$T/f; while read -r l; do "$@" echo "got $l"; done <$T/f"#);
    a_loop_over_a_pipe_loses_no_line => script(
        r#"seq 5 | while read -r l; do "$@" echo "got $l"; done"#);
    a_loop_whose_command_takes_a_line_gives_it_that_line => script(
        r#"seq 6 | while read -r l; do "$@" sh -c 'read -r x; echo "$1 $x"' sh "$l"; done"#)
        .gives(0, "1 2\n3 4\n5 6\n");
    a_pipes_rest_is_left => script(
        r#"printf abcdef | { "$@" dd bs=1 count=2 status=none; echo; cat; }"#).gives(0, "ab\ncdef");
    a_large_pipes_rest_is_left => script(
        r#"head -c 60000 /dev/zero | { "$@" dd bs=1 count=2 status=none | wc -c; wc -c; }"#).gives(0, "2\n59998\n");
    two_commands_share_a_pipe => script(
        r#"printf 'a\nb\nc\n' | { "$@" sh -c 'read -r x; echo "1 $x"'; "$@" sh -c 'read -r x; echo "2 $x"'; "$@" cat; }"#)
        .gives(0, "1 a\n2 b\nc\n");
    an_option_n_like_redirection_keeps_the_loops_list => script(
        r#"seq 3 | while read -r l; do "$@" cat </dev/null; echo "$l"; done"#).gives(0, "1\n2\n3\n");
}
