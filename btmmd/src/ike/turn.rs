//! What every part of the machine works with during one input.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::ops::{Deref, DerefMut};
use std::time::{Duration, Instant};

use super::cause::Cause;
use super::closing::Closing;
use super::config::IkeConfig;
use super::established::Established;
use super::port::{Command, Credentials, SaRef};
use crate::entropy::Entropy;

/// Shared by all SAs: policy, identity, randomness, and the queues out.
pub(super) struct Core {
    pub config: IkeConfig,
    pub credentials: Box<dyn Credentials>,
    pub entropy: Box<dyn Entropy>,
    pub commands: VecDeque<Command>,
    pub effects: VecDeque<Effect>,
    /// Our own outer addresses, for NAT detection.
    pub addresses: Vec<SocketAddr>,
    /// Retired inbound states and when they go.
    pub lingering: Vec<Lingering>,
    sequence: u64,
}

/// An inbound state that only waits for packets still on the way.
#[derive(Clone, Debug)]
pub(super) struct Lingering {
    pub until: Instant,
    pub peer: String,
    pub sa: SaRef,
}

/// What one SA asks of the table that holds all of them; run after the SA is back in its place.
#[derive(Debug)]
pub(super) enum Effect {
    /// A successor, made by a rekey of the IKE SA.
    Add(Box<Established>),
    /// An IKE SA to say good-bye on, that never did anything else.
    Close(Box<Closing>),
    /// Children and duties of an IKE SA go to its successor; the old one is deleted by us or by the peer.
    Handover { from: u64, to: u64, say_delete: bool },
    /// A peer would not be let in today: every peer is judged again.
    Judge,
    /// An established SA is no more, its states are removed.
    Lost { spi: u64, peer: String, why: Cause },
    /// An IKE_SA_INIT was answered: the other legs to this peer pause.
    Answered { peer: String, spi: u64 },
    /// Something to mention should the attempt to reach this peer fail.
    Noted { peer: String, why: Cause },
    /// An attempt to reach the peer at this candidate came to nothing.
    LegFailed { peer: String, candidate: SocketAddr, why: Cause },
}

impl Core {
    pub fn new(config: IkeConfig, credentials: Box<dyn Credentials>, entropy: Box<dyn Entropy>) -> Self {
        Self {
            config,
            credentials,
            entropy,
            commands: VecDeque::new(),
            effects: VecDeque::new(),
            addresses: Vec::new(),
            lingering: Vec::new(),
            sequence: 0,
        }
    }

    /// A number that grows with every call: tells which of two events came first.
    pub fn next_sequence(&mut self) -> u64 {
        self.sequence += 1;
        self.sequence
    }

    /// A fresh nonce: as long as the PRF's key, twice what RFC 7296 §2.10 demands.
    pub fn nonce(&mut self) -> Vec<u8> {
        let mut nonce = vec![0; 32];
        self.entropy.fill(&mut nonce);
        nonce
    }

    fn random(&mut self) -> u64 {
        let mut bytes = [0; 8];
        self.entropy.fill(&mut bytes);
        u64::from_be_bytes(bytes)
    }

    /// An SPI for an IKE SA; never zero.
    pub fn ike_spi(&mut self) -> u64 {
        self.random().max(1)
    }

    /// An SPI for an inbound ESP state. Above 0x1000_0000, so that it can be mistaken neither for STUN nor for the non-ESP marker.
    pub fn esp_spi(&mut self) -> u32 {
        const FLOOR: u64 = 0x1000_0000;
        let spi = FLOOR + self.random() % ((1 << 32) - FLOOR);
        u32::try_from(spi).expect("below 2^32 by the remainder")
    }

    /// `time` less a random part of it, so that two machines started together do not act together for ever.
    pub fn jittered(&mut self, time: Duration) -> Duration {
        let percent = u64::from(self.config.jitter_percent.min(90));
        let span = u64::try_from(time.as_millis()).unwrap_or(u64::MAX).saturating_mul(percent) / 100;
        if span == 0 { time } else { time - Duration::from_millis(self.random() % span) }
    }
}

/// The core, now.
pub(super) struct Turn<'a> {
    pub core: &'a mut Core,
    pub now: Instant,
}

impl Deref for Turn<'_> {
    type Target = Core;

    fn deref(&self) -> &Core {
        self.core
    }
}

impl DerefMut for Turn<'_> {
    fn deref_mut(&mut self) -> &mut Core {
        self.core
    }
}
