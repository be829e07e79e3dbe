//! The four ways to run a command, each as the words that stand before it.

use std::ffi::{OsStr, OsString};
use std::path::PathBuf;
use std::sync::OnceLock;

/// A way to run a command.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// Here, without a box: what every other way is measured against.
    Local,
    /// By Incus's own client.
    IncusExec,
    /// By `incusbox-run --mode native`.
    Native,
    /// By `incusbox-run --mode agent`.
    Agent,
}

fn from_environment(name: &str) -> OsString {
    std::env::var_os(name).filter(|value| !value.is_empty()).unwrap_or_else(|| {
        panic!("{name} is not set: these tests are run by `make test`, which makes a box for them")
    })
}

/// The `incusbox-run` to test.
pub fn program() -> &'static OsStr {
    static PROGRAM: OnceLock<OsString> = OnceLock::new();
    PROGRAM.get_or_init(|| from_environment("IBX_BIN"))
}

/// The box that all tests share.
pub fn shared_box() -> &'static str {
    static BOX: OnceLock<String> = OnceLock::new();
    BOX.get_or_init(|| from_environment("IBX_BOX").into_string().expect("IBX_BOX is a name"))
}

/// `tests/testbed/box`.
pub fn box_script() -> PathBuf {
    from_environment("IBX_BOX_SCRIPT").into()
}

/// The user's home, which has the same path in the box.
pub fn home() -> PathBuf {
    from_environment("HOME").into()
}

/// The user's name, which is the same in the box.
pub fn user() -> String {
    from_environment("USER").into_string().expect("USER is a name")
}

fn words<const N: usize>(words: [&OsStr; N]) -> Vec<OsString> {
    words.map(OsStr::to_owned).to_vec()
}

impl Way {
    /// What stands before the command's own words; `variables` are set for the command.
    pub fn prefix(self, variables: &[(OsString, OsString)]) -> Vec<OsString> {
        let (user, home, uid) = (user(), home(), rustix::process::getuid().as_raw().to_string());
        let mut prefix = match self {
            // A command that cannot be run ends with 126 or 127 as from a shell.
            Way::Local => return words(["env".as_ref(), "--".as_ref()]),
            Way::IncusExec => {
                let mut prefix = vec!["incus".into(), "exec".into(), shared_box().into()];
                prefix.extend(["--user", &uid, "--group", &uid, "--cwd"].map(OsString::from));
                prefix.push(home.clone().into());
                prefix.extend([variable("HOME", home.as_os_str()), variable("USER", &user)]);
                prefix.push(variable("LOGNAME", &user));
                prefix
            }
            Way::Native => {
                let mut prefix = words([program(), "--mode=native".as_ref(), "--user".as_ref()]);
                prefix.extend([user.into(), "--cwd".into(), home.into()]);
                prefix
            }
            Way::Agent => words([program(), "--mode=agent".as_ref()]),
        };
        for (name, value) in variables {
            prefix.push(variable(name, value));
        }
        if self != Way::IncusExec {
            prefix.push(shared_box().into());
        }
        prefix.push("--".into());
        prefix
    }
}

/// `--env=NAME=VALUE`.
fn variable(name: impl AsRef<OsStr>, value: impl AsRef<OsStr>) -> OsString {
    let mut word = OsString::from("--env=");
    word.push(name);
    word.push("=");
    word.push(value);
    word
}
