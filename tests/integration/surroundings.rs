//! What a command finds around it in the box: groups, PATH, limits, directory, session. Here the
//! box's own counts, not the host's, so there is no local run to compare with.

use crate::support::{End, Invocation, Outcome, Pty, Scratch, Way, home, ways};

fn told(invocation: &Invocation) -> String {
    let outcome = invocation.run();
    assert_eq!(outcome.end, End::Code(0), "{}: {}", invocation.shown(), outcome.errors());
    outcome.text().trim_end().to_owned()
}

fn agent(text: &str) -> String {
    told(&Invocation::by(Way::Agent, ["sh", "-c", text]))
}

fn native(text: &str) -> String {
    told(&Invocation::by(Way::Native, ["sh", "-c", text]))
}

#[test]
fn the_groups_are_those_of_the_users_account_in_the_box() {
    let user = ways::user();
    assert_eq!(agent("id -Gn"), format!("{user} video"));
}

#[test]
fn the_path_is_that_of_a_login_in_the_box() {
    let path = agent("echo $PATH");
    let login = told(&Invocation::program([
        ways::shared_box(),
        "--",
        "sh",
        "-c",
        "env -i HOME=$HOME bash -lc 'echo $PATH'",
    ]));
    assert_eq!(path, login);
    assert!(path.contains("/usr/local/bin:/usr/bin:/bin"), "{path}");
}

#[test]
fn the_soft_limit_of_open_files_is_that_of_a_login() {
    assert_eq!(agent("ulimit -Sn"), "1024");
    assert_eq!(agent("ulimit -Hc"), native("ulimit -Hc"), "core files may be asked for");
    let hard: u64 = agent("ulimit -Hn").parse().expect("a number");
    assert!(hard >= 1024);
}

#[test]
fn no_descriptor_above_2_is_open() {
    // 3 is the directory that the shell reads.
    assert_eq!(agent("cd /proc/$$/fd; echo *"), "0 1 2 3");
}

#[test]
fn the_box_is_named_in_the_environment() {
    assert_eq!(agent("echo $INCUSBOX_BOX"), ways::shared_box());
}

#[test]
fn variables_of_the_host_that_mean_nothing_in_the_box_stay_away() {
    let text = "env | cut -d= -f1 | grep -E '^(IBX_|INCUS_|T$|LS_|DEBUG|OLDPWD)' || true";
    let mut invocation = Invocation::by(Way::Agent, ["sh", "-c", text]);
    invocation = invocation.variable("DEBUGINFOD_URLS", "x").variable("LS_COLORS", "x");
    assert_eq!(told(&invocation), "");
}

#[test]
fn the_runtime_directory_is_named_only_where_there_is_one() {
    let text = r#"[ "${XDG_RUNTIME_DIR:+set}" = "$([ -d /run/user/$(id -u) ] && echo set)" ] && echo agree"#;
    assert_eq!(agent(text), "agree");
}

#[test]
fn the_working_directory_is_the_callers_where_the_box_has_it() {
    for directory in ["/usr/share", "/", "/etc/skel", "/proc"] {
        let command =
            Invocation::by(Way::Agent, ["sh", "-c", "pwd; /bin/pwd"]).directory(directory);
        assert_eq!(told(&command), format!("{directory}\n{directory}"));
    }
}

#[test]
fn the_working_directory_is_the_home_where_the_box_lacks_the_callers() {
    let scratch = Scratch::new();
    let command = Invocation::by(Way::Agent, ["sh", "-c", "pwd; echo $PWD"]);
    let expected = format!("{0}\n{0}", home().display());
    assert_eq!(told(&command.directory(scratch.path())), expected);
}

#[test]
fn a_symlinked_working_directory_keeps_its_name() {
    let command = Invocation::by(Way::Agent, ["bash", "-c", "echo $PWD"]).directory("/lib");
    let local = Invocation::by(Way::Local, ["bash", "-c", "cd /lib; exec bash -c 'echo $PWD'"]);
    assert_eq!(told(&command.variable("PWD", "/lib")), told(&local));
}

#[test]
fn a_removed_working_directory_is_no_error() {
    let text = r#"mkdir $T/gone; cd $T/gone; rmdir $T/gone; "$@" pwd"#;
    let scratch = Scratch::new();
    let outcome = Invocation::script(Way::Agent, text).variable("T", scratch.path()).run();
    assert_eq!(outcome, Outcome::new(End::Code(0), format!("{}\n", home().display())));
}

#[test]
fn the_command_leads_its_own_process_group_in_a_session() {
    let told = agent("ps -o pid=,pgid=,sid= -p $$");
    let numbers: Vec<i32> =
        told.split_whitespace().map(|field| field.parse().expect("a number")).collect();
    let [pid, group, session] = numbers[..] else { panic!("three numbers: {told}") };
    assert_eq!(pid, group);
    assert_ne!(session, 0);
}

#[test]
fn the_commands_group_is_in_the_terminals_foreground_and_the_terminal_controls_it() {
    let command = ["sh", "-c", "ps -o pgid=,tpgid=,tty= -p $$; tty"];
    let outcome = Pty::start(&Invocation::by(Way::Agent, command)).end();
    let text = outcome.text();
    let fields: Vec<&str> = text.split_whitespace().collect();
    let [group, foreground, controls, name] = fields[..] else { panic!("four fields: {text}") };
    assert_eq!(group, foreground);
    assert_eq!(format!("/dev/{controls}"), name);
}

#[test]
fn the_terminal_belongs_to_the_user() {
    let command = ["sh", "-c", "stat -Lc '%U %a' $(tty); (echo opened >$(tty))"];
    let outcome = Pty::start(&Invocation::by(Way::Agent, command)).end();
    let text = outcome.text();
    assert!(text.starts_with(&format!("{} 6", ways::user())), "{text}");
    assert!(text.ends_with("opened\r\n"), "{text}");
}

/// Arguments of an exec request show in the host's process list; the agent's do not.
#[test]
fn arguments_and_variables_do_not_show_on_the_host() {
    let secret = format!("secret-{}", std::process::id());
    let mut invocation = Invocation::program(["--mode=agent"]);
    invocation.words.push(format!("--env=IBXT={secret}").into());
    invocation.words.extend([ways::shared_box(), "--", "sleep", "3"].map(Into::into));
    let running = invocation.start(crate::support::Input::Null);
    std::thread::sleep(std::time::Duration::from_millis(800));
    let own = [running.pid()];
    let entries = std::fs::read_dir("/proc").expect("/proc").flatten();
    let pids = entries.filter_map(|entry| entry.file_name().to_str()?.parse::<i32>().ok());
    for pid in pids.filter(|pid| !own.contains(pid)) {
        let words = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        let words = String::from_utf8_lossy(&words).into_owned();
        assert!(!words.contains(&secret), "{pid}: {words}");
    }
}
