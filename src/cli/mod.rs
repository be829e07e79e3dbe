//! The program `incusbox`: one file for each subcommand.

use std::process::ExitCode;

/// Runs the program with the process's own arguments.
pub fn main() -> ExitCode {
    ExitCode::SUCCESS
}
