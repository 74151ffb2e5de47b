//! `btmm agent`: what becomes of a user's tickets when the daemon has others. Pure.
//!
//! The agent writes caches that it or `btmm tickets get` has written, which bear a mark, and those whose tickets have ended. Tickets that the
//! user has earned otherwise stay as long as they are good: a password or a one-time code may open what a certificate does not.

use crate::lkdc::ccache::{CredentialCache, Times};
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
        // What programs have got with the tickets of before is good beside the new ones.
        Some(ours) if is_ours(ours) => {
            let held: Vec<FullName> = cache.tickets().map(|ticket| ticket.server.clone()).collect();
            let further = ours.tickets().filter(|ticket| is_good(&ticket.times, now) && !held.contains(&ticket.server));
            further.cloned().for_each(|ticket| cache.store(ticket));
        }
        _ => {}
    }
    (there != Some(&cache)).then_some(cache)
}

/// Whether a cache that is kept by btmm is of a machine that is not of the account any more.
pub fn is_orphan(cache: &CredentialCache, realms: &[String]) -> bool {
    !realms.is_empty() && is_ours(cache) && !realms.contains(&cache.client.realm)
}

fn is_good(times: &Times, now: u32) -> bool {
    times.ends > now
}

#[cfg(test)]
#[path = "agent_tests.rs"]
mod tests;
