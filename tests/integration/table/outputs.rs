//! stdout and stderr: what they may be, that they stay apart, and that nothing is lost.

use crate::support::{Input, argv, script};

cases! {
    stdout_and_stderr_stay_apart => argv(["sh", "-c", "echo out; echo err >&2"]);
    every_byte_arrives_on_stdout =>
        argv(["perl", "-e", "print map { chr } 0..255"]).gives(0, (0..=255).collect::<Vec<u8>>());
    every_byte_arrives_on_stderr => argv(["perl", "-e", "print STDERR map { chr } 0..255"]);
    a_last_line_without_its_end_arrives => argv(["printf", "no newline"]).gives(0, "no newline");
    three_megabytes_arrive => argv(["sh", "-c", "seq 450000"]);
    three_megabytes_arrive_on_stderr => argv(["sh", "-c", "seq 450000 >&2"]);
    both_carry_much_at_once =>
        script(r#""$@" sh -c 'seq 100000 & seq 100000 >&2; wait' 2>$T/e | md5sum; md5sum <$T/e"#);
    a_slow_reader_gets_everything =>
        script(r#""$@" head -c 2000000 /dev/zero | { sleep 0.5; wc -c; }"#).gives(0, "2000000\n");
    output_after_a_pause_arrives => argv(["sh", "-c", "echo a; sleep 0.3; echo b"]).gives(0, "a\nb\n");
    output_comes_before_the_end =>
        script(r#""$@" sh -c 'echo first; sleep 3' | { read -r x; echo "$x"; [ $SECONDS -lt 3 ] && echo early; }"#)
        .gives(0, "first\nearly\n");
    a_command_without_output_gives_none => argv(["true"]).gives(0, "");
    both_into_one_pipe_keep_their_order =>
        script(r#""$@" sh -c 'for i in 1 2 3 4 5 6 7 8 9; do echo o$i; echo e$i >&2; done' 2>&1 | cat"#);
    both_into_one_file_keep_their_order =>
        script(r#""$@" sh -c 'for i in 1 2 3 4 5 6 7 8 9; do echo o$i; echo e$i >&2; done' >$T/f 2>&1; cat $T/f"#);

    a_file_is_appended_to =>
        script(r#"echo 1 >$T/f; "$@" echo 2 >>$T/f; echo 3 >>$T/f; cat $T/f"#).gives(0, "1\n2\n3\n");
    a_file_opened_for_appending_takes_two_writers =>
        script(r#""$@" sh -c 'echo o; sleep 0.2; echo o' >>$T/f & sleep 0.1; echo x >>$T/f; wait; sort $T/f"#)
        .gives(0, "o\no\nx\n");
    runs_share_a_files_offset =>
        script(r#"{ "$@" echo one; echo two; "$@" echo three; } >$T/f; cat $T/f"#).gives(0, "one\ntwo\nthree\n");
    stdout_and_stderr_share_a_files_offset =>
        script(r#"{ "$@" echo one; "$@" sh -c 'echo two >&2'; } >$T/f 2>&1; cat $T/f"#).gives(0, "one\ntwo\n");
    a_file_that_is_not_truncated_keeps_its_rest =>
        script(r#"printf 123456 >$T/f; "$@" printf ab 1<>$T/f; cat $T/f"#).gives(0, "ab3456");
    a_file_is_written_at_its_offset =>
        script(r#"{ printf 12; "$@" printf ab; printf 34; } >$T/f; cat $T/f"#).gives(0, "12ab34");
    a_full_disk_is_not_a_success =>
        script(r#""$@" seq 100000 >/dev/full 2>/dev/null; [ $? -ne 0 ] && echo noticed"#).gives(0, "noticed\n");
    a_full_disk_is_not_a_success_for_a_short_output_either =>
        script(r#""$@" echo x >/dev/full 2>/dev/null; [ $? -ne 0 ] && echo noticed"#).gives(0, "noticed\n");
    dev_null_swallows => script(r#""$@" seq 100000 >/dev/null; echo $?"#).gives(0, "0\n");
    a_named_pipe_is_written =>
        script(r#"mkfifo $T/f; cat $T/f & "$@" echo x >$T/f; wait"#).gives(0, "x\n");

    a_closed_stdout_is_closed => script(r#""$@" sh -c 'echo x; echo $? >&2' >&-"#);
    a_closed_stderr_is_closed => script(r#""$@" sh -c 'echo x >&2; echo $?' 2>&-"#);
    a_command_with_everything_closed_runs =>
        script(r#""$@" sh -c 'exit 5' <&- >&- 2>&-; echo $?"#).gives(0, "5\n");
    a_head_ends_the_command_by_sigpipe =>
        script(r#""$@" seq 1000000 | head -n 1; echo "${PIPESTATUS[*]}""#).gives(0, "1\n141 0\n");
    a_head_ends_a_command_that_never_ends =>
        script(r#""$@" yes | head -n 1; echo "${PIPESTATUS[*]}""#).gives(0, "y\n141 0\n");
    the_commands_shell_sees_the_sigpipe =>
        script(r#""$@" sh -c 'yes; echo "status $?" >&2' 2>$T/e | head -n 1; cat $T/e"#).gives(0, "y\nstatus 141\n");
    a_reader_that_leaves_stderr_ends_the_writer =>
        script(r#"{ "$@" sh -c 'yes >&2' 2>&1 >&3 | head -n 1; } 3>/dev/null; echo "${PIPESTATUS[0]}""#);
    a_quiet_grep_ends_the_pipeline =>
        script(r#""$@" yes match | grep -q match; echo "${PIPESTATUS[*]}""#).gives(0, "141 0\n");
    a_reader_that_is_gone_from_the_start_is_no_hang =>
        script(r#""$@" sh -c 'sleep 0.2; echo x; echo x; exit 3' 2>/dev/null | true; echo "${PIPESTATUS[1]}""#)
        .gives(0, "0\n");

    dev_stdout_can_be_opened => argv(["sh", "-c", "echo x >/dev/stdout"]).gives(0, "x\n");
    dev_stderr_can_be_opened => argv(["sh", "-c", "echo x >/dev/stderr"]);
    dev_fd_can_be_opened => argv(["bash", "-c", "cat <(echo a) <(echo b) >/dev/fd/1"]).gives(0, "a\nb\n");
    tee_writes_to_dev_stderr => argv(["tee", "/dev/stderr"]).stdin("both\n");
    sockets_carry_output => argv(["sh", "-c", "cat; echo err >&2"]).input(Input::Socket(b"in\n".to_vec()));
    a_command_in_a_substitution_gives_its_output =>
        script(r#"x=$("$@" echo inner); echo "[$x]""#).gives(0, "[inner]\n");
    a_pipeline_of_two_runs_works =>
        script(r#""$@" seq 100000 | "$@" tail -n 1"#).gives(0, "100000\n");
    a_pipeline_of_three_runs_works =>
        script(r#""$@" seq 10 | "$@" grep 1 | "$@" sort -r"#).gives(0, "10\n1\n");
    process_substitution_reads_two_runs =>
        script(r#"diff <("$@" echo a) <("$@" echo b)"#);
    ten_at_once_do_not_mix =>
        script(r#"for i in 0 1 2 3 4 5 6 7 8 9; do "$@" sh -c 'sleep 0.1; echo $1' sh $i >$T/$i & done; wait; cat $T/?"#)
        .gives(0, "0\n1\n2\n3\n4\n5\n6\n7\n8\n9\n");
}
