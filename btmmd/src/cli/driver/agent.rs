//! Runs `btmm agent`: listens to the daemon and writes the user's caches.

use std::time::Duration;

use super::certified::opened;
use super::{Failure, now, runtime_dir, tickets};
use crate::cli::agent::{is_orphan, merged};
use crate::control::client::ClientError;
use crate::control::driver::connect_to_listen;
use crate::control::error::ExitClass;
use crate::control::secrets::{HeldTickets, RealmTickets};
use crate::lkdc::ccache::place::CachePlace;
use crate::lkdc::ccache::{self, CacheError};

/// Pause before the daemon is asked again; doubled as long as it does not answer.
const FIRST_PAUSE: Duration = Duration::from_secs(1);
/// The longest pause.
const LONGEST_PAUSE: Duration = Duration::from_secs(30);

/// Listens for as long as the user is here. Ends only when the tickets are not for this user.
pub(super) fn run() -> Result<ExitClass, Failure> {
    let mut pause = FIRST_PAUSE;
    let mut told = String::new();
    loop {
        let ended = listen(|| pause = FIRST_PAUSE);
        if ended.exit_class() == ExitClass::NotPermitted {
            return Err(ended.into());
        }
        let cause = ended.to_string();
        if cause != told {
            eprintln!("btmm agent: {cause}; asking again");
            told = cause;
        }
        std::thread::sleep(pause);
        pause = (pause * 2).min(LONGEST_PAUSE);
    }
}

/// Follows the daemon until it ends the conversation; tells why.
fn listen(mut heard: impl FnMut()) -> ClientError {
    let mut daemon = match connect_to_listen(&runtime_dir()) {
        Ok(daemon) => daemon,
        Err(error) => return error,
    };
    let replies = match daemon.tickets() {
        Ok(replies) => replies,
        Err(error) => return error,
    };
    let mut ended = ClientError::NotRunning;
    for reply in replies {
        match reply {
            Ok(held) => {
                heard();
                follow(&held);
            }
            Err(error) => ended = error,
        }
    }
    ended
}

/// Brings the user's caches into step. What cannot be written is told, and the others are.
fn follow(held: &HeldTickets) {
    let place = match tickets::place() {
        Ok(place) => place,
        Err(failure) => return eprintln!("btmm agent: {failure}"),
    };
    if let Err(failure) = remove_orphans(&place, &held.realms) {
        eprintln!("btmm agent: {failure}");
    }
    for tickets in &held.tickets {
        match put(&place, tickets) {
            Ok(Some(member)) => eprintln!("btmm agent: {}: tickets are in {member}", tickets.machine),
            Ok(None) => {}
            Err(failure) => eprintln!("btmm agent: {}: {failure}", tickets.machine),
        }
    }
}

fn remove_orphans(place: &CachePlace, realms: &[String]) -> Result<(), CacheError> {
    for member in ccache::members(place)? {
        if ccache::load(&member)?.is_some_and(|cache| is_orphan(&cache, realms)) {
            ccache::destroy(&member)?;
        }
    }
    Ok(())
}

/// Puts the tickets of one machine where the user's programs look. Where, when anything was written.
fn put(place: &CachePlace, tickets: &RealmTickets) -> Result<Option<CachePlace>, Failure> {
    let offered = opened(tickets)?;
    let now = u32::try_from(now()).unwrap_or(u32::MAX);
    for member in ccache::members(place)? {
        let Some(there) = ccache::load(&member)?.filter(|there| there.client == offered.client) else { continue };
        if merged(Some(&there), &offered, now).is_none() {
            return Ok(None);
        }
        // Once more on what is there now, with nobody else changing it.
        let written = ccache::update(&member, |cache| {
            let new = merged(Some(cache), &offered, now);
            let written = new.is_some();
            new.into_iter().for_each(|new| *cache = new);
            written
        })?;
        return Ok(written.then_some(member));
    }
    let Some(cache) = merged(None, &offered, now) else { return Ok(None) };
    // Which programs look at first shall be the tickets of other machines.
    if tickets.own { Ok(ccache::add_aside(place, &cache)?) } else { Ok(Some(ccache::add(place, &cache)?)) }
}
