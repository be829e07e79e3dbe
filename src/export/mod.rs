//! What a box has for the host's desktop.
//!
//! Everything that comes from a box is untrusted: it is read by `desktop`, and what is kept of it
//! has types of its own.

pub mod apply;
mod beside;
mod defaults;
pub mod failed;
pub mod ground;
pub mod kept;
mod locale;
pub mod manifest;
pub mod offers;
pub mod plan;
pub mod refresh;
mod service;
mod shim;
pub mod sync;
mod tree;
