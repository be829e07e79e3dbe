//! `incusbox doctor`.

use std::process::ExitCode;

use clap::{Arg, ArgMatches, Command};

use super::{calling, connect, json_flag, print, print_json, the_instance};
use crate::boxes::doctor::{Finding, Patient, Status, described, examine};
use crate::boxes::error::Error;
use crate::message::printable;
use crate::names::BoxName;

pub fn define(command: Command) -> Command {
    command
        .about("Check the host, and a box")
        .long_about("Check what boxes need of the host, and with BOX that box too. What is not as it should be is told with the command that mends it. The exit status is 1 if something failed.")
        .arg(Arg::new("box").value_name("BOX").help("A box to look at, too"))
        .arg(json_flag())
}

pub fn run(matches: &ArgMatches) -> Result<ExitCode, Error> {
    let user = calling()?;
    let client = match connect(matches) {
        Ok(client) => Ok(client),
        Err(Error::Incus(error)) => Err(error),
        Err(error) => return Err(error),
    };
    let mut patient = Patient::new(user, client);
    if let Some(name) = matches.get_one::<String>("box") {
        let name = BoxName::new(name)?;
        if let Ok(client) = &mut patient.client {
            patient.instance = Some(the_instance(client, &name)?);
        }
    }
    let findings = examine(&mut patient);
    match matches.get_flag("json") {
        true => print_json(&findings.iter().map(described).collect())?,
        false => print(&text(&findings))?,
    }
    let worst = findings.iter().map(|finding| finding.status).max();
    Ok(if worst == Some(Status::Failed) { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

fn text(findings: &[Finding]) -> String {
    let mut out = String::new();
    for finding in findings {
        let status = match finding.status {
            Status::Ok => "ok",
            Status::Warning => "warning",
            Status::Failed => "FAILED",
        };
        out.push_str(&format!("{status:8} {:10} {}\n", finding.check, printable(&finding.text)));
        for remedy in &finding.remedies {
            out.push_str(&format!("{:20}-> {}\n", "", printable(&remedy.to_string())));
        }
    }
    out
}
