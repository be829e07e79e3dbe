//! The only room that talks to the kernel. Everything above it is safe Rust: `unsafe` is denied
//! in the whole crate and allowed in this module's children, where each use says why it is sound.
//!
//! The split of the crates: `rustix` for descriptors, pipes, sockets and polling (its types own
//! what they close), `nix` for signals, forking and ids, `libc` where a raw `struct` has to travel
//! (termios) or code must run before `main`.

#[cfg(feature = "cli")]
pub mod activation;
#[cfg(feature = "agent")]
pub mod boot;
pub mod fds;
#[cfg(feature = "agent")]
pub mod interface;
#[cfg(feature = "agent")]
pub mod namespaces;
pub mod pipes;
pub mod poll;
pub mod process;
pub mod pty;
pub mod signals;
pub mod startup;
pub mod terminal;
