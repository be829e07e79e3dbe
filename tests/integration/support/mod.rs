//! What the tests stand on: the four ways, runs without and on a terminal, processes, scratch
//! directories, the comparison of a table's case.

pub mod archive;
pub mod case;
pub mod outcome;
pub mod processes;
pub mod pty;
pub mod runner;
pub mod scratch;
pub mod ways;

pub use case::{Case, argv, check, script};
pub use outcome::{End, Outcome};
pub use processes::{Marker, wait_until};
pub use pty::Pty;
pub use runner::{Input, Invocation};
pub use scratch::Scratch;
pub use ways::{Way, home};

/// One test for each of the named ways: `in_ways! { body: Local Agent; }` calls `body(Way::Local)`
/// in the test `body::local`, and so on.
macro_rules! in_ways {
    ($($body:ident: $($way:ident)+;)*) => {$(
        mod $body {
            $(in_ways!(@one $body $way);)+
        }
    )*};
    (@one $body:ident Local) => { in_ways!(@test $body local Local); };
    (@one $body:ident IncusExec) => { in_ways!(@test $body incus_exec IncusExec); };
    (@one $body:ident Native) => { in_ways!(@test $body native Native); };
    (@one $body:ident Agent) => { in_ways!(@test $body agent Agent); };
    (@test $body:ident $name:ident $way:ident) => {
        #[test]
        fn $name() {
            super::$body($crate::support::Way::$way);
        }
    };
}

/// The table: `name => case;` becomes the tests `name::local`, `name::incus_exec`, `name::native`
/// and `name::agent`.
macro_rules! cases {
    ($($name:ident => $case:expr;)*) => {$(
        mod $name {
            #[allow(unused_imports)]
            use super::*;
            cases!(@ways $name, $case, local Local, incus_exec IncusExec, native Native, agent Agent);
        }
    )*};
    (@ways $name:ident, $case:expr, $($test:ident $way:ident),+) => {$(
        #[test]
        fn $test() {
            $crate::support::check($crate::support::Way::$way, stringify!($name), &$case);
        }
    )+};
}
