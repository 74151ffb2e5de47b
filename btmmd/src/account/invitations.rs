//! The base's side of invitations: which secrets still admit a machine, and who guesses too often.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::time::{Duration, SystemTime};

use serde::{Deserialize, Serialize};
use subtle::ConstantTimeEq;

use super::invite::{CODE_LIFE, InviteSecret};
use super::octets;
use super::roster::KeyHash;

/// The most codes that can be waiting to be used.
pub const MAX_OUTSTANDING: usize = 32;
/// Wrong secrets accepted from one source (an IPv4 address or an IPv6 /64) per minute.
pub const MAX_TRIES: u32 = 5;
const WINDOW: Duration = Duration::from_secs(60);
const MAX_SOURCES: usize = 1024;
/// Expired and used codes are remembered so long, so that people are told what is wrong with theirs.
const MEMORY: Duration = Duration::from_secs(24 * 3600);
/// The most codes remembered, waiting or not.
const MAX_REMEMBERED: usize = 256;

/// Why a secret did not admit.
#[derive(Debug, thiserror::Error, PartialEq, Eq, Clone, Copy)]
pub enum InvitationError {
    /// No such code.
    #[error("the base does not know this invitation code: run \"btmm invite\" on the base again")]
    Unknown,
    /// It has admitted another machine.
    #[error("this invitation code has been used already: run \"btmm invite\" on the base again")]
    Used,
    /// Past its end.
    #[error("this invitation code has expired: run \"btmm invite\" on the base again")]
    Expired,
    /// [`MAX_OUTSTANDING`] codes are waiting.
    #[error("{MAX_OUTSTANDING} invitation codes are waiting to be used: let one be used, or wait up to an hour")]
    TooMany,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Invitation {
    #[serde(with = "octets")]
    hash: Vec<u8>,
    /// Seconds since 1970.
    expires_at: u64,
    /// The key of the machine that it admitted.
    used_by: Option<KeyHash>,
}

/// The codes that the base has given out. Only their hashes are kept.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Invitations(Vec<Invitation>);

impl Invitations {
    /// Lets `secret` admit one machine until [`CODE_LIFE`] after `now`, which is returned in seconds since 1970.
    pub fn add(&mut self, secret: &InviteSecret, now: SystemTime) -> Result<u32, InvitationError> {
        let now = seconds(now);
        self.prune(now);
        if self.0.iter().filter(|entry| entry.used_by.is_none() && now < entry.expires_at).count() >= MAX_OUTSTANDING {
            return Err(InvitationError::TooMany);
        }
        let expires_at = u32::try_from(now + CODE_LIFE.as_secs()).unwrap_or(u32::MAX);
        self.0.push(Invitation { hash: secret.hash().to_vec(), expires_at: expires_at.into(), used_by: None });
        Ok(expires_at)
    }

    /// Lets the machine with `key` in, once. The same machine may ask again with the same code while it lives, for its answer may have been lost.
    pub fn admit(&mut self, secret: &InviteSecret, key: KeyHash, now: SystemTime) -> Result<(), InvitationError> {
        let now = seconds(now);
        let hash = secret.hash();
        let mut found = None;
        for entry in &mut self.0 {
            if bool::from(entry.hash.as_slice().ct_eq(&hash)) {
                found = Some(entry);
            }
        }
        let entry = found.ok_or(InvitationError::Unknown)?;
        if entry.used_by.is_some_and(|by| by != key) {
            return Err(InvitationError::Used);
        }
        if now >= entry.expires_at {
            return Err(InvitationError::Expired);
        }
        entry.used_by = Some(key);
        Ok(())
    }

    fn prune(&mut self, now: u64) {
        self.0.retain(|entry| now < entry.expires_at + MEMORY.as_secs());
        if self.0.len() >= MAX_REMEMBERED {
            self.0.retain(|entry| entry.used_by.is_none() && now < entry.expires_at);
        }
    }
}

/// Counts wrong secrets by source, so that nobody can guess for long.
#[derive(Debug, Default)]
pub struct Guesses(HashMap<IpAddr, (SystemTime, u32)>);

impl Guesses {
    /// Whether `source` may try a secret now.
    pub fn may_try(&self, source: IpAddr, now: SystemTime) -> bool {
        match self.0.get(&network(source)) {
            Some((since, wrong)) => *wrong < MAX_TRIES || is_over(*since, now),
            None => self.0.len() < MAX_SOURCES || self.0.values().any(|(since, _)| is_over(*since, now)),
        }
    }

    /// Takes note that `source` tried a wrong one.
    pub fn was_wrong(&mut self, source: IpAddr, now: SystemTime) {
        self.0.retain(|_, (since, _)| !is_over(*since, now));
        let (_, wrong) = self.0.entry(network(source)).or_insert((now, 0));
        *wrong += 1;
    }
}

fn is_over(since: SystemTime, now: SystemTime) -> bool {
    now.duration_since(since).map_or(true, |passed| passed >= WINDOW)
}

pub(super) fn network(source: IpAddr) -> IpAddr {
    match source.to_canonical() {
        IpAddr::V6(ip) => IpAddr::V6(Ipv6Addr::from_bits(ip.to_bits() & !u128::from(u64::MAX))),
        v4 => v4,
    }
}

pub(super) fn seconds(time: SystemTime) -> u64 {
    time.duration_since(SystemTime::UNIX_EPOCH).map_or(0, |passed| passed.as_secs())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn now() -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_secs(1_800_000_000)
    }

    fn invited() -> (Invitations, InviteSecret) {
        let (mut invitations, secret) = (Invitations::default(), InviteSecret::generate().unwrap());
        invitations.add(&secret, now()).unwrap();
        (invitations, secret)
    }

    #[test]
    fn a_code_admits_one_machine_which_may_ask_again() {
        let (mut invitations, secret) = invited();
        let [first, second] = [KeyHash::of(b"1"), KeyHash::of(b"2")];
        assert_eq!(invitations.admit(&secret, first, now()), Ok(()));
        assert_eq!(invitations.admit(&secret, first, now()), Ok(()));
        assert_eq!(invitations.admit(&secret, second, now()), Err(InvitationError::Used));
    }

    #[test]
    fn a_code_lives_one_hour_and_its_end_is_remembered_for_a_day() {
        let (mut invitations, secret) = invited();
        let key = KeyHash::of(b"1");
        assert_eq!(invitations.clone().admit(&secret, key, now() + CODE_LIFE - Duration::from_secs(1)), Ok(()));
        assert_eq!(invitations.admit(&secret, key, now() + CODE_LIFE), Err(InvitationError::Expired));
        let later = now() + CODE_LIFE + MEMORY;
        invitations.add(&InviteSecret::generate().unwrap(), later).unwrap();
        assert_eq!(invitations.admit(&secret, key, later), Err(InvitationError::Unknown));
    }

    #[test]
    fn an_unknown_secret_does_not_admit() {
        let (mut invitations, _) = invited();
        let unknown = InviteSecret::generate().unwrap();
        assert_eq!(invitations.admit(&unknown, KeyHash::of(b"1"), now()), Err(InvitationError::Unknown));
    }

    #[test]
    fn outstanding_codes_are_bounded_and_used_or_expired_ones_do_not_count() {
        let (mut invitations, first) = invited();
        let add = |invitations: &mut Invitations, now| invitations.add(&InviteSecret::generate().unwrap(), now).map(drop);
        (1..MAX_OUTSTANDING).for_each(|_| add(&mut invitations, now()).unwrap());
        assert_eq!(add(&mut invitations, now()), Err(InvitationError::TooMany));
        invitations.admit(&first, KeyHash::of(b"1"), now()).unwrap();
        assert_eq!(add(&mut invitations, now()), Ok(()));
        assert_eq!(add(&mut invitations, now() + CODE_LIFE), Ok(()));
    }

    #[test]
    fn the_file_does_not_hold_the_secret() {
        let (invitations, secret) = invited();
        let json = serde_json::to_string(&invitations).unwrap();
        let secret = serde_json::to_string(&secret).unwrap();
        assert!(!json.contains(secret.trim_matches('"')));
        assert_eq!(serde_json::from_str::<Invitations>(&json).unwrap(), invitations);
    }

    #[test]
    fn a_source_has_five_wrong_tries_a_minute() {
        let mut guesses = Guesses::default();
        let [source, neighbour, other]: [IpAddr; 3] = ["2001:db8::1", "2001:db8::2", "192.0.2.1"].map(|address| address.parse().unwrap());
        for _ in 0..MAX_TRIES {
            assert!(guesses.may_try(source, now()));
            guesses.was_wrong(source, now());
        }
        assert!(!guesses.may_try(source, now()));
        assert!(!guesses.may_try(neighbour, now() + Duration::from_secs(59)));
        assert!(guesses.may_try(other, now()));
        assert!(guesses.may_try(source, now() + Duration::from_secs(60)));
    }

    #[test]
    fn many_sources_do_not_fill_the_memory() {
        let mut guesses = Guesses::default();
        for number in 0..2 * u32::try_from(MAX_SOURCES).unwrap() {
            let source = IpAddr::V4(number.into());
            if guesses.may_try(source, now()) {
                guesses.was_wrong(source, now());
            }
        }
        assert_eq!(guesses.0.len(), MAX_SOURCES);
        assert!(guesses.may_try("192.0.2.1".parse().unwrap(), now() + WINDOW));
    }
}
