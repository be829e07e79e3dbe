//! What went wrong, shown on the desktop: who started a program from a menu reads no stderr.

use std::process::{Command, Stdio};

use crate::message::printable;
use crate::sys::fds::{FdKind, Standard};

/// Shows `text` by the host's `notify-send`, unless stderr is a terminal. Where there is none, or no
/// desktop, stderr alone was told.
pub fn show(text: &str) {
    if Standard::Stderr.kind() == FdKind::Terminal {
        return;
    }
    let text = text.lines().map(printable).collect::<Vec<_>>().join("\n");
    // A notification may have markup.
    let text = text.replace('&', "&amp;").replace('<', "&lt;");
    let words = ["--app-name=incusbox", "--icon=dialog-error", "--", "incusbox", &text];
    // Nobody waits for it: a desktop without notifications is asked for some seconds.
    let _stderr_was_told = Command::new("notify-send")
        .args(words)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn();
}
