//! What the command line names, found in what a box offers.

use clap::ArgMatches;

use crate::agent::protocol::service::{Found, ServiceName};
use crate::boxes::error::Error;
use crate::export::offers::{App, Offers};
use crate::message::printable;
use crate::names::{BoxName, distance};

/// The program that is meant: by id, by path, or by its name in any language of ours.
pub fn found<'a>(wanted: &str, offers: &'a Offers, name: &BoxName) -> Result<&'a App, Error> {
    let with_ending = format!("{wanted}.desktop");
    let is_exact = |app: &&App| {
        let id = app.id.as_str();
        id == wanted || id == with_ending || app.path == wanted
    };
    if let Some(app) = offers.apps.iter().find(is_exact) {
        return Ok(app);
    }
    let lower = wanted.to_lowercase();
    let is_named = |app: &&App| {
        [&app.name, &app.plain_name].into_iter().any(|name| name.to_lowercase() == lower)
    };
    let named: Vec<&App> = offers.apps.iter().filter(is_named).collect();
    match named[..] {
        [app] => Ok(app),
        [] => {
            if let Some(left) = offers
                .left
                .iter()
                .find(|left| left.path == wanted || left.path.ends_with(&format!("/{with_ending}")))
            {
                return Err(Error::Usage(format!(
                    "`{}` cannot be exported: {}",
                    left.path, left.why
                )));
            }
            let off = |app: &&App| distance(&app.name.to_lowercase(), &lower);
            let near = offers.apps.iter().min_by_key(off);
            let near = near.filter(|app| off(app) <= 1 + lower.len() / 3);
            let meant = near.map(|app| format!("\ndid you mean: {}", app.name)).unwrap_or_default();
            Err(Error::Usage(format!(
                "`{name}` has no program `{wanted}`{meant}\nsee: incusbox apps --all {name}"
            )))
        }
        _ => {
            let ids: Vec<&str> = named.iter().map(|app| app.id.as_str()).collect();
            Err(Error::Usage(format!(
                "`{name}` has several programs called `{wanted}`\nname one by its id: {}",
                ids.join(", ")
            )))
        }
    }
}

/// The name of a service, as somebody wrote it.
pub fn service_name(text: &str) -> Result<ServiceName, Error> {
    ServiceName::new(text).ok_or_else(|| {
        let text = printable(text);
        Error::Usage(format!(
            "`{text}` is no service\nname one as systemd does: NAME.service, or NAME@INSTANCE.service of a template"
        ))
    })
}

/// Commands that were named now must be there; those of before may be away for a while.
pub fn check_commands(matches: &ArgMatches, offers: &Offers, name: &BoxName) -> Result<(), Error> {
    if offers.is_same {
        // All that was chosen before is there.
        return Ok(());
    }
    for service in matches.get_many::<String>("service").unwrap_or_default() {
        let found = offers.services.get(&service_name(service)?);
        if found == Some(&Found::Unknown) {
            return Err(Error::Usage(format!(
                "the service managers of `{name}` do not answer, so it is not known whether it has `{service}`\ntry again, or see: incusbox run {name} -- systemctl is-system-running, and with --user"
            )));
        }
        if !matches!(found, Some(Found::There(_))) {
            return Err(Error::Usage(format!(
                "`{name}` has no service `{service}`\nsee what it has: incusbox run {name} -- systemctl list-unit-files --type=service, and with --user"
            )));
        }
    }
    let mut commands = matches.get_many::<String>("bin").unwrap_or_default();
    match commands.find(|command| !offers.programs.contains_key(*command)) {
        Some(command) => Err(Error::Usage(format!(
            "`{name}` has no command `{command}`\nlook for it there: incusbox run {name} -- sh -c 'command -v {command}'"
        ))),
        None => Ok(()),
    }
}
