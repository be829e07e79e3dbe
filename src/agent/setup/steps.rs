//! The steps of a set-up, in their order.

use std::time::Duration;

use super::command::Run;
use super::distribution::{self, Distribution};
use super::failure::Failure;
use super::init::{self, Init};
use super::locale::{self, Ability};
use super::managers::{self, Manager};
use super::report::Report;
use super::surroundings::{Life, Surroundings};
use super::tree::Tree;
use super::wanted::{self, Wanted};
use super::{
    database, desktop, home, hooks, hosts, nesting, nvidia, packages, session, shells, subordinate,
    sudo, time_zone,
};
use crate::agent::protocol::setup::{SetupRequest, SetupResult};
use crate::exit::ExitStatus;
use crate::sys::process;

/// localedef(1) takes one second on a desktop, ten on a small board.
const LIMIT_OF_LOCALEDEF: Duration = Duration::from_secs(60);

/// A set-up in progress.
pub struct Steps<'a, 'r> {
    tree: &'a Tree,
    surroundings: &'a Surroundings,
    request: &'a SetupRequest,
    report: &'a mut Report<'r>,
    user: Option<Wanted>,
    distribution: Distribution,
    manager: Option<&'static Manager>,
    init: Init,
    is_up: bool,
}

impl<'a, 'r> Steps<'a, 'r> {
    /// Checks the request and looks at the box; nothing is changed yet.
    ///
    /// # Errors
    /// The request cannot be carried out.
    pub fn new(
        tree: &'a Tree,
        surroundings: &'a Surroundings,
        request: &'a SetupRequest,
        report: &'a mut Report<'r>,
    ) -> Result<Steps<'a, 'r>, Failure> {
        let user = wanted::check(request)?;
        let distribution = distribution::read(tree);
        let manager = managers::find(tree, &distribution);
        let init = init::find(tree, surroundings);
        Ok(Steps {
            tree,
            surroundings,
            request,
            report,
            user,
            distribution,
            manager,
            init,
            is_up: false,
        })
    }

    /// Does all that the request asks for.
    ///
    /// # Errors
    /// The first step that failed.
    pub fn set_up(mut self) -> Result<SetupResult, Failure> {
        if self.request.is_new {
            self.tree.sync_at_the_end();
        }
        self.accounts()?;
        self.desktop()?;
        self.session_by_itself()?;
        self.home()?;
        self.sudo()?;
        self.names()?;
        self.hooks("pre-init", &self.request.pre_init_hooks)?;
        self.packages()?;
        self.shell()?;
        self.locale()?;
        self.time_zone()?;
        self.nesting()?;
        self.drivers()?;
        self.session()?;
        self.hooks("init", &self.request.init_hooks)?;
        self.tree.sync()?;
        Ok(self.result())
    }

    /// Brings the packages up to date.
    ///
    /// # Errors
    /// The first step that failed.
    pub fn upgrade(mut self) -> Result<SetupResult, Failure> {
        let manager = self.wanted_manager()?;
        self.wait_for_init()?;
        self.report.step("network")?;
        init::wait_for_network(self.tree, self.surroundings.life);
        self.report.step("packages")?;
        packages::upgrade(self.tree, manager, self.report)?;
        Ok(self.result())
    }

    /// Has programs find the libraries of the host's driver, now and after each boot.
    ///
    /// # Errors
    /// Of the files.
    pub fn link_drivers(self) -> Result<SetupResult, Failure> {
        if self.init == Init::Systemd {
            nvidia::settle_systemd(self.tree)?;
        }
        nvidia::settle(self.tree, self.surroundings.life)?;
        Ok(self.result())
    }

    fn result(&self) -> SetupResult {
        let shell = self.user.as_ref().map(|user| shells::choose(self.tree, &user.shell).path);
        SetupResult {
            distribution: self.distribution.id.clone(),
            pretty_name: self.distribution.pretty_name.clone(),
            shell: shell.unwrap_or_default(),
            init: self.init.name().to_owned(),
            package_manager: self.manager.map(|manager| manager.name.to_owned()),
        }
    }

    fn warn(&mut self, warning: Option<String>) {
        if let Some(warning) = warning {
            self.report.warning(warning);
        }
    }

    fn accounts(&mut self) -> Result<(), Failure> {
        let Some(user) = &self.user else { return Ok(()) };
        self.report.step("accounts")?;
        let shell = shells::choose(self.tree, &user.shell);
        let was_administrator = sudo::was_granted(self.tree, user);
        let ids = &self.surroundings.ids;
        let outcome = database::settle(self.tree, user, &shell.path, ids, was_administrator)?;
        for warning in outcome.warnings {
            self.report.warning(warning);
        }
        outcome.moved.iter().try_for_each(|moved| home::follow(self.tree, moved))
    }

    fn home(&mut self) -> Result<(), Failure> {
        let Some(user) = &self.user else { return Ok(()) };
        self.report.step("home")?;
        let warning = home::settle(self.tree, user)?;
        self.warn(warning);
        Ok(())
    }

    fn sudo(&mut self) -> Result<(), Failure> {
        let Some(user) = &self.user else { return Ok(()) };
        self.report.step("sudo")?;
        sudo::apply(self.tree, user)
    }

    fn names(&mut self) -> Result<(), Failure> {
        self.report.step("hosts")?;
        let hostname = &self.request.hostname;
        hosts::apply(self.tree, hostname)?;
        if self.surroundings.life == Life::Running {
            let now = self.tree.text("/proc/sys/kernel/hostname");
            if now.trim() != hostname {
                process::set_host_name(hostname)
                    .map_err(Failure::io("setting", "/proc/sys/kernel/hostname"))?;
            }
        }
        let warning = hosts::trouble_with_names(self.tree);
        self.warn(warning);
        Ok(())
    }

    fn hooks(&mut self, kind: &'static str, hooks: &[String]) -> Result<(), Failure> {
        if hooks.is_empty() {
            return Ok(());
        }
        self.wait_for_init()?;
        self.report.step(&format!("{kind} hooks"))?;
        hooks::run(kind, hooks, &self.request.box_name, self.user.as_ref(), self.report)
    }

    fn packages(&mut self) -> Result<(), Failure> {
        if self.request.packages.is_empty() {
            return Ok(());
        }
        let manager = self.wanted_manager()?;
        self.wait_for_init()?;
        self.report.step("network")?;
        init::wait_for_network(self.tree, self.surroundings.life);
        self.report.step("packages")?;
        packages::install(self.tree, manager, &self.request.packages, self.report)?;
        // They may have brought what the account could not have before: its shell, groups, doas.
        self.accounts()?;
        self.sudo()
    }

    fn wanted_manager(&self) -> Result<&'static Manager, Failure> {
        let distribution = || self.distribution.pretty_name.clone();
        self.manager.ok_or_else(|| Failure::NoPackageManager { distribution: distribution() })
    }

    fn shell(&mut self) -> Result<(), Failure> {
        let Some(user) = &self.user else { return Ok(()) };
        let choice = shells::choose(self.tree, &user.shell);
        let name = user.name.clone();
        if let Some(missing) = choice.instead_of {
            let how = self.how_to_install(&missing);
            let path = choice.path;
            let told = match self.tree.is_executable(&path) {
                true => format!("the box has no `{missing}`, so `{name}` got `{path}`{how}"),
                false => format!(
                    "the box has no shell at all, so nobody can enter it; programs can be run by their path{how}"
                ),
            };
            self.report.warning(told);
        }
        Ok(())
    }

    /// The end of a warning: what would bring what is missing.
    fn how_to_install(&self, package: &str) -> String {
        match self.manager {
            Some(manager) => format!(": `{} {package}` in it brings it", manager.words),
            None => String::new(),
        }
    }

    fn locale(&mut self) -> Result<(), Failure> {
        if self.request.locale.is_empty() {
            return Ok(());
        }
        self.report.step("locale")?;
        let mut known: Vec<(String, bool)> = Vec::new();
        for (name, locale) in &self.request.locale {
            if name != "LANGUAGE" && !known.iter().any(|(other, _)| other == locale) {
                known.push((locale.clone(), self.can_speak(locale)?));
            }
        }
        for (missing, _) in known.iter().filter(|(_, can)| !can) {
            let how = self.how_to_install(locale_package(self.manager, missing).as_str());
            self.report.warning(format!("the box has no locale `{missing}`{how}"));
        }
        let can = |locale: &str| known.iter().any(|(other, can)| other == locale && *can);
        locale::write(self.tree, &locale::choose(&self.request.locale, can))
    }

    /// Whether the box has a locale, compiled now if it has only the source.
    fn can_speak(&mut self, name: &str) -> Result<bool, Failure> {
        let (source, charset) = match locale::ability(self.tree, name) {
            Ability::Has => return Ok(true),
            Ability::CanCompile { source, charset } => (source, charset),
            Ability::Lacks => return Ok(false),
        };
        if self.surroundings.life == Life::Files {
            return Ok(false);
        }
        locale::enable(self.tree, name, &charset)?;
        self.report.output(format!("compiling the locale {name}").as_bytes());
        let argv = ["localedef", "-i", &source, "-f", &charset, name];
        let limit = Some(LIMIT_OF_LOCALEDEF);
        let report = &mut *self.report;
        let ended = Run { argv: &argv, environment: &[], limit }.run(|line| report.output(line));
        Ok(matches!(ended, Ok(ExitStatus::Code(0))))
    }

    fn time_zone(&mut self) -> Result<(), Failure> {
        let Some(zone) = &self.request.time_zone else { return Ok(()) };
        self.report.step("time zone")?;
        if !time_zone::apply(self.tree, zone)? {
            let package = if self.manager.is_some_and(|manager| manager.name == "zypper") {
                "timezone"
            } else {
                "tzdata"
            };
            let how = self.how_to_install(package);
            self.report.warning(format!("the box does not know the time zone `{zone}`{how}"));
        }
        Ok(())
    }

    fn nesting(&mut self) -> Result<(), Failure> {
        if !self.request.nesting {
            return Ok(());
        }
        self.report.step("nesting")?;
        if let Some(user) = &self.user {
            let warning = subordinate::settle(self.tree, user, &self.surroundings.ids)?;
            self.warn(warning);
        }
        let warning = nesting::settle(self.tree, self.user.as_ref(), self.surroundings.life)?;
        self.warn(warning);
        Ok(())
    }

    /// A box that boots starts the session by itself, if it is told in time; where packages are
    /// still to come it had better wait for them: they may belong to it.
    fn session_by_itself(&mut self) -> Result<(), Failure> {
        let (Some(user), Init::Systemd, true) =
            (&self.user, &self.init, self.request.packages.is_empty())
        else {
            return Ok(());
        };
        session::allow(self.tree, user)?;
        Ok(())
    }

    fn session(&mut self) -> Result<(), Failure> {
        let (Some(user), Init::Systemd) = (&self.user, &self.init) else { return Ok(()) };
        self.report.step("session")?;
        let warning = session::linger(self.tree, user, self.surroundings.life)?;
        self.warn(warning);
        Ok(())
    }

    /// Before the session begins, whose directory gets links.
    fn desktop(&mut self) -> Result<(), Failure> {
        let Some(on) = &self.request.switches else { return Ok(()) };
        self.report.step("desktop")?;
        desktop::settle(self.tree, on)?;
        desktop::settle_addresses(self.tree)?;
        if self.init == Init::Systemd {
            desktop::settle_systemd(self.tree)?;
            nvidia::settle_systemd(self.tree)?;
        }
        Ok(())
    }

    /// After the packages: they may have brought a dynamic linker's directory, or libgbm.
    fn drivers(&mut self) -> Result<(), Failure> {
        // A box without the driver's libraries is better than none.
        if self.request.switches.is_some() {
            let settled = nvidia::settle(self.tree, self.surroundings.life);
            self.warn(settled.err().map(|failure| format!("the libraries of NVIDIA: {failure}")));
        }
        Ok(())
    }

    fn wait_for_init(&mut self) -> Result<(), Failure> {
        if !self.is_up {
            self.report.step("boot")?;
            let warning = init::wait(self.tree, &self.init, self.surroundings.life)?;
            self.warn(warning);
            self.is_up = true;
        }
        Ok(())
    }
}

/// The package that brings a locale, or its source.
fn locale_package(manager: Option<&Manager>, locale: &str) -> String {
    let language = locale.split(['_', '.', '@']).next().unwrap_or(locale);
    match manager.map(|manager| manager.name) {
        Some("dnf") => format!("glibc-langpack-{language}"),
        Some("zypper") => "glibc-locale".to_owned(),
        Some("pacman") => "glibc-locales".to_owned(),
        _ => "locales".to_owned(),
    }
}
