//! `btmm agent`: what becomes of a user's tickets when the daemon has others. Pure.
//!
//! The agent writes caches that it or `btmm tickets get` has written, which bear a mark, and those whose tickets have ended. Tickets that the
//! user has earned otherwise stay as long as they are good: a password or a one-time code may open what a certificate does not. Tickets that
//! were removed before they ended, whosoever they were, all of a machine or those for one service, stay away until the user gets others there,
//! or the agent starts anew.

use std::collections::{BTreeMap, BTreeSet};

use crate::lkdc::ccache::{CachePlace, CredentialCache, Times};
use crate::lkdc::full_name::FullName;

/// The configuration entry that marks a cache as kept by btmm. Others pass it by; kinit, which begins a cache anew, takes it away.
const MARK: &str = "btmm_agent";

/// Marks a cache as kept by btmm.
pub fn mark(cache: &mut CredentialCache) {
    cache.set_config(MARK, None, b"yes");
}

/// Whether a cache is kept by btmm: it bears the mark, and its tickets were earned by certificate. Whoever signs in with a password beside
/// them makes the cache the user's own.
pub fn is_ours(cache: &CredentialCache) -> bool {
    let earned = cache.config("pa_type", Some(&FullName::krbtgt(&cache.client.realm)));
    cache.config(MARK, None).is_some() && matches!(earned, Some(b"16" | b"17"))
}

/// What a cache shall be, given what is `there` for the same client and what the daemon has. `None`: as it is.
pub fn merged(there: Option<&CredentialCache>, offered: &CredentialCache, now: u32) -> Option<CredentialCache> {
    let granting = FullName::krbtgt(&offered.client.realm);
    offered.find(&granting, now)?;
    let mut cache = offered.clone();
    mark(&mut cache);
    match there {
        Some(own) if !is_ours(own) && own.find(&granting, now).is_some() => return None,
        // What programs have got with the tickets of before is good beside the new ones, and what was renewed in the place of them.
        Some(ours) if is_ours(ours) => {
            let ends = |server: &FullName| offered.find(server, now).map_or(now, |ticket| ticket.times.ends);
            ours.tickets().filter(|ticket| ticket.times.ends > ends(&ticket.server)).cloned().for_each(|ticket| cache.store(ticket));
        }
        _ => {}
    }
    there.is_none_or(|there| !is_same(there, &cache)).then_some(cache)
}

/// Whether two caches say the same. The kernel's keys are kept in no order.
fn is_same(one: &CredentialCache, other: &CredentialCache) -> bool {
    one.client == other.client
        && one.time_offset == other.time_offset
        && one.credentials.len() == other.credentials.len()
        && one.credentials.iter().all(|credential| other.credentials.contains(credential))
}

/// Whether a cache that is kept by btmm is of a machine that is not of the account any more.
pub fn is_orphan(cache: &CredentialCache, realms: &[String]) -> bool {
    !realms.is_empty() && is_ours(cache) && !realms.contains(&cache.client.realm)
}

/// Seconds before its end from which a missing ticket is taken to have ended: the kernel may forget it that early.
const CLOSE: u32 = 60;

/// What the agent has seen in the user's caches, for as long as it runs: it tells tickets that were removed from those that have ended.
#[derive(Debug, Default)]
pub struct Memory {
    place: Option<CachePlace>,
    seen: BTreeMap<FullName, Seen>,
    removed: BTreeSet<FullName>,
}

/// The tickets of one client.
#[derive(Debug, Default)]
struct Seen {
    /// The one that all others are got with.
    granting: Times,
    /// When the others end.
    services: BTreeMap<FullName, u32>,
    /// Those for which the user has removed the tickets, and none else.
    removed: BTreeSet<FullName>,
}

/// What to do with a client's cache.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Due {
    /// Keep it in step.
    Keep,
    /// Leave it: the user has removed the tickets since the last look.
    Removed,
    /// Leave it, as before.
    Away,
}

impl Memory {
    /// Begins to look at `place`. What was seen elsewhere says nothing of it.
    pub fn turn_to(&mut self, place: &CachePlace) {
        if self.place.as_ref() != Some(place) {
            *self = Self { place: Some(place.clone()), ..Self::default() };
        }
    }

    /// Misses nothing of a client whose tickets the agent itself has removed.
    pub fn forget(&mut self, client: &FullName) {
        self.seen.remove(client);
        self.removed.remove(client);
    }

    /// Judges what is `there` for a client.
    pub fn look(&mut self, client: &FullName, there: Option<&CredentialCache>, now: u32) -> Due {
        if there.is_some_and(|cache| self.saw(cache, now)) {
            return Due::Keep;
        }
        if self.removed.contains(client) {
            return Due::Away;
        }
        if self.seen.remove(client).is_none_or(|seen| has_ended(seen.granting.ends, now)) {
            return Due::Keep;
        }
        self.removed.insert(client.clone());
        Due::Removed
    }

    /// Takes note of a cache; whether there is anything to be missed in it.
    pub fn saw(&mut self, cache: &CredentialCache, now: u32) -> bool {
        let Some(granting) = cache.find(&FullName::krbtgt(&cache.client.realm), now) else { return false };
        self.seen.entry(cache.client.clone()).or_default().turn_to(granting.times, cache, now);
        self.removed.remove(&cache.client);
        true
    }

    /// Leaves out what the user has removed from a client's tickets.
    pub fn without_removed(&self, mut offered: CredentialCache) -> CredentialCache {
        if let Some(seen) = self.seen.get(&offered.client) {
            offered.remove(|ticket| seen.removed.contains(&ticket.server));
        }
        offered
    }
}

impl Seen {
    fn turn_to(&mut self, granting: Times, cache: &CredentialCache, now: u32) {
        let good = cache.tickets().filter(|ticket| !ticket.server.is_krbtgt() && ticket.times.ends > now);
        let services: BTreeMap<FullName, u32> = good.map(|ticket| (ticket.server.clone(), ticket.times.ends)).collect();
        let before = std::mem::take(&mut self.services);
        // Whoever signs in anew begins a cache anew: the tickets of before are gone, and nobody has removed them.
        if granting == self.granting {
            self.removed.extend(before.into_iter().filter(|(_, ends)| !has_ended(*ends, now)).map(|(server, _)| server));
        }
        self.removed.retain(|server| !services.contains_key(server));
        (self.granting, self.services) = (granting, services);
    }
}

/// Whether a ticket that is missed has ended.
fn has_ended(ends: u32, now: u32) -> bool {
    ends.saturating_sub(CLOSE) <= now
}

#[cfg(test)]
#[path = "agent_tests.rs"]
mod tests;
