//! `incusbox session`: what the user unit of this name runs.

use std::process::ExitCode;

use clap::{ArgMatches, Command};

use crate::boxes::error::Error;
use crate::session;

pub fn define(command: Command) -> Command {
    command
        .hide(true)
        .about("Speak on the session bus for boxes, and open what they hand over")
        .long_about("Speak on the session bus for boxes, and open what they hand over. A user unit starts this when a box asks; without such a unit it can be started with the session and makes its sockets itself.")
}

pub fn run(_: &ArgMatches) -> Result<ExitCode, Error> {
    session::serve()
        .map_err(|source| Error::Host { doing: "serving boxes in this session", source })?;
    Ok(ExitCode::SUCCESS)
}
