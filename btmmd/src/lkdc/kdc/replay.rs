//! Proofs that were used and replies that were given, for as long as either could come again.
//!
//! A request that is sent again because its reply was lost gets the same reply (RFC 4120 §3.1.2 wants that); the same proof in another
//! request, from another address, or much later, is a replay. Both tables are bounded: two generations each, the older one dropped as a
//! whole when the newer one is full or old. So the window is never shorter than it must be, unless more than [`MAX_PROOFS`] clients
//! prove themselves within it, which [`ReplayCache::shortened`] counts.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use aws_lc_rs::digest::{Context, SHA256};

/// Proofs remembered, at most.
pub const MAX_PROOFS: usize = SHARDS * PROOFS_PER_SHARD;

const SHARDS: usize = 32;
const PROOFS_PER_SHARD: usize = 16_384;
/// Octets of replies kept in one generation of one shard.
const REPLY_OCTETS: usize = 128 * 1024;
/// A client that heard nothing asks again for this many seconds.
const RETRANSMIT: u64 = 30;

/// Half of a SHA-256.
pub type Digest = [u8; 16];

/// Proofs that were used and replies that were given.
pub struct ReplayCache {
    shards: Vec<Mutex<Shard>>,
    window: u64,
    shortened: AtomicU64,
}

#[derive(Default)]
struct Shard {
    proofs: Generations<Seen>,
    replies: Generations<Given>,
}

struct Given {
    reply: Arc<[u8]>,
    at: u64,
}

#[derive(Clone, Copy)]
struct Seen {
    request: Digest,
    at: u64,
}

struct Generations<T> {
    current: HashMap<Digest, T>,
    previous: HashMap<Digest, T>,
    since: u64,
    size: usize,
}

impl<T> Default for Generations<T> {
    fn default() -> Self {
        Self { current: HashMap::new(), previous: HashMap::new(), since: 0, size: 0 }
    }
}

impl<T> Generations<T> {
    fn get(&self, digest: &Digest) -> Option<&T> {
        self.current.get(digest).or_else(|| self.previous.get(digest))
    }

    /// Whether something was forgotten before its time.
    fn insert(&mut self, digest: Digest, value: T, size: usize, limit: usize, window: u64, now: u64) -> bool {
        let full = self.size.saturating_add(size) > limit;
        if full || now.saturating_sub(self.since) >= window {
            self.previous = std::mem::take(&mut self.current);
            self.size = 0;
            self.since = now;
        }
        self.size = self.size.saturating_add(size);
        self.current.insert(digest, value);
        full
    }
}

/// Whether a proof was used before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Freshness {
    /// It is new, or its request was sent again.
    Fresh,
    /// It was used by another request.
    Replayed,
}

impl ReplayCache {
    /// Remembers proofs for at least `window` seconds: twice the allowed difference between clocks.
    pub fn new(window: u64) -> Self {
        Self { shards: (0..SHARDS).map(|_| Mutex::default()).collect(), window, shortened: AtomicU64::new(0) }
    }

    /// The reply that this request got a moment ago.
    pub fn reply(&self, request: &Digest, now: u64) -> Option<Arc<[u8]>> {
        let shard = self.shard(request)?;
        shard.replies.get(request).filter(|given| now.saturating_sub(given.at) <= RETRANSMIT).map(|given| given.reply.clone())
    }

    /// Keeps a reply in case its request comes again.
    pub fn keep(&self, request: Digest, reply: &[u8], now: u64) {
        if let Some(mut shard) = self.shard(&request) {
            shard.replies.insert(request, Given { reply: reply.into(), at: now }, reply.len(), REPLY_OCTETS, RETRANSMIT, now);
        }
    }

    /// Remembers that `request` used `proof`.
    pub fn spend(&self, proof: Digest, request: Digest, now: u64) -> Freshness {
        let Some(mut shard) = self.shard(&proof) else { return Freshness::Replayed };
        if let Some(seen) = shard.proofs.get(&proof) {
            let again = seen.request == request && now.saturating_sub(seen.at) <= RETRANSMIT;
            return if again { Freshness::Fresh } else { Freshness::Replayed };
        }
        // Both generations may be full at once.
        if shard.proofs.insert(proof, Seen { request, at: now }, 1, PROOFS_PER_SHARD / 2, self.window, now) {
            self.shortened.fetch_add(1, Ordering::Relaxed);
        }
        Freshness::Fresh
    }

    /// How often proofs had to be forgotten before their time.
    pub fn shortened(&self) -> u64 {
        self.shortened.load(Ordering::Relaxed)
    }

    fn shard(&self, digest: &Digest) -> Option<MutexGuard<'_, Shard>> {
        let number = usize::from(digest[0]) % SHARDS;
        Some(self.shards.get(number)?.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// What tells a request from all others: its octets and the address it came from.
pub fn request_digest(request: &[u8], from: IpAddr) -> Digest {
    match from {
        IpAddr::V4(address) => half_hash(&[&address.octets(), request]),
        IpAddr::V6(address) => half_hash(&[&address.octets(), request]),
    }
}

/// What tells a proof from all others: its kind and its octets.
pub fn proof_digest(kind: i32, proof: &[u8]) -> Digest {
    half_hash(&[&kind.to_be_bytes(), proof])
}

fn half_hash(parts: &[&[u8]]) -> Digest {
    let mut context = Context::new(&SHA256);
    parts.iter().for_each(|part| context.update(part));
    let mut half = Digest::default();
    half.iter_mut().zip(context.finish().as_ref()).for_each(|(half, octet)| *half = *octet);
    half
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: u64 = 1_700_000_000;

    fn digest(number: u32) -> Digest {
        proof_digest(2, &number.to_be_bytes())
    }

    #[test]
    fn a_proof_is_good_for_one_request_only() {
        let cache = ReplayCache::new(600);
        assert_eq!(cache.spend(digest(1), digest(10), NOW), Freshness::Fresh);
        assert_eq!(cache.spend(digest(1), digest(11), NOW), Freshness::Replayed);
        assert_eq!(cache.spend(digest(1), digest(10), NOW + 1), Freshness::Fresh, "sent again");
        assert_eq!(cache.spend(digest(1), digest(10), NOW + 31), Freshness::Replayed, "much later");
        assert_eq!(cache.spend(digest(2), digest(12), NOW), Freshness::Fresh);
    }

    #[test]
    fn a_proof_is_remembered_for_the_whole_window_whenever_it_came() {
        for offset in [0, 1, 300, 599] {
            let cache = ReplayCache::new(600);
            cache.spend(digest(0), digest(0), NOW);
            assert_eq!(cache.spend(digest(1), digest(1), NOW + offset), Freshness::Fresh);
            for later in 0..600 {
                cache.spend(digest(1000 + later), digest(0), NOW + offset + u64::from(later));
            }
            assert_eq!(cache.spend(digest(1), digest(2), NOW + offset + 599), Freshness::Replayed, "{offset}");
        }
    }

    #[test]
    fn the_same_request_from_elsewhere_is_another() {
        let here = request_digest(b"request", "fd00::1".parse().unwrap());
        assert_ne!(here, request_digest(b"request", "fd00::2".parse().unwrap()));
        let cache = ReplayCache::new(600);
        cache.keep(here, b"reply", NOW);
        assert_eq!(cache.reply(&here, NOW + RETRANSMIT).as_deref(), Some(b"reply".as_slice()));
        assert_eq!(cache.reply(&here, NOW + RETRANSMIT + 1), None, "nobody waits for it any more");
        assert_eq!(cache.reply(&request_digest(b"request", "fd00::2".parse().unwrap()), NOW), None);
    }

    #[test]
    fn memory_is_bounded_and_overflow_is_counted() {
        let cache = ReplayCache::new(600);
        for number in 0..u32::try_from(2 * PROOFS_PER_SHARD).unwrap() {
            let mut digest = digest(number);
            digest[0] = 0;
            cache.spend(digest, digest, NOW);
            cache.keep(digest, &[0; 900], NOW);
        }
        let shard = cache.shards[0].lock().unwrap();
        assert!(shard.proofs.current.len() + shard.proofs.previous.len() <= PROOFS_PER_SHARD);
        let octets: usize = shard.replies.current.values().chain(shard.replies.previous.values()).map(|given| given.reply.len()).sum();
        assert!(octets <= 2 * REPLY_OCTETS, "{octets}");
        assert!(cache.shortened() > 0);
    }
}
