//! Images that come as a file.

pub mod error;

pub use error::Error;
