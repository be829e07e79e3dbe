//! `incusbox set`.

use std::process::ExitCode;

use clap::{Arg, ArgAction, ArgMatches, Command};

use super::lifecycle::catch;
use super::{box_argument, box_name, connect, the_box};
use crate::boxes::change::{apply, whole};
use crate::boxes::error::Error;
use crate::boxes::options::{OPTIONS, When};

pub fn define(command: Command) -> Command {
    let living =
        OPTIONS.iter().filter(|option| option.when == When::Always && option.name != "set");
    let mut table = "Options:\n".to_owned();
    for option in living {
        table.push_str(&format!("  {:12}{}\n", option.name, option.help));
    }
    table.push_str("  KEY         Configuration of Incus's own, such as boot.autostart\n\nNothing behind the `=` takes a setting away.");
    command.about("Change options of a box").after_help(table).arg(box_argument()).arg(
        Arg::new("changes")
            .value_name("OPTION=VALUE")
            .required(true)
            .action(ArgAction::Append)
            .num_args(1..)
            .help("What to change"),
    )
}

pub fn run(matches: &ArgMatches) -> Result<ExitCode, Error> {
    let name = box_name(matches)?;
    let mut client = connect(matches)?;
    let mut there = the_box(&mut client, &name)?;
    for change in matches.get_many::<String>("changes").unwrap_or_default() {
        let (option, value) = change.split_once('=').ok_or_else(|| {
            Error::Usage(format!(
                "`{change}` is no change\nwrite OPTION=VALUE: incusbox set {name} memory=4GiB"
            ))
        })?;
        apply(&mut there, option, value)?;
    }
    let mut signals = catch()?;
    let operation = client.put_instance(name.as_str(), &whole(&there))?;
    client.watch("changing the box", &operation, &mut signals, None)?;
    Ok(ExitCode::SUCCESS)
}
