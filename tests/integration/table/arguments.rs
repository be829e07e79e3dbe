//! Arguments: every byte of every one arrives, and nothing looks into them on the way.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;

use crate::support::{Case, argv, script};

/// Shows each argument in a line of its own, with angles around it.
fn shows(arguments: &[&str]) -> Case {
    argv(["printf", "<%s>\\n"].iter().chain(arguments))
}

fn bytes(bytes: &[u8]) -> &OsStr {
    OsStr::from_bytes(bytes)
}

fn numbers(count: usize) -> Vec<String> {
    (0..count).map(|number| format!("argument-{number}")).collect()
}

cases! {
    arguments_keep_their_spaces => shows(&["a b", " ", "  c", "d  ", "\t"]);
    empty_arguments_stay => shows(&["", "a", "", ""]);
    arguments_keep_their_quotes => shows(&["'", "\"", "\\", "`", "a'b\"c\\d", "\\n", "'quoted'"]);
    arguments_keep_their_newlines => shows(&["a\nb", "\n", "end\n", "\r\n"]);
    no_shell_expands_arguments =>
        shows(&["*", "~", "$HOME", "${PATH}", "$(id)", "`id`", "a;b", "a&b", "|", ">x", "#", "!1", "{a,b}"]);
    arguments_that_look_like_options_of_ours_are_the_commands =>
        shows(&["--", "-t", "--root", "--help", "--version", "--user=root", "-", "--mode", "native"]);
    arguments_in_unicode_arrive => shows(&["äöü", "日本語", "🦀", "e\u{301}", "\u{202e}rtl", "\u{feff}"]);
    control_characters_in_arguments_arrive => shows(&["\x01\x02", "\x1b[31m", "\x7f", "\x08"]);
    arguments_with_an_equals_sign_arrive => shows(&["A=b", "=", "--x=y=z"]);
    arguments_that_are_not_utf_8_arrive =>
        argv([bytes(b"printf"), bytes(b"<%s>\\n"), bytes(b"\xff\xfe"), bytes(b"caf\xe9"), bytes(b"\xc3")]);
    a_formats_percent_signs_are_left_alone => argv(["printf", "%s %d%%\\n", "%s", "7"]);
    an_argument_of_100_kb_arrives =>
        argv(["sh", "-c", "printf %s \"$1\" | md5sum", "sh", &"0123456789".repeat(10_000)]);
    two_thousand_arguments_arrive =>
        argv(["sh", "-c", "echo $#; printf '%s\\n' \"$@\" | md5sum", "sh"].map(String::from)
            .into_iter().chain(numbers(2000)));
    a_megabyte_of_arguments_arrives =>
        argv(["sh", "-c", "echo $#; printf '%s\\n' \"$@\" | md5sum", "sh"].map(String::from)
            .into_iter().chain(vec!["0123456789".repeat(1000); 100]));
    a_script_of_several_lines_is_one_argument =>
        argv(["sh", "-c", "for i in 1 2\ndo\n  echo \"line $i\"\ndone\n"]);
    a_pattern_that_the_callers_shell_left_alone_is_the_commands =>
        script(r#"cd /; "$@" sh -c 'printf "%s\n" "$1"' sh '/et*'"#).gives(0, "/et*\n");
    a_name_with_an_equals_sign_is_a_command_not_a_variable =>
        argv(["sh", "-c", "A=b sh -c 'echo $A'"]).gives(0, "b\n");
    many_words_of_options_are_the_commands =>
        argv(["ls", "-d", "--color=never", "--", "/etc/passwd"]).gives(0, "/etc/passwd\n");
}
