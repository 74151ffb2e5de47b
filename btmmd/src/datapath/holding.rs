//! The queue in which packets wait for a tunnel: bounded per peer and in all, oldest out first, nothing older than it is useful.

use std::collections::{BTreeMap, VecDeque};
use std::net::Ipv6Addr;
use std::time::{Duration, Instant};

/// How much may wait, and how long.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Packets for one peer.
    pub peer_packets: usize,
    /// Octets for one peer.
    pub peer_bytes: usize,
    /// Octets for all peers together.
    pub total_bytes: usize,
    /// A packet that has waited this long is dropped: its sender has given up or sent it again.
    pub age: Duration,
}

impl Default for Limits {
    /// 64 packets or 256 KiB a peer, 4 MiB in all, 5 s.
    fn default() -> Self {
        Self { peer_packets: 64, peer_bytes: 256 << 10, total_bytes: 4 << 20, age: Duration::from_secs(5) }
    }
}

/// Why a packet was not sent on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Dropped {
    /// Pushed out by a newer one, or larger than a limit by itself.
    pub full: u64,
    /// Waited too long.
    pub aged: u64,
    /// Its peer failed or is not wanted.
    pub refused: u64,
    /// Not an IPv6 packet.
    pub malformed: u64,
}

/// What became of a packet that was put in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Held {
    /// It waits for this peer, for which nothing waited before: raise the tunnel.
    First(Ipv6Addr),
    /// It waits behind others for this peer.
    Behind(Ipv6Addr),
    /// It was dropped (and counted).
    Dropped,
}

struct Waiting {
    since: Instant,
    packet: Vec<u8>,
}

/// Packets waiting, by inner destination address.
pub struct Holding {
    limits: Limits,
    peers: BTreeMap<Ipv6Addr, VecDeque<Waiting>>,
    bytes: usize,
    dropped: Dropped,
}

impl Holding {
    /// An empty queue.
    pub fn new(limits: Limits) -> Self {
        Self { limits, peers: BTreeMap::new(), bytes: 0, dropped: Dropped::default() }
    }

    /// Takes a packet in.
    pub fn hold(&mut self, packet: Vec<u8>, now: Instant) -> Held {
        self.expire(now);
        let Some(peer) = destination(&packet) else {
            self.dropped.malformed += 1;
            return Held::Dropped;
        };
        if packet.len() > self.limits.peer_bytes || packet.len() > self.limits.total_bytes || self.limits.peer_packets == 0 {
            self.dropped.full += 1;
            return Held::Dropped;
        }
        while self.is_full(peer, packet.len()) {
            self.drop_oldest(Some(peer));
        }
        while self.bytes + packet.len() > self.limits.total_bytes {
            self.drop_oldest(None);
        }
        self.bytes += packet.len();
        let queue = self.peers.entry(peer).or_default();
        queue.push_back(Waiting { since: now, packet });
        if queue.len() == 1 { Held::First(peer) } else { Held::Behind(peer) }
    }

    /// The tunnel is up: everything that waits for `peer`, in the order it came.
    pub fn release(&mut self, peer: Ipv6Addr, now: Instant) -> Vec<Vec<u8>> {
        self.expire(now);
        let queue = self.peers.remove(&peer).unwrap_or_default();
        self.bytes -= queue.iter().map(|waiting| waiting.packet.len()).sum::<usize>();
        queue.into_iter().map(|waiting| waiting.packet).collect()
    }

    /// There will be no tunnel: drops what waits for `peer`, and says how many that was.
    pub fn refuse(&mut self, peer: Ipv6Addr) -> usize {
        let queue = self.peers.remove(&peer).unwrap_or_default();
        self.bytes -= queue.iter().map(|waiting| waiting.packet.len()).sum::<usize>();
        self.dropped.refused += queue.len() as u64;
        queue.len()
    }

    /// Drops what has waited too long.
    pub fn handle_timeout(&mut self, now: Instant) {
        self.expire(now);
    }

    /// When something will have waited too long.
    pub fn poll_timeout(&self) -> Option<(Instant, &'static str)> {
        let oldest = self.peers.values().filter_map(VecDeque::front).map(|waiting| waiting.since).min()?;
        Some((oldest + self.limits.age, "a held packet is too old"))
    }

    /// Peers for which something waits.
    pub fn peers(&self) -> impl Iterator<Item = Ipv6Addr> + '_ {
        self.peers.keys().copied()
    }

    /// Octets that wait.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// What has been dropped so far.
    pub fn dropped(&self) -> Dropped {
        self.dropped
    }

    fn is_full(&self, peer: Ipv6Addr, more: usize) -> bool {
        self.peers.get(&peer).is_some_and(|queue| {
            let bytes: usize = queue.iter().map(|waiting| waiting.packet.len()).sum();
            queue.len() >= self.limits.peer_packets || bytes + more > self.limits.peer_bytes
        })
    }

    /// Drops the oldest packet, of `peer` or of all.
    fn drop_oldest(&mut self, peer: Option<Ipv6Addr>) {
        let oldest = || self.peers.iter().filter_map(|(peer, queue)| Some((queue.front()?.since, *peer))).min();
        let Some(peer) = peer.or_else(|| oldest().map(|(_, peer)| peer)) else { return };
        if let Some(waiting) = self.pop(peer) {
            self.bytes -= waiting.packet.len();
            self.dropped.full += 1;
        }
    }

    fn expire(&mut self, now: Instant) {
        let late: Vec<Ipv6Addr> = self.peers.keys().copied().collect();
        for peer in late {
            while self.peers.get(&peer).and_then(VecDeque::front).is_some_and(|waiting| now >= waiting.since + self.limits.age) {
                if let Some(waiting) = self.pop(peer) {
                    self.bytes -= waiting.packet.len();
                    self.dropped.aged += 1;
                }
            }
        }
    }

    fn pop(&mut self, peer: Ipv6Addr) -> Option<Waiting> {
        let queue = self.peers.get_mut(&peer)?;
        let waiting = queue.pop_front();
        if queue.is_empty() {
            self.peers.remove(&peer);
        }
        waiting
    }
}

/// Destination of an IPv6 packet (RFC 8200 §3).
fn destination(packet: &[u8]) -> Option<Ipv6Addr> {
    let first = packet.first()?;
    let address: [u8; 16] = packet.get(24..40)?.try_into().ok()?;
    (first >> 4 == 6).then(|| Ipv6Addr::from(address))
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: Ipv6Addr = Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, 0, 1);
    const B: Ipv6Addr = Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, 0, 2);
    const LIMITS: Limits = Limits { peer_packets: 3, peer_bytes: 300, total_bytes: 400, age: Duration::from_secs(5) };

    fn packet(to: Ipv6Addr, length: usize, tag: u8) -> Vec<u8> {
        let mut packet = vec![tag; length];
        packet[0] = 0x60;
        packet[24..40].copy_from_slice(&to.octets());
        packet
    }

    #[test]
    fn packets_leave_in_the_order_they_came_and_only_the_first_asks_for_a_tunnel() {
        let now = Instant::now();
        let mut holding = Holding::new(LIMITS);
        assert_eq!(holding.hold(packet(A, 50, 1), now), Held::First(A));
        assert_eq!(holding.hold(packet(A, 50, 2), now), Held::Behind(A));
        assert_eq!(holding.hold(packet(B, 50, 3), now), Held::First(B));
        assert_eq!(holding.bytes(), 150);
        assert_eq!(holding.release(A, now), vec![packet(A, 50, 1), packet(A, 50, 2)]);
        assert_eq!(holding.release(A, now), Vec::<Vec<u8>>::new());
        assert_eq!(holding.bytes(), 50);
        assert_eq!(holding.hold(packet(A, 50, 4), now), Held::First(A), "a released peer asks again");
    }

    #[test]
    fn a_full_peer_loses_its_oldest_packet_and_no_one_elses() {
        let now = Instant::now();
        let mut holding = Holding::new(LIMITS);
        holding.hold(packet(B, 50, 0), now);
        for tag in 1..=4 {
            holding.hold(packet(A, 50, tag), now);
        }
        assert_eq!(holding.dropped(), Dropped { full: 1, ..Dropped::default() });
        assert_eq!(holding.release(A, now).iter().map(|p| p[1]).collect::<Vec<_>>(), [2, 3, 4]);
        assert_eq!(holding.release(B, now).len(), 1);
    }

    #[test]
    fn octets_are_bounded_per_peer_and_in_all() {
        let now = Instant::now();
        let mut holding = Holding::new(LIMITS);
        assert_eq!(holding.hold(packet(A, 301, 1), now), Held::Dropped);
        holding.hold(packet(A, 200, 1), now);
        holding.hold(packet(A, 200, 2), now);
        assert_eq!(holding.bytes(), 200, "the peer's own limit");
        holding.hold(packet(B, 300, 3), now + Duration::from_millis(1));
        assert_eq!(holding.bytes(), 300, "the limit of all pushes out the oldest of all");
        assert_eq!(holding.peers().collect::<Vec<_>>(), [B]);
        assert_eq!(holding.dropped().full, 3);
    }

    #[test]
    fn what_waits_too_long_is_dropped_and_counted() {
        let start = Instant::now();
        let mut holding = Holding::new(LIMITS);
        holding.hold(packet(A, 50, 1), start);
        holding.hold(packet(A, 50, 2), start + Duration::from_secs(2));
        assert_eq!(holding.poll_timeout().map(|(at, _)| at), Some(start + LIMITS.age));
        holding.handle_timeout(start + LIMITS.age);
        assert_eq!(holding.poll_timeout().map(|(at, _)| at), Some(start + LIMITS.age + Duration::from_secs(2)));
        assert_eq!(holding.release(A, start + Duration::from_secs(60)), Vec::<Vec<u8>>::new());
        assert_eq!(holding.dropped(), Dropped { aged: 2, ..Dropped::default() });
        assert_eq!((holding.bytes(), holding.poll_timeout()), (0, None));
    }

    #[test]
    fn a_refused_peer_leaves_nothing_behind() {
        let now = Instant::now();
        let mut holding = Holding::new(LIMITS);
        holding.hold(packet(A, 50, 1), now);
        assert_eq!(holding.refuse(A), 1);
        assert_eq!((holding.bytes(), holding.dropped().refused), (0, 1));
    }

    #[test]
    fn what_is_not_ipv6_is_not_held() {
        let now = Instant::now();
        let mut holding = Holding::new(LIMITS);
        for bad in [vec![], vec![0x60; 39], vec![0x45; 60]] {
            assert_eq!(holding.hold(bad, now), Held::Dropped);
        }
        assert_eq!((holding.bytes(), holding.dropped().malformed), (0, 3));
    }

    proptest::proptest! {
        #[test]
        fn no_sequence_of_packets_exceeds_a_limit(lengths in proptest::collection::vec((40usize..400, 0u8..4, 0u64..3000), 0..60)) {
            let mut now = Instant::now();
            let mut holding = Holding::new(LIMITS);
            for (length, peer, wait) in lengths {
                now += Duration::from_millis(wait);
                holding.hold(packet(Ipv6Addr::from(u128::from(peer)), length, peer), now);
                let held: usize = holding.peers.values().flatten().map(|waiting| waiting.packet.len()).sum();
                proptest::prop_assert_eq!(held, holding.bytes());
                proptest::prop_assert!(held <= LIMITS.total_bytes);
                proptest::prop_assert!(holding.peers.values().all(|queue| !queue.is_empty() && queue.len() <= LIMITS.peer_packets));
            }
        }
    }
}
