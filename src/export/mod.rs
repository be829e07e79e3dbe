//! What a box has for the host's desktop.
//!
//! Everything that comes from a box is untrusted: it is read by `desktop`, and what is kept of it
//! has types of its own.

mod locale;
pub mod offers;
