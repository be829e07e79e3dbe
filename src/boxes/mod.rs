//! Boxes: making, changing, listing and checking them.
//!
//! A box is an Incus instance with its facts in its own configuration (`user.incusbox.*`), so that
//! any client sees the same box and there is no second data base.

pub(crate) mod change;
pub(crate) mod copy;
pub(crate) mod create;
pub(crate) mod desktop;
pub(crate) mod disks;
pub(crate) mod doctor;
pub(crate) mod error;
pub(crate) mod gpu;
pub(crate) mod half_made;
pub(crate) mod host;
pub mod images;
pub(crate) mod lock;
pub(crate) mod maker;
pub(crate) mod naming;
pub(crate) mod nesting;
pub(crate) mod network;
pub(crate) mod nvidia;
pub(crate) mod options;
pub(crate) mod remedy;
pub(crate) mod request;
pub(crate) mod settings;
pub(crate) mod setup;
