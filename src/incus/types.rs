//! The shapes of Incus's answers, as far as they are needed. Unknown fields are ignored.
//!
//! Source: lxc/incus 6.0.4, `shared/api/`.

use std::collections::BTreeMap;

use serde::{Deserialize, Deserializer, Serialize};

use super::error::Error;

/// What every answer is wrapped in.
#[derive(Debug, Deserialize)]
pub struct Envelope<T> {
    /// `sync`, `async` or `error`.
    #[serde(rename = "type")]
    pub kind: String,
    /// For errors: the status.
    #[serde(default)]
    pub error_code: u16,
    /// For errors: Incus's words.
    #[serde(default)]
    pub error: String,
    /// For `async`: the path of the operation.
    #[serde(default)]
    pub operation: String,
    /// The answer proper.
    #[serde(default = "Option::default")]
    pub metadata: Option<T>,
}

/// The status of an operation that somebody cancelled: `shared/api/status_code.go`. It may have no
/// words for that.
pub const CANCELLED: u16 = 401;

/// A background operation.
#[derive(Debug, Deserialize)]
pub struct Operation {
    /// 103 running, 200 success, 400 failure, [`CANCELLED`].
    pub status_code: u16,
    /// Incus's words for a failure.
    #[serde(default)]
    pub err: String,
    /// What the kind of operation adds.
    #[serde(default)]
    pub metadata: Option<OperationMetadata>,
}

impl Operation {
    /// The operation's success, or Incus's words for its failure.
    ///
    /// # Errors
    /// [`Error::Refused`].
    pub fn success(self, doing: &'static str) -> Result<(), Error> {
        let cancelled = || "it was cancelled".to_owned();
        let (code, text) = (self.status_code, self.err);
        let text = if code == CANCELLED && text.is_empty() { cancelled() } else { text };
        if code >= 400 { Err(Error::Refused { doing, code, text }) } else { Ok(()) }
    }

    /// Whether it succeeded, failed or was cancelled: `shared/api/status_code.go`.
    pub fn has_ended(&self) -> bool {
        self.status_code >= 200
    }

    /// For a command: its exit status, once there is one.
    pub fn exit_status(&self) -> Option<i32> {
        self.metadata.as_ref()?.exit_status
    }
}

/// What the operations used here add.
#[derive(Debug, Default, Deserialize)]
pub struct OperationMetadata {
    /// exec: the secret of each websocket, by `0`, `1`, `2` and `control`.
    #[serde(default)]
    pub fds: BTreeMap<String, String>,
    /// exec: the exit status, once there is one.
    #[serde(rename = "return")]
    pub exit_status: Option<i32>,
    /// images: the fingerprint, also where the image is there already.
    #[serde(default)]
    pub fingerprint: Option<String>,
}

/// A request to run a command (`InstanceExecPost`).
#[derive(Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Exec {
    /// The command and its arguments.
    pub command: Vec<String>,
    /// Variables to set.
    pub environment: BTreeMap<String, String>,
    /// Always true: the streams are websockets.
    pub wait_for_websocket: bool,
    /// Whether Incus makes a pty.
    pub interactive: bool,
    /// Columns of that pty, in characters; 0 for unknown.
    pub width: u16,
    /// Rows of that pty, in characters; 0 for unknown.
    pub height: u16,
    /// User id.
    pub user: u32,
    /// Group id.
    pub group: u32,
    /// Working directory; empty for Incus's choice.
    pub cwd: String,
}

impl Exec {
    /// A program as root, with pipes.
    pub fn as_root(command: &[&str]) -> Exec {
        Exec {
            command: command.iter().map(|word| (*word).to_owned()).collect(),
            environment: BTreeMap::new(),
            wait_for_websocket: true,
            interactive: false,
            width: 0,
            height: 0,
            user: 0,
            group: 0,
            cwd: "/".to_owned(),
        }
    }
}

/// A status. One that runs may say of itself that it is ready, which is no other state to us.
pub(super) fn status<'de, D: Deserializer<'de>>(deserializer: D) -> Result<String, D::Error> {
    let status = String::deserialize(deserializer)?;
    Ok(if status == "Ready" { "Running".to_owned() } else { status })
}

/// An instance.
#[derive(Clone, Debug, Deserialize)]
pub struct Instance {
    /// Its name.
    pub name: String,
    /// `Running`, `Stopped`, `Frozen` …
    #[serde(deserialize_with = "status")]
    pub status: String,
    /// Its configuration.
    #[serde(default)]
    pub config: BTreeMap<String, String>,
}

impl Instance {
    /// Whether incusbox set this instance up, or somebody marked it as a box.
    pub fn is_box(&self) -> bool {
        self.config
            .iter()
            .any(|(key, value)| key.starts_with("user.incusbox.") && !value.is_empty())
    }
}
