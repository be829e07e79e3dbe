//! Hooks: lines of shell that the user wants run in the box, as root.
//!
//! `/bin/sh -c`, without `-e`, as distrobox runs them: what people have in their assemble files was
//! written for that, and its status is that of the last command.

use super::command::Run;
use super::failure::Failure;
use super::report::Report;
use super::wanted::Wanted;
use crate::agent::protocol::BOX;
use crate::exit::ExitStatus;

/// Runs hooks in their order; the first that fails is the last.
///
/// # Errors
/// Which hook failed, and how.
pub fn run(
    kind: &'static str,
    hooks: &[String],
    box_name: &str,
    user: Option<&Wanted>,
    report: &mut Report<'_>,
) -> Result<(), Failure> {
    let mut environment = vec![(BOX, box_name)];
    let uid = user.map(|user| user.uid.to_string()).unwrap_or_default();
    if let Some(user) = user {
        environment.extend([
            ("INCUSBOX_USER", user.name.as_str()),
            ("INCUSBOX_UID", &uid),
            ("INCUSBOX_HOME", &user.home),
            // The same by the names that distrobox has for them.
            ("container_user_name", &user.name),
            ("container_user_uid", &uid),
            ("container_user_home", &user.home),
        ]);
    }
    for hook in hooks {
        let argv = ["/bin/sh", "-c", hook];
        let ended = Run { argv: &argv, environment: &environment, limit: None }
            .run(|line| report.output(line));
        if !matches!(ended, Ok(ExitStatus::Code(0))) {
            return Err(Failure::Hook { kind, hook: hook.clone(), ended });
        }
    }
    Ok(())
}
