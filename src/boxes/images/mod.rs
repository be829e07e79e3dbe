//! Where the image of a box comes from: a name ([`source`]) or a file ([`mod@file`]).

pub mod error;
pub mod file;
pub mod names;
mod private;
pub mod remotes;
pub mod source;

pub use error::Error;
pub use remotes::{Protocol, Remotes};
pub use source::{Found, Source, find};
