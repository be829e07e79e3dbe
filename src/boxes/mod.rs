//! Boxes: making, changing, listing and checking them.
//!
//! A box is an Incus instance with its facts in its own configuration (`user.incusbox.*`), so that
//! any client sees the same box and there is no second data base.

pub mod images;
