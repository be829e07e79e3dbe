//! Boxes that are not finished: whose they are, and taking them away.

use std::time::{Duration, Instant};

use super::create::{is_half_made, remove};
use super::error::Error;
use super::maker::{Life, Maker};
use super::request::CREATING;
use crate::incus::objects::FullInstance;
use crate::incus::{self, Client};

/// How long removing a half-made box may take.
pub const CLEANING: Duration = Duration::from_secs(60);
/// Between two tries of it.
pub const PAUSE: Duration = Duration::from_millis(300);
/// The fact that says it.
pub const STATE: &str = "user.incusbox.state";
/// What precedes the maker in the name of what is restored. Longer, some names would be longer than
/// Incus allows (63).
const RESTORED: &str = "incusbox-";

/// What an instance says of itself that `maker` is making.
pub fn state(maker: &Maker) -> String {
    format!("{CREATING} {maker}")
}

/// Makes an instance of that name that a dead maker left this maker's own, so that only one of
/// several who find it removes it.
///
/// # Errors
/// [`Error::Exists`] for one that is finished, [`Error::BeingMade`] for one whose maker is not known
/// to have ended.
pub fn take_over(client: &mut Client, there: &FullInstance, mine: &str) -> Result<(), Error> {
    let name = there.name.clone();
    if !is_half_made(there) {
        return Err(Error::Exists { name, is_box: there.is_box() });
    }
    let state = there.fact("state").unwrap_or_default();
    let maker = state.split(' ').nth(1).and_then(Maker::parse);
    match maker.map_or(Life::Elsewhere, |maker| maker.life()) {
        Life::Lives => return Err(Error::BeingMade { name, is_known: true }),
        Life::Elsewhere => return Err(Error::BeingMade { name, is_known: false }),
        Life::Ended => {}
    }
    settle(client, &name);
    match client.exchange(&name, STATE, state, mine) {
        Err(error) if error.code() != Some(404) => Err(error.into()),
        // Somebody else was first, or it is gone: the next look tells.
        _ => Ok(()),
    }
}

/// Removes the instance if its state is still `mine`; false where that was not possible.
pub fn clear(client: &Client, name: &str, mine: &str) -> bool {
    clear_if(client, name, |there| there.fact("state") == Some(mine))
}

/// The name of what `maker` restores until it is known to be whole and has a mark: with a backup
/// nothing can be sent that would stand in the instance from the beginning (Incus 6.0).
pub fn name_of_restored(maker: &Maker) -> String {
    format!("{RESTORED}{maker}")
}

/// Removes what a restoring left that was interrupted; false where that was not possible.
pub fn clear_restored(client: &Client, name: &str) -> bool {
    clear_if(client, name, |_| true)
}

/// Removes what makers that are dead were restoring.
///
/// # Errors
/// When Incus cannot be asked.
pub fn sweep_restored(client: &mut Client) -> Result<(), incus::Error> {
    for name in client.instance_names()? {
        let maker = name.strip_prefix(RESTORED).and_then(Maker::parse);
        if maker.is_some_and(|maker| maker.life() == Life::Ended) {
            clear_restored(client, &name);
        }
    }
    Ok(())
}

/// Removes an instance that is somebody's; Incus may be busy with it for a while.
fn clear_if(client: &Client, name: &str, is_ours: impl Fn(&FullInstance) -> bool) -> bool {
    let deadline = Instant::now() + CLEANING;
    while Instant::now() < deadline {
        let Ok(mut client) = Client::connect(client.project().map(str::to_owned)) else {
            return true;
        };
        settle(&mut client, name);
        match client.full_instance(name) {
            Ok(there) if is_ours(&there) => {
                let _next_round: Result<(), incus::Error> = remove(&mut client, &there);
            }
            Ok(_) => return true,
            Err(error) if error.code() == Some(404) => return true,
            Err(_) => {}
        }
        std::thread::sleep(PAUSE);
    }
    false
}

/// Waits for what the daemon does with an instance. An operation that makes it may not have come to
/// its name yet; and when it fails it would take away whatever has its name by then.
fn settle(client: &mut Client, name: &str) {
    for operation in client.operations_on(name).unwrap_or_default() {
        let _gone_with_it = client.wait("waiting for Incus", &operation, CLEANING);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_restored_has_a_name_that_an_instance_may_have() {
        let longest = "ffffffff-ffffffff-ffffffff-400000-fffffffff-ffffffff";
        let maker = Maker::parse(longest).expect("a maker");
        let name = name_of_restored(&maker);
        assert!(name.len() <= 63 && name.strip_prefix(RESTORED) == Some(longest), "{name}");
    }
}
