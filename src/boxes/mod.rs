//! Boxes: making, changing, listing and checking them.
//!
//! A box is an Incus instance with its facts in its own configuration (`user.incusbox.*`), so that
//! any client sees the same box and there is no second data base.

pub mod change;
pub mod create;
pub mod doctor;
pub mod error;
pub mod host;
pub mod images;
pub mod lock;
pub mod options;
pub mod remedy;
pub mod request;
pub mod setup;
