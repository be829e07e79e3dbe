//! Machines that may be changed: hosts in boxes.

use std::process::{Command, Stdio};

use crate::support::{Outcome, incus, program, run, variable};

/// A host of a name of its own, removed at the end.
pub struct Host(pub String);

impl Host {
    /// A new one, with the programs under test.
    pub fn new(suite: &str, what: &str) -> Host {
        let host = Host(format!("{}-{what}-{suite}", variable("IBX_BOX")));
        script(&[suite, &host.0]).succeeds();
        let root = program("incusbox").ancestors().nth(4).expect("a stage").to_owned();
        script(&["--install", &host.0, &root.to_string_lossy()]).succeeds();
        host
    }

    /// One whose Incus is ready, with the image `testbed`.
    pub fn ready(suite: &str, what: &str) -> Host {
        let host = Host::new(suite, what);
        script(&["--init", &host.0]).succeeds();
        host
    }

    /// Runs a shell script in a login of `user`.
    pub fn sh(&self, user: &str, text: &str) -> Outcome {
        script(&["--run", &self.0, user, "sh", "-c", text])
    }

    /// Runs it in one of root's.
    pub fn root(&self, text: &str) -> Outcome {
        self.sh("root", text)
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        let _gone_or_said_by_incus = incus(&["delete", "--force", &self.0]);
    }
}

/// Runs the test bed's `host`.
pub fn script(words: &[&str]) -> Outcome {
    let path = std::path::Path::new(&variable("IBX_BOX_SCRIPT")).with_file_name("host");
    let mut command = Command::new(path);
    command.args(words).stdin(Stdio::null());
    run(command)
}

/// The name of a user of the test bed.
pub fn user(name: &str) -> String {
    variable(name)
}
