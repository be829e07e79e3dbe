//! What a box says in these formats, as the host's own files shall say it (feature `hosted`).

pub mod bus;
mod digest;
pub mod entry;
pub mod mime;

pub use digest::digest;
