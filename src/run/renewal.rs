//! Showing a box the host's session anew. What a box was shown of `/run/user/UID` stays the
//! directory that it was when the user logged in the first time; after the next login it is
//! another one, and a directory that was not there when the box started is not shown at all.

use super::desktop::cookie;
use super::session::Session;
use crate::agent::protocol::Request;
use crate::agent::protocol::desktop::{SWITCHES, Switch, X11, mark_of, runtime};

impl Session<'_> {
    /// Gives the box the cookie of the display, if it may open windows by what Incus knows of it:
    /// the box itself could say anything.
    pub fn give_cookie(&mut self, request: &mut Request) {
        let Some(desktop) = &mut request.desktop else { return };
        let there = self.client.instance(self.options.name.as_str());
        let told = there.ok().and_then(|there| there.config.get(SWITCHES).cloned());
        let on = told.map(|told| Switch::listed(&told)).unwrap_or_default();
        if on.contains(&Switch::Display) {
            self.trace.note("the box gets the cookie of the display");
            desktop.cookie = cookie(|name| std::env::var_os(name));
        }
        // One that changed meanwhile comes with the next run.
        desktop.cookie_mark = mark_of(&desktop.cookie);
    }

    /// Has Incus show the box the directories of now; the request then insists, for whatever could
    /// not be mended is no reason not to run the command.
    pub fn renew_session(&mut self, request: &mut Request) {
        let Some(desktop) = &mut request.desktop else { return };
        desktop.insists = true;
        let paths = [X11.to_owned(), runtime(desktop.uid)];
        self.trace.note("the box sees an old session of the host");
        match self.client.mount_again(self.options.name.as_str(), &paths) {
            Ok(0) => self.trace.hint("the box is shown nothing of the session"),
            Ok(_) => self.trace.note("Incus shows the box the session of now"),
            Err(error) => self.trace.hint(&format!("the session could not be renewed: {error}")),
        }
    }
}
