//! Boxes made, changed and removed with `incusbox` against a real incusd.
//!
//! `make test` runs this as the test bed's user, whose ids may be mapped, with
//! - `IBX_BIN`: `incusbox-run`, with `incusbox` beside it;
//! - `IBX_BOX`: a name that the names of all boxes here begin with;
//! - `IBX_IMAGE`: the alias of an image with systemd.
#![allow(clippy::print_stderr)]

mod host;
mod support;

mod adopt;
mod apps;
mod broken;
mod commands;
mod completion;
mod create;
mod cut;
mod daemon;
mod desktop;
mod doctor;
mod enter;
mod export;
mod files;
mod gpu;
mod hosts;
mod isolated;
mod lifecycle;
mod listed;
mod messages;
mod nested;
mod packages;
mod project;
mod share;
mod torn;
mod upgrade;
mod watch;
