//! Incus projects of a test's own, for what concerns all boxes of one.

use std::process::{Command, Stdio};

use crate::support::{Outcome, incus, run, variable};

/// A project with the test bed's profile and image; it goes with all that is in it.
pub struct Project(pub String);

const CREATE: &str = r#"set -e
incus project create "$0"
incus profile show default | incus profile edit default --project "$0"
incus image copy "$IBX_IMAGE" local: --target-project "$0" --copy-aliases --mode relay --quiet"#;

impl Project {
    /// A new one.
    pub fn new(what: &str) -> Project {
        let name = format!("{}-{what}", variable("IBX_BOX"));
        sh(&name, CREATE).succeeds();
        Project(name)
    }

    /// Asks Incus something of it.
    pub fn incus(&self, words: &[&str]) -> Outcome {
        incus(&[words, &["--project", &self.0]].concat()).succeeds()
    }
}

impl Drop for Project {
    fn drop(&mut self) {
        // It asks all the same.
        let _said_by_incus = sh(&self.0, "echo yes | incus project delete \"$0\" --force");
    }
}

fn sh(project: &str, script: &str) -> Outcome {
    let mut sh = Command::new("sh");
    sh.args(["-c", script, project]).stdin(Stdio::null());
    run(sh)
}
