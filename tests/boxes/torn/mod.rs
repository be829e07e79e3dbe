//! Exports that do not come to their end: killed, or on a disk that is full, at every call that
//! changes a file. strace(1) says which calls these are, and has each of them fail or be the last.

mod crash;
mod full;
mod ground;
mod trace;
