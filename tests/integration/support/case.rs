//! One case of the table, and its comparison with what happens locally.

use std::ffi::{OsStr, OsString};
use std::time::Duration;

use super::outcome::{End, Outcome};
use super::pty::Pty;
use super::runner::{Input, Invocation, words};
use super::scratch::Scratch;
use super::ways::Way;
use crate::table::known;

/// How long a person takes to answer a question. Faster ones meet dash(1) between its fork and its
/// exec, where it loses a ^C, also locally.
const REACTION: Duration = Duration::from_millis(250);

#[derive(Clone, Debug)]
enum What {
    Argv(Vec<OsString>),
    Script(String),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Compared {
    Everything,
    /// What tells the user why is worded otherwise.
    AllButStderr,
}

/// A command and what it runs on.
#[derive(Clone, Debug)]
pub struct Case {
    what: What,
    input: Input,
    variables: Vec<(OsString, OsString)>,
    on_terminal: bool,
    keys: Option<(&'static str, &'static str)>,
    compared: Compared,
    given: Option<Outcome>,
}

fn case(what: What) -> Case {
    Case {
        what,
        input: Input::Null,
        variables: Vec::new(),
        on_terminal: false,
        keys: None,
        compared: Compared::Everything,
        given: None,
    }
}

/// A command.
pub fn argv<W: AsRef<OsStr>>(command: impl IntoIterator<Item = W>) -> Case {
    case(What::Argv(words(command)))
}

/// A script of the caller's bash, in which `"$@"` stands before a command that is to be run, and
/// `$T` is a directory for files of the host's.
pub fn script(text: &str) -> Case {
    case(What::Script(text.to_owned()))
}

impl Case {
    /// With this on a pipe as stdin.
    pub fn stdin(self, bytes: impl AsRef<[u8]>) -> Case {
        self.input(Input::Bytes(bytes.as_ref().to_vec()))
    }

    /// With this as stdin.
    pub fn input(mut self, input: Input) -> Case {
        self.input = input;
        self
    }

    /// With a variable set for the command.
    pub fn env(mut self, name: impl AsRef<OsStr>, value: impl AsRef<OsStr>) -> Case {
        self.variables.push((name.as_ref().to_owned(), value.as_ref().to_owned()));
        self
    }

    /// On a terminal; what it shows counts as stdout.
    pub fn on_terminal(mut self) -> Case {
        self.on_terminal = true;
        self
    }

    /// On a terminal; `keys` are typed when it shows `at`.
    pub fn typed(mut self, at: &'static str, keys: &'static str) -> Case {
        self.keys = Some((at, keys));
        self.on_terminal()
    }

    /// What stderr says does not count.
    pub fn whatever_stderr(mut self) -> Case {
        self.compared = Compared::AllButStderr;
        self
    }

    /// This has to come out, also locally.
    pub fn gives(mut self, code: i32, stdout: impl AsRef<[u8]>) -> Case {
        self.given = Some(Outcome::new(End::Code(code), stdout.as_ref()));
        self
    }

    /// It has to die by this signal without a word, also locally.
    pub fn dies_by(mut self, signal: i32) -> Case {
        self.given = Some(Outcome::new(End::Signal(signal), ""));
        self
    }

    fn invocation(&self, way: Way, scratch: &Scratch) -> Invocation {
        let prefix = way.prefix(&self.variables);
        let all = match &self.what {
            What::Argv(command) => prefix.into_iter().chain(command.iter().cloned()).collect(),
            What::Script(text) => {
                words(["bash", "-c", text, "script"]).into_iter().chain(prefix).collect::<Vec<_>>()
            }
        };
        let mut invocation = Invocation::new(all).variable("T", scratch.path());
        if way == Way::Local {
            invocation.variables.extend(self.variables.iter().cloned());
        }
        invocation
    }

    /// Runs it, and says how it was called.
    pub fn run(&self, way: Way) -> (Outcome, String) {
        let scratch = Scratch::new();
        let invocation = self.invocation(way, &scratch);
        let mut outcome = if self.on_terminal {
            let mut pty = Pty::start(&invocation);
            if let Some((at, keys)) = self.keys {
                pty.wait_for(at).idle(REACTION).send(keys);
            }
            pty.end()
        } else {
            invocation.run_with(self.input.clone())
        };
        if self.compared == Compared::AllButStderr {
            outcome.stderr.clear();
        }
        (outcome, invocation.shown())
    }
}

/// Runs a case; gives what differs from what was expected, and is empty where nothing does.
fn difference(way: Way, case: &Case, expected: &Outcome) -> String {
    // What panics on the way, such as a wait in vain, is a difference too.
    match std::panic::catch_unwind(|| case.run(way)) {
        Ok((outcome, shown)) => match outcome.difference(expected) {
            difference if difference.is_empty() => difference,
            difference => format!("  {shown}\n{difference}"),
        },
        Err(_) => "  (see above)".to_owned(),
    }
}

/// Runs a case by one of the ways and compares: with what was given, else with a local run. What
/// is known to fail has to fail.
pub fn check(way: Way, name: &str, case: &Case) {
    let expected = case.given.clone().unwrap_or_else(|| case.run(Way::Local).0);
    let known = known::failure(way, name);
    let mut difference_now = difference(way, case, &expected);
    // Incus's own client loses the last output of some runs; that is not what is tested here.
    let tries_left = if way == Way::IncusExec && known.is_none() { 2 } else { 0 };
    for _ in 0..tries_left {
        if !difference_now.is_empty() {
            difference_now = difference(way, case, &expected);
        }
    }
    match (known, difference_now.is_empty()) {
        (None, true) => {}
        (None, false) => panic!("{way:?}, {name}:\n{difference_now}"),
        (Some(known), false) => {
            eprintln!("{way:?} fails as known: {}\n{difference_now}", known.why);
        }
        (Some(known), true) => assert!(
            !known.is_certain,
            "{way:?}, {name}: does not fail any more; take it off the list ({})",
            known.why
        ),
    }
}
