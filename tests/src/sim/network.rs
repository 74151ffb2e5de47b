//! A network in virtual time.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::net::SocketAddr;
use std::sync::LazyLock;
use std::time::{Duration, Instant};

use super::random::Random;

/// When all simulations begin.
pub static START: LazyLock<Instant> = LazyLock::new(Instant::now);

/// A datagram on its way.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Datagram {
    /// When it arrives.
    pub arrives: Instant,
    order: u64,
    /// Sender as the receiver sees it.
    pub from: SocketAddr,
    /// Receiver.
    pub to: SocketAddr,
    /// Content.
    pub bytes: Vec<u8>,
}

/// Loses, doubles, delays and reorders.
pub struct Network {
    /// Lost datagrams in a hundred.
    pub loss: u64,
    /// Doubled datagrams in a hundred.
    pub duplication: u64,
    /// One-way delay.
    pub latency: Duration,
    /// Up to this much more, at random: reordering.
    pub jitter: Duration,
    /// Datagrams sent so far.
    pub sent: u64,
    /// Datagrams lost so far.
    pub lost: u64,
    random: Random,
    under_way: BinaryHeap<Reverse<Datagram>>,
}

impl Network {
    /// A perfect one, with 20 ms delay.
    pub fn new(seed: u64) -> Self {
        Self {
            loss: 0,
            duplication: 0,
            latency: Duration::from_millis(20),
            jitter: Duration::ZERO,
            sent: 0,
            lost: 0,
            random: Random::new(seed),
            under_way: BinaryHeap::new(),
        }
    }

    /// From now on nothing is lost, doubled or reordered.
    pub fn heal(&mut self) {
        (self.loss, self.duplication, self.jitter) = (0, 0, Duration::ZERO);
    }

    /// The delay of the next packet.
    pub fn delay(&mut self) -> Duration {
        let jitter = u64::try_from(self.jitter.as_micros()).unwrap_or(u64::MAX);
        self.latency + Duration::from_micros(self.random.below(jitter + 1))
    }

    /// Takes a datagram.
    pub fn send(&mut self, now: Instant, from: SocketAddr, to: SocketAddr, bytes: &[u8]) {
        self.sent += 1;
        let copies = if self.random.chance(self.duplication) { 2 } else { 1 };
        for _ in 0..copies {
            if self.random.chance(self.loss) {
                self.lost += 1;
                continue;
            }
            let arrives = now + self.delay();
            let order = self.random.next() % 2 * u64::from(!self.jitter.is_zero()) + self.sent * 2;
            self.under_way.push(Reverse(Datagram { arrives, order, from, to, bytes: bytes.to_vec() }));
        }
    }

    /// When the next datagram arrives.
    pub fn next_arrival(&self) -> Option<Instant> {
        self.under_way.peek().map(|Reverse(datagram)| datagram.arrives)
    }

    /// A datagram that has arrived.
    pub fn arrived(&mut self, now: Instant) -> Option<Datagram> {
        if self.next_arrival()? > now {
            return None;
        }
        self.under_way.pop().map(|Reverse(datagram)| datagram)
    }
}
