//! The program that runs inside a box: it becomes the user, runs one command, and stands in for
//! the terminal, the pipes and the signals that the command would have on the host.
//!
//! Two processes. incusd starts the *waiter* and kills exactly that process when its client is
//! lost; the waiter therefore only waits for a status. The *supervisor*, its child in a session of
//! its own, outlives that, and does to the command what a closed terminal does.

pub mod protocol;

#[cfg(feature = "agent")]
mod account;
#[cfg(feature = "agent")]
mod apps;
#[cfg(feature = "agent")]
mod demand;
#[cfg(feature = "agent")]
mod desktop;
#[cfg(feature = "agent")]
mod dhcp;
#[cfg(feature = "agent")]
mod drawing;
#[cfg(feature = "agent")]
mod exporter;
#[cfg(feature = "agent")]
mod guest;
#[cfg(feature = "agent")]
mod host;
#[cfg(feature = "agent")]
mod icons;
#[cfg(feature = "agent")]
mod init;
#[cfg(feature = "agent")]
mod leftovers;
#[cfg(feature = "agent")]
mod limits;
#[cfg(feature = "agent")]
mod login;
#[cfg(feature = "agent")]
mod outflow;
#[cfg(feature = "agent")]
mod probe;
#[cfg(feature = "agent")]
mod service;
#[cfg(feature = "agent")]
mod setup;
#[cfg(feature = "agent")]
mod shims;
#[cfg(feature = "agent")]
mod spawn;
#[cfg(feature = "agent")]
mod stdin;
#[cfg(feature = "agent")]
mod supervise;
#[cfg(feature = "agent")]
mod themes;
#[cfg(feature = "agent")]
mod typed;
#[cfg(feature = "agent")]
mod umask;
#[cfg(feature = "agent")]
mod waiter;
#[cfg(feature = "agent")]
mod watch;
#[cfg(feature = "agent")]
mod xdg_open;

#[cfg(feature = "agent")]
pub use waiter::main;
