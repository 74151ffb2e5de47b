//! Runs `btmm agent`: listens to the daemon and writes the user's caches.

use std::collections::BTreeSet;
use std::fmt::Display;
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
use crate::lkdc::ccache::{self, CredentialCache};
use crate::lkdc::full_name::FullName;

/// Pause before the daemon is asked again; doubled as long as it does not answer.
const FIRST_PAUSE: Duration = Duration::from_secs(1);
/// The longest pause.
const LONGEST_PAUSE: Duration = Duration::from_secs(30);

/// How often the caches are looked at while the daemon is silent: tickets of the user's own end, and what could not be written may be now.
const LOOK: Duration = Duration::from_secs(60);

/// Listens for as long as the user is here. Ends only when the tickets are not for this user, or btmm is removed.
pub(super) fn run() -> Result<ExitClass, Failure> {
    let mut pause = FIRST_PAUSE;
    let mut told = String::new();
    let (mut memory, mut complaints) = (Memory::default(), Complaints::default());
    loop {
        let ended = listen(|held| {
            pause = FIRST_PAUSE;
            told.clear();
            follow(&mut memory, &mut complaints, held);
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

/// Follows the daemon until it ends the conversation; tells why. What it told last is heard again whenever it is silent.
fn listen(mut heard: impl FnMut(&HeldTickets)) -> ClientError {
    let mut daemon = match connect_to_listen(&runtime_dir(), LOOK) {
        Ok(daemon) => daemon,
        Err(error) => return error,
    };
    let replies = match daemon.tickets() {
        Ok(replies) => replies,
        Err(error) => return error,
    };
    let (mut ended, mut last) = (ClientError::NotRunning, None);
    for reply in replies {
        match reply {
            Ok(held) => heard(last.insert(held)),
            Err(error) if error.is_silence() => last.iter().for_each(&mut heard),
            // It hung up, as when it stops.
            Err(ClientError::Broken(_)) => {}
            Err(error) => ended = error,
        }
    }
    ended
}

/// Brings the user's caches into step. What cannot be written is told, and the others are.
fn follow(memory: &mut Memory, complaints: &mut Complaints, held: &HeldTickets) {
    complaints.begin();
    let place = match tickets::place() {
        Ok(place) => place,
        Err(failure) => return complaints.tell(&failure),
    };
    memory.turn_to(&place);
    match ccache::caches(&place, |error| complaints.tell(&error)) {
        Ok(there) => keep_in_step(memory, complaints, &place, there, held),
        Err(error) => complaints.tell(&error),
    }
}

fn keep_in_step(memory: &mut Memory, complaints: &mut Complaints, place: &CachePlace, there: Vec<Member>, held: &HeldTickets) {
    let (orphans, there): (Vec<Member>, Vec<Member>) = there.into_iter().partition(|(_, cache)| is_orphan(cache, &held.realms));
    for (member, orphan) in orphans {
        memory.forget(&orphan.client);
        if let Err(error) = ccache::destroy(&member) {
            complaints.tell(&error);
        }
    }
    for tickets in &held.tickets {
        let machine = &tickets.machine;
        match put(memory, place, &there, tickets) {
            Ok(Done::Written(member)) => eprintln!("btmm agent: {machine}: tickets are in {member}"),
            Ok(Done::Removed) => {
                eprintln!("btmm agent: {machine}: the tickets were removed, and stay away until you get others or the agent starts anew");
            }
            Ok(Done::Nothing) => {}
            Err(failure) => complaints.tell(&format_args!("{machine}: {failure}")),
        }
    }
}

/// What is wrong, told once for as long as it lasts: the agent looks again and again.
#[derive(Default)]
struct Complaints {
    before: BTreeSet<String>,
    now: BTreeSet<String>,
}

impl Complaints {
    /// Looks anew.
    fn begin(&mut self) {
        self.before = std::mem::take(&mut self.now);
    }

    fn tell(&mut self, complaint: &dyn Display) {
        let complaint = complaint.to_string();
        if !self.before.contains(&complaint) {
            eprintln!("btmm agent: {complaint}");
        }
        self.now.insert(complaint);
    }
}

/// A cache, and where it is.
type Member = (CachePlace, CredentialCache);

/// What was done about the tickets of a machine.
enum Done {
    Nothing,
    Written(CachePlace),
    /// Nothing: they were there, and the user has removed them.
    Removed,
}

/// Puts the tickets of one machine where the user's programs look.
fn put(memory: &mut Memory, place: &CachePlace, there: &[Member], tickets: &RealmTickets) -> Result<Done, Failure> {
    let offered = opened(tickets)?;
    let now = u32::try_from(now()).unwrap_or(u32::MAX);
    let (member, there) = there.iter().find(|(_, there)| there.client == offered.client).map(|(member, there)| (member, there)).unzip();
    match memory.look(&offered.client, there, now) {
        Due::Keep => {}
        Due::Removed => return Ok(Done::Removed),
        Due::Away => return Ok(Done::Nothing),
    }
    let offered = memory.without_removed(offered);
    let Some(new) = merged(there, &offered, now) else { return Ok(Done::Nothing) };
    let granting = FullName::krbtgt(&offered.client.realm);
    let is_new = there.is_none_or(|there| there.find(&granting, now) != new.find(&granting, now));
    let written = match member {
        // Once more on what is there now, with nobody else changing it.
        Some(member) => {
            let written = ccache::update(member, |cache| {
                let new = merged(Some(cache), &offered, now);
                let written = new.is_some();
                new.into_iter().for_each(|new| *cache = new);
                written
            })?;
            written.then(|| member.clone())
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
