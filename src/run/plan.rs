//! What to run and how, worked out from the arguments and what the caller handed us. Pure: nothing
//! here asks the daemon or touches a terminal.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt, OsStringExt};

use super::arguments::{Options, Tty, WhichUser};
use super::environment;
use crate::agent::protocol::desktop::Desktop;
use crate::agent::protocol::{Base, Command, Fd, Missing, Opened, Request, Terminal, User, Watch};
use crate::sys::fds::FdKind;
use crate::sys::terminal::{Settings, Size};

/// What the caller handed us.
#[derive(Clone, Debug)]
pub struct Surroundings {
    /// What descriptors 0, 1 and 2 are.
    pub fds: [FdKind; 3],
    /// Descriptors 1 and 2 are one and the same (`2>&1`).
    pub stderr_is_stdout: bool,
    /// The terminal behind the first of them that is one, else the controlling one.
    pub terminal: Option<Seen>,
    /// The caller's user id.
    pub uid: u32,
    /// The caller's account name, if there is one.
    pub user: Option<OsString>,
    /// The working directory; `None` where it was removed.
    pub directory: Option<OsString>,
    /// Signals that are ignored: bit N-1 for signal N.
    pub ignored_signals: u64,
    /// The desktop session.
    pub desktop: Desktop,
    /// This program's path.
    pub runner: Option<OsString>,
    /// What a launcher opens.
    pub opened: Vec<Opened>,
}

/// A terminal as it was found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Seen {
    /// Its settings.
    pub settings: Settings,
    /// Its size.
    pub size: Size,
    /// Whether we are in its foreground.
    pub is_foreground: bool,
}

/// The settings of a terminal that nobody has: what a new Linux tty starts with (asm-generic
/// termbits and `tty_std_termios`), with UTF-8 input.
const DEFAULT_SETTINGS: Settings = Settings {
    flags: [0x4500, 0x5, 0xbf, 0x8a3b],
    characters: [3, 28, 127, 21, 4, 0, 1, 0, 17, 19, 26, 0, 18, 15, 23, 22, 0, 0, 0],
};
const DEFAULT_SIZE: Size = Size { columns: 80, rows: 24, x_pixels: 0, y_pixels: 0 };

/// How the host's terminal takes part.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Keyboard {
    /// Not at all.
    None,
    /// Its keys go to the command from the start, in raw mode.
    AtOnce,
    /// Its keys go to the command once a program in the box asks for them.
    OnDemand,
    /// stdin, whatever it is, plays the keyboard (`--tty always` without a terminal).
    Stdin,
}

/// What the agent is asked, and how the host takes part.
#[derive(Clone, Debug)]
pub struct Plan {
    /// The request.
    pub request: Request,
    /// The keyboard.
    pub keyboard: Keyboard,
    /// Whether a person sits at both ends: stdin and stdout are the terminal.
    pub is_interactive: bool,
}

/// Plans a run by the agent.
pub fn plan(
    options: &Options,
    around: &Surroundings,
    host: impl Fn(&OsStr) -> Option<OsString>,
) -> Plan {
    let fds = fds(options, around);
    // Also where none of the three is one: a program may open /dev/tty.
    let is_reachable = around.terminal.is_some() && options.tty == Tty::Auto;
    let has_terminal = fds.contains(&Fd::Terminal) || is_reachable;
    let is_terminal = |number: usize| around.fds[number] == FdKind::Terminal;
    let is_interactive = has_terminal && is_terminal(0) && is_terminal(1);
    let is_foreground = around.terminal.is_some_and(|terminal| terminal.is_foreground);
    let keyboard = match (has_terminal, around.terminal) {
        (false, _) => Keyboard::None,
        _ if options.tty == Tty::Always && !is_terminal(0) && !options.no_stdin => Keyboard::Stdin,
        (true, None) => Keyboard::None,
        (true, Some(_)) if is_interactive && is_foreground && !options.no_stdin => Keyboard::AtOnce,
        (true, Some(_)) => Keyboard::OnDemand,
    };
    let watch = if keyboard == Keyboard::OnDemand { Watch::Yes } else { Watch::No };
    let terminal = has_terminal.then(|| Terminal {
        settings: around.terminal.map_or(DEFAULT_SETTINGS, |terminal| terminal.settings),
        size: around.terminal.map_or(DEFAULT_SIZE, |terminal| terminal.size),
        watch,
    });
    let bytes = |text: OsString| text.into_vec();
    let environment = environment::choose(host, &options.environment, options.clean_environment);
    let (directory, missing) = match (&options.directory, &around.directory) {
        (Some(directory), _) => (directory.as_bytes().to_vec(), Missing::Refuse),
        (None, Some(directory)) => (directory.as_bytes().to_vec(), Missing::UseHome),
        (None, None) => (Vec::new(), Missing::UseHome),
    };
    let request = Request {
        box_name: options.name.as_str().as_bytes().to_vec(),
        command: match options.command.as_slice() {
            [] => Command::LoginShell,
            argv if options.is_agents => {
                Command::Own(argv.iter().map(|word| word.as_bytes().to_vec()).collect())
            }
            argv => Command::Argv(argv.iter().map(|word| word.as_bytes().to_vec()).collect()),
        },
        user: match &options.user {
            WhichUser::Named(name) => User::Named(name.as_bytes().to_vec()),
            WhichUser::Own => User::Host {
                uid: around.uid,
                name: around.user.clone().map(bytes).unwrap_or_default(),
            },
        },
        directory,
        missing,
        base: if options.clean_environment { Base::Clean } else { Base::Login },
        environment: environment
            .into_iter()
            .map(|(name, value)| (bytes(name), bytes(value)))
            .collect(),
        fds,
        terminal,
        ignored_signals: around.ignored_signals,
        install_as: None,
        runner: around.runner.clone().map(bytes).unwrap_or_default(),
        opened: around.opened.clone(),
        desktop: (!options.clean_environment).then(|| around.desktop.clone()),
    };
    Plan { request, keyboard, is_interactive }
}

/// What each standard descriptor of the command shall be.
fn fds(options: &Options, around: &Surroundings) -> [Fd; 3] {
    let mut fds = around.fds.map(|kind| match kind {
        FdKind::Terminal if options.tty == Tty::Never => Fd::Pipe,
        FdKind::Terminal => Fd::Terminal,
        FdKind::Null => Fd::Null,
        FdKind::Closed => Fd::Closed,
        FdKind::File | FdKind::Pipe | FdKind::Socket | FdKind::Device => Fd::Pipe,
    });
    if options.tty == Tty::Always {
        fds = [Fd::Terminal; 3];
    }
    if options.no_stdin {
        fds[0] = Fd::Null;
    }
    if around.stderr_is_stdout && fds[1..] == [Fd::Pipe; 2] {
        fds[2] = Fd::Stdout;
    }
    fds
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::run::arguments;

    const SEEN: Seen = Seen { settings: DEFAULT_SETTINGS, size: DEFAULT_SIZE, is_foreground: true };

    fn planned(line: &str, fds: [FdKind; 3], is_foreground: bool) -> Plan {
        let options = arguments::parse(line.split(' ').map(OsString::from)).expect("arguments");
        let around = Surroundings {
            fds,
            stderr_is_stdout: fds[1] == fds[2],
            terminal: fds.contains(&FdKind::Terminal).then_some(Seen { is_foreground, ..SEEN }),
            uid: 1000,
            user: Some("dev".into()),
            directory: Some("/home/dev/src".into()),
            ignored_signals: 0,
            desktop: Desktop::default(),
            runner: None,
            opened: Vec::new(),
        };
        plan(&options, &around, |_| None)
    }

    use FdKind::{Closed, File, Null, Pipe, Socket, Terminal as Tty_};

    #[test]
    fn every_descriptor_of_the_command_is_what_the_callers_is() {
        let fds = |fds| planned("x dev -- a", fds, true).request.fds;
        assert_eq!(fds([Tty_, Tty_, Tty_]), [Fd::Terminal; 3]);
        assert_eq!(fds([Pipe, Tty_, File]), [Fd::Pipe, Fd::Terminal, Fd::Pipe]);
        assert_eq!(fds([Null, Socket, Closed]), [Fd::Null, Fd::Pipe, Fd::Closed]);
        assert_eq!(fds([Null, File, File]), [Fd::Null, Fd::Pipe, Fd::Stdout]);
        assert_eq!(fds([Tty_, Closed, Closed]), [Fd::Terminal, Fd::Closed, Fd::Closed]);
    }

    #[test]
    fn keys_are_taken_at_once_only_by_a_person_at_both_ends_in_the_foreground() {
        let keyboard = |line, fds, foreground| planned(line, fds, foreground).keyboard;
        assert_eq!(keyboard("x dev -- a", [Tty_, Tty_, Pipe], true), Keyboard::AtOnce);
        assert_eq!(keyboard("x dev -- a", [Tty_, Tty_, Tty_], false), Keyboard::OnDemand);
        assert_eq!(keyboard("x dev -- a", [Tty_, Pipe, Tty_], true), Keyboard::OnDemand);
        assert_eq!(keyboard("x dev -- a", [Pipe, Tty_, Tty_], true), Keyboard::OnDemand);
        assert_eq!(keyboard("x -n dev -- a", [Tty_, Tty_, Tty_], true), Keyboard::OnDemand);
        assert_eq!(keyboard("x -T dev -- a", [Tty_, Tty_, Tty_], true), Keyboard::None);
        assert_eq!(keyboard("x -t dev -- a", [Pipe, Pipe, Pipe], true), Keyboard::Stdin);
        assert_eq!(keyboard("x -t dev -- a", [Tty_, Pipe, Pipe], true), Keyboard::OnDemand);
        assert_eq!(keyboard("x -n -t dev -- a", [Pipe, Pipe, Pipe], true), Keyboard::None);
        assert_eq!(keyboard("x -n -t dev -- a", [Pipe, Tty_, Pipe], true), Keyboard::OnDemand);
        assert_eq!(keyboard("x dev -- a", [Pipe, Pipe, Null], true), Keyboard::None);
    }

    #[test]
    fn a_directory_that_was_named_must_exist_and_the_callers_need_not() {
        let own = planned("x dev -- a", [Null; 3], true).request;
        assert_eq!(
            (own.directory.as_slice(), own.missing),
            (&b"/home/dev/src"[..], Missing::UseHome)
        );
        let named = planned("x --cwd /srv dev -- a", [Null; 3], true).request;
        assert_eq!((named.directory.as_slice(), named.missing), (&b"/srv"[..], Missing::Refuse));
    }

    #[test]
    fn no_command_means_the_login_shell() {
        assert_eq!(planned("x dev", [Null; 3], true).request.command, Command::LoginShell);
        assert_eq!(planned("x dev --", [Null; 3], true).request.command, Command::LoginShell);
    }
}
