//! The text formats of the desktop, as pure functions over bytes that a box says they are: nothing
//! here opens a file. Whatever comes in is hostile until it went through here.

pub mod entry;
pub mod exec;
#[cfg(feature = "hosted")]
pub mod hosted;
pub mod keyfile;
pub mod picture;
mod value;

pub use value::unescape;
