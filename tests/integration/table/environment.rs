//! The environment and the rest of what a command inherits, as far as it is the same on both sides.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;

use crate::support::{Case, argv, script};

fn many() -> Case {
    let names = (0..200).map(|number| format!("IBXT_{number}"));
    names.fold(argv(["sh", "-c", "env | grep ^IBXT_ | sort"]), |case, name| {
        let value = format!("value of {name}");
        case.env(name, value)
    })
}

cases! {
    a_variable_arrives => argv(["sh", "-c", "echo \"$IBXT\""]).env("IBXT", "a b").gives(0, "a b\n");
    an_empty_variable_is_set => argv(["sh", "-c", "echo \"${IBXT-unset}\""]).env("IBXT", "").gives(0, "\n");
    a_variable_with_equals_signs_arrives => argv(["printenv", "IBXT"]).env("IBXT", "a=b=c=").gives(0, "a=b=c=\n");
    a_variable_with_newlines_arrives => argv(["printenv", "IBXT"]).env("IBXT", "a\nb\n\nc").gives(0, "a\nb\n\nc\n");
    a_variable_in_unicode_arrives => argv(["printenv", "IBXT"]).env("IBXT", "grün 🦀").gives(0, "grün 🦀\n");
    a_variable_that_is_not_utf_8_arrives =>
        argv(["printenv", "IBXT"]).env("IBXT", OsStr::from_bytes(b"caf\xe9\xff")).gives(0, b"caf\xe9\xff\n");
    a_variable_of_30_kb_arrives =>
        argv(["sh", "-c", "printenv IBXT | md5sum"]).env("IBXT", "0123456789".repeat(3000));
    two_hundred_variables_arrive => many();

    home_user_and_logname_are_the_users_own =>
        argv(["sh", "-c", "echo \"$HOME $USER $LOGNAME\""]);
    the_shell_is_the_users_own => argv(["sh", "-c", "echo \"$SHELL\""]);
    the_language_is_the_callers => argv(["sh", "-c", "echo \"$LANG\""]);
    the_locale_variables_are_the_callers =>
        script(r#"LC_TIME=C LC_ALL=POSIX "$@" sh -c 'echo "$LC_TIME $LC_ALL"'"#).gives(0, "C POSIX\n");
    the_terminals_name_is_the_callers =>
        script(r#"TERM=vt100 "$@" sh -c 'echo "$TERM"'"#).gives(0, "vt100\n");
    the_ids_are_the_users_own => argv(["sh", "-c", "id -un; id -u; id -gn; id -g"]);
    the_home_is_where_it_starts_and_pwd_says_so => argv(["sh", "-c", "pwd; echo \"$PWD\"; /bin/pwd"]);
    no_signal_is_ignored_or_blocked =>
        argv(["sh", "-c", "grep -E 'Sig(Blk|Ign)' /proc/self/status | grep -o '.......$'"])
        .gives(0, "0000000\n0000000\n");
    what_the_caller_ignores_stays_ignored =>
        script(r#"trap '' HUP INT TERM; "$@" sh -c 'grep SigIgn /proc/self/status' | grep -o '.......$'"#)
        .gives(0, "0004003\n");
    nohup_keeps_the_command_from_a_hangup =>
        script(r#"nohup "$@" sh -c 'kill -HUP $$; echo lives' </dev/null"#).gives(0, "lives\n");
}
