//! The client of Incus's API: finding the daemon, requests over one connection, websockets.
//!
//! Blocking calls with deadlines; the two things that go on while a command runs (websocket frames
//! and the answer to `/wait`) have readers that take whatever bytes have arrived.
//!
//! Source: lxc/incus `doc/rest-api.md`.

pub mod client;
#[cfg(feature = "cli")]
pub mod command;
pub mod devices;
pub mod error;
#[cfg(feature = "cli")]
pub mod events;
pub mod files;
pub mod http;
#[cfg(feature = "cli")]
pub mod images;
pub mod instances;
#[cfg(feature = "cli")]
pub mod manage;
#[cfg(feature = "cli")]
pub mod objects;
#[cfg(feature = "cli")]
pub mod resources;
pub mod socket;
#[cfg(feature = "cli")]
pub mod start_log;
pub mod streams;
pub mod types;
#[cfg(feature = "cli")]
pub mod upload;
pub mod websocket;
mod wire;

pub use client::Client;
pub use error::Error;
