//! incusbox: boxes for the Linux desktop, run by Incus.
//!
//! This library is the rooms; each program in `src/bin` is one call into it.
//!
//! | room | what it is for |
//! |---|---|
//! | [`names`] | names from outside, checked at the edge |
//! | [`exit`] | how a command ended; 125, 126, 127 |
//! | [`deadly`] | signals that kill, and output that nobody takes then |
//! | [`message`] | one voice on stderr, sanitised |
//! | [`buffer`] | bytes that wait to be passed on |
//! | [`sys`] | the only room that talks to the kernel |
//! | [`incus`] | the client of Incus's API |
//! | [`run`] | the exec path: arguments, plan, session, relay |
//! | [`agent`] | what runs in the box, and the protocol with it |
//! | `desktop` | text formats of the desktop: entries and command lines (feature `desktop`) |
//! | `boxes` | making, changing and checking boxes (feature `cli`) |
//! | `export` | what a box has for the host's desktop (feature `cli`) |
//! | `watch` | keeping that true while boxes change (feature `cli`) |
//! | `session` | what the host's session does for boxes (feature `cli`) |
//! | `cli` | the program `incusbox`, one file for each subcommand (feature `cli`) |
//!
//! The flow of `incusbox-run BOX -- CMD`: [`run::main`] parses the arguments, plans (which
//! descriptors are terminals, which environment), opens a session with the daemon, relays until the
//! command ended, and ends the way the command did.

pub mod agent;
#[cfg(feature = "cli")]
pub mod boxes;
pub mod buffer;
#[cfg(feature = "cli")]
pub mod cli;
#[cfg(feature = "cli")]
mod config;
pub mod deadly;
#[cfg(feature = "desktop")]
pub mod desktop;
pub mod exit;
#[cfg(feature = "cli")]
mod export;
pub mod incus;
pub mod message;
pub mod names;
pub mod run;
#[cfg(feature = "cli")]
mod session;
pub mod sys;
#[cfg(feature = "cli")]
mod watch;
