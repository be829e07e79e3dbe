//! What `incusbox-run` does when something goes wrong: against a fake daemon that misbehaves as no
//! real one can be made to, and against a real one with boxes that were broken on purpose.
//!
//! Runs as a user who may use the daemon of the test bed, with these variables:
//!
//! | variable | meaning |
//! |---|---|
//! | `IBX_BIN` | the path of `incusbox-run`, its agent beside it |
//! | `IBX_BOX` | a running box that nobody breaks |
//! | `IBX_BOX_SCRIPT` | the path of `tests/testbed/box`, which makes and deletes boxes |

mod client;
mod directory;
mod fake;
mod script;
mod testbox;
mod wire;

mod agents;
mod answers;
mod files;
mod form;
mod insides;
mod relayed;
mod sockets;
mod speech;
mod stalls;
mod states;
mod streams;
mod verdicts;
