//! Integration tests against a real incusd: what a command does through `incusbox-run` is compared
//! with what it does locally, through `incus exec`, and natively.
//!
//! `make test` builds this, makes a box, and runs it as the test bed's user with
//! - `IBX_BIN`: the `incusbox-run` to test, with `incusbox-agent` beside it;
//! - `IBX_BOX`: a running box with the test bed's users inside;
//! - `IBX_BOX_SCRIPT`: `tests/testbed/box`, for the tests that need a box of their own.
#![allow(clippy::print_stderr)]

#[macro_use]
mod support;

mod background;
mod bulk;
mod demand;
mod held_up;
mod images;
mod job_control;
mod keys;
mod leftovers;
mod messages;
mod modes;
mod options;
mod own_box;
mod programs;
mod restored;
mod screen;
mod setup;
mod shims;
mod signals;
mod surroundings;
mod table;
mod tools;
mod transports;
