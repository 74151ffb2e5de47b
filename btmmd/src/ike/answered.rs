//! IKE_SA_INIT requests that were answered lately. Repetitions are known by them, and no source takes more than its share of the places.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::time::Instant;

use super::timer::{Earliest, Timer};

/// By whom and under which SPI an IKE_SA_INIT request was sent.
pub(super) type InitKey = (SocketAddr, u64);

/// Places of one source. A household behind one address has a handful of machines, and a machine a handful of addresses to be tried.
const SHARE: usize = 8;

/// All of them.
#[derive(Debug, Default)]
pub(super) struct Answered(BTreeMap<InitKey, Entry>);

#[derive(Clone, Copy, Debug)]
struct Entry {
    own: u64,
    until: Instant,
}

impl Answered {
    /// The SPI that we chose for this request, if it was answered.
    pub fn own_spi(&self, key: &InitKey) -> Option<u64> {
        self.0.get(key).map(|entry| entry.own)
    }

    /// Remembers an answer.
    pub fn insert(&mut self, key: InitKey, own: u64, until: Instant) {
        self.0.insert(key, Entry { own, until });
    }

    /// Forgets what is old.
    pub fn expire(&mut self, now: Instant) {
        self.0.retain(|_, entry| entry.until > now);
    }

    /// When the next one is old.
    pub fn earliest(&self) -> Earliest {
        Earliest::default().maybe(self.0.values().map(|entry| entry.until).min(), Timer::Forget)
    }

    /// Makes room for one more request of `newcomer`: forgets the oldest of a source that has its share, and, where `places` are taken, the oldest
    /// of the source that has most of them. Only those of which `counts` is true take places. Answers the SPI of what was forgotten.
    pub fn make_room(&mut self, newcomer: IpAddr, places: usize, counts: impl Fn(u64) -> bool) -> Option<u64> {
        let mut taken: BTreeMap<IpAddr, Vec<(Instant, InitKey)>> = BTreeMap::new();
        for (key, entry) in self.0.iter().filter(|(_, entry)| counts(entry.own)) {
            taken.entry(source(key.0.ip())).or_default().push((entry.until, *key));
        }
        let all: usize = taken.values().map(Vec::len).sum();
        let full = |entries: &&Vec<_>| entries.len() >= SHARE;
        let oldest = |entries: &Vec<(Instant, InitKey)>| entries.iter().min().copied();
        let heaviest = || taken.values().filter_map(|entries| Some((entries.len(), std::cmp::Reverse(oldest(entries)?)))).max();
        let victim = match taken.get(&source(newcomer)).filter(full) {
            Some(entries) => oldest(entries),
            None if all >= places => heaviest().map(|(_, oldest)| oldest.0),
            None => None,
        };
        victim.and_then(|(_, key)| self.0.remove(&key)).map(|entry| entry.own)
    }
}

/// Whoever has one address of an IPv6 network has them all.
fn source(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(ip) => IpAddr::V6(Ipv6Addr::from_bits(ip.to_bits() & !u128::from(u64::MAX))),
        v4 @ IpAddr::V4(_) => v4,
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    /// What many sources have asked, each `own` a second later than the one before.
    fn filled(sources: &[&str]) -> (Answered, Instant) {
        let (mut answered, start) = (Answered::default(), Instant::now());
        for (own, source) in (1..).zip(sources) {
            answered.insert((SocketAddr::new(source.parse().unwrap(), 4500), own), own, start + Duration::from_secs(own));
        }
        (answered, start)
    }

    #[test]
    fn a_source_that_has_its_share_loses_its_own_oldest() {
        let (mut answered, _) = filled(&["192.0.2.1", "2001:db8::1", "2001:db8::2", "::ffff:192.0.2.1"].repeat(4));
        assert_eq!(answered.make_room("192.0.2.1".parse().unwrap(), 64, |_| true), Some(1));
        assert_eq!(answered.make_room("192.0.2.1".parse().unwrap(), 64, |_| true), None);
        assert_eq!(answered.make_room("2001:db8::3".parse().unwrap(), 64, |_| true), Some(2));
        assert_eq!(answered.make_room("2001:db8:0:1::3".parse().unwrap(), 64, |_| true), None);
    }

    #[test]
    fn where_all_places_are_taken_the_heaviest_source_loses_its_oldest() {
        let (mut answered, start) = filled(&["192.0.2.1", "192.0.2.2", "192.0.2.2", "192.0.2.3"]);
        assert_eq!(answered.make_room("192.0.2.4".parse().unwrap(), 4, |own| own != 4), None);
        assert_eq!(answered.make_room("192.0.2.4".parse().unwrap(), 4, |_| true), Some(2));
        assert_eq!(answered.make_room("192.0.2.4".parse().unwrap(), 3, |_| true), Some(1), "the oldest of equals");
        assert_eq!(answered.earliest().get(), Some((start + Duration::from_secs(3), Timer::Forget)));
        answered.expire(start + Duration::from_secs(4));
        assert_eq!(answered.earliest().get(), None);
    }
}
