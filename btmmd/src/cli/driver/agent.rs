//! Runs `btmm agent`: listens to the daemon and writes the user's caches.

use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use super::certified::opened;
use super::{Failure, now, runtime_dir, tickets};
use crate::cli::agent::{Due, Memory, is_orphan, merged};
use crate::control::client::ClientError;
use crate::control::driver::connect_to_listen;
use crate::control::error::ExitClass;
use crate::control::secrets::{HeldTickets, RealmTickets};
use crate::lkdc::ccache::place::CachePlace;
use crate::lkdc::ccache::{self, CacheError, CredentialCache};
use crate::lkdc::full_name::FullName;

/// Pause before the daemon is asked again; doubled as long as it does not answer.
const FIRST_PAUSE: Duration = Duration::from_secs(1);
/// The longest pause.
const LONGEST_PAUSE: Duration = Duration::from_secs(30);

/// Listens for as long as the user is here. Ends only when the tickets are not for this user, or btmm is removed.
pub(super) fn run() -> Result<ExitClass, Failure> {
    let mut pause = FIRST_PAUSE;
    let mut told = String::new();
    let mut memory = Memory::default();
    loop {
        let ended = listen(|held| {
            pause = FIRST_PAUSE;
            told.clear();
            follow(&mut memory, held);
        });
        if ended.exit_class() == ExitClass::NotPermitted {
            return Err(ended.into());
        }
        let cause = ended.to_string();
        if cause != told {
            eprintln!("btmm agent: {cause}; asking again");
            told = cause;
        }
        std::thread::sleep(pause);
        if let Some(done) = go_on_with_the_installed() {
            return Ok(done);
        }
        pause = (pause * 2).min(LONGEST_PAUSE);
    }
}

/// An upgrade puts another program in the place of this one, which speaks with the daemon as that was: goes on as the new one. Comes back
/// with how to end where there is none any more, and with nothing where all is as it was.
fn go_on_with_the_installed() -> Option<ExitClass> {
    let own = std::fs::read_link("/proc/self/exe").ok()?;
    let path = Path::new(own.to_str()?.strip_suffix(" (deleted)")?);
    if !path.exists() {
        eprintln!("btmm agent: btmm was removed from this machine; ending");
        return Some(ExitClass::Done);
    }
    eprintln!("btmm agent: another btmm was installed; going on with that");
    let error = Command::new(path).args(std::env::args_os().skip(1)).exec();
    eprintln!("btmm agent: cannot start {}: {error}", path.display());
    None
}

/// Follows the daemon until it ends the conversation; tells why.
fn listen(mut heard: impl FnMut(&HeldTickets)) -> ClientError {
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
            Ok(held) => heard(&held),
            // It hung up, as when it stops.
            Err(ClientError::Broken(_)) => {}
            Err(error) => ended = error,
        }
    }
    ended
}

/// Brings the user's caches into step. What cannot be written is told, and the others are.
fn follow(memory: &mut Memory, held: &HeldTickets) {
    let place = match tickets::place() {
        Ok(place) => place,
        Err(failure) => return eprintln!("btmm agent: {failure}"),
    };
    memory.turn_to(&place);
    if let Err(failure) = remove_orphans(memory, &place, &held.realms) {
        eprintln!("btmm agent: {failure}");
    }
    for tickets in &held.tickets {
        let machine = &tickets.machine;
        match put(memory, &place, tickets) {
            Ok(Done::Written(member)) => eprintln!("btmm agent: {machine}: tickets are in {member}"),
            Ok(Done::Removed) => {
                eprintln!("btmm agent: {machine}: the tickets were removed, and stay away until you get others or the agent starts anew");
            }
            Ok(Done::Nothing) => {}
            Err(failure) => eprintln!("btmm agent: {machine}: {failure}"),
        }
    }
}

/// What was done about the tickets of a machine.
enum Done {
    Nothing,
    Written(CachePlace),
    /// Nothing: they were there, and the user has removed them.
    Removed,
}

fn remove_orphans(memory: &mut Memory, place: &CachePlace, realms: &[String]) -> Result<(), CacheError> {
    for member in ccache::members(place)? {
        if let Some(orphan) = ccache::load(&member)?.filter(|cache| is_orphan(cache, realms)) {
            memory.forget(&orphan.client);
            ccache::destroy(&member)?;
        }
    }
    Ok(())
}

/// Puts the tickets of one machine where the user's programs look.
fn put(memory: &mut Memory, place: &CachePlace, tickets: &RealmTickets) -> Result<Done, Failure> {
    let offered = opened(tickets)?;
    let now = u32::try_from(now()).unwrap_or(u32::MAX);
    let there = of_client(place, &offered)?;
    match memory.look(&offered.client, there.as_ref().map(|(_, cache)| cache), now) {
        Due::Keep => {}
        Due::Removed => return Ok(Done::Removed),
        Due::Away => return Ok(Done::Nothing),
    }
    let Some(new) = merged(there.as_ref().map(|(_, cache)| cache), &offered, now) else { return Ok(Done::Nothing) };
    let granting = FullName::krbtgt(&offered.client.realm);
    let is_new = there.as_ref().is_none_or(|(_, there)| there.find(&granting, now) != offered.find(&granting, now));
    let written = match there {
        // Once more on what is there now, with nobody else changing it.
        Some((member, _)) => {
            let written = ccache::update(&member, |cache| {
                let new = merged(Some(cache), &offered, now);
                let written = new.is_some();
                new.into_iter().for_each(|new| *cache = new);
                written
            })?;
            written.then_some(member)
        }
        // Which programs look at first shall be the tickets of other machines.
        None if tickets.own => ccache::add_aside(place, &new)?,
        None => Some(ccache::add(place, &new)?),
    };
    let Some(member) = written else { return Ok(Done::Nothing) };
    memory.saw(&new, now);
    // Of tickets that came to those which are there nothing is told.
    Ok(if is_new { Done::Written(member) } else { Done::Nothing })
}

/// The cache of the same client, and where it is.
fn of_client(place: &CachePlace, offered: &CredentialCache) -> Result<Option<(CachePlace, CredentialCache)>, CacheError> {
    for member in ccache::members(place)? {
        if let Some(there) = ccache::load(&member)?.filter(|there| there.client == offered.client) {
            return Ok(Some((member, there)));
        }
    }
    Ok(None)
}
