//! The kernel as a set of ESP states, with the promises of the IKE machine as assertions.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::time::Instant;

use btmmd::esp::Direction;
use btmmd::ike::{ChildSa, SaRef};

/// A data packet on its way.
#[derive(Clone, Debug)]
pub struct Packet {
    /// When it arrives.
    pub arrives: Instant,
    /// Where.
    pub to: SocketAddr,
    spi: u32,
    key: [u8; 36],
}

/// One machine's kernel.
#[derive(Default)]
pub struct Kernel {
    states: BTreeMap<(Direction, u32), ChildSa>,
    ever_installed: BTreeSet<(Direction, u32, [u8; 36])>,
    /// The last command left two outbound states: the next one must remove one.
    owes_removal: bool,
    /// Data packets sent.
    pub sent: u64,
    /// Data packets that could not be sent for want of an outbound state.
    pub unsendable: u64,
    /// Data packets understood.
    pub received: u64,
    /// Data packets nobody could decrypt.
    pub undecipherable: u64,
}

impl Kernel {
    /// Puts a state in.
    pub fn install(&mut self, sa: ChildSa) {
        assert!(!self.owes_removal, "an outbound state was not replaced at once");
        assert!(self.ever_installed.insert((sa.direction, sa.spi, *sa.key.0)), "the same key was installed twice: {sa:?}");
        assert!(sa.spi >= 0x1000_0000, "SPI {:#x} is reserved", sa.spi);
        let key = (sa.direction, sa.spi);
        assert!(self.states.insert(key, sa).is_none(), "state {key:x?} was installed already");
        self.owes_removal = match self.count().1 {
            0 | 1 => false,
            2 => true,
            more => panic!("{more} outbound states"),
        };
    }

    /// Takes a state out.
    pub fn remove(&mut self, sa: SaRef) {
        let state = self.states.remove(&(sa.direction, sa.spi)).unwrap_or_else(|| panic!("{sa:?} was not there"));
        assert_eq!(state.sa_ref(), sa, "removed by another name than installed or moved");
        self.owes_removal = self.count().1 > 1;
        assert!(!self.owes_removal, "an outbound state was not replaced at once");
    }

    /// Moves a state.
    pub fn relocate(&mut self, sa: SaRef, local: SocketAddr, remote: SocketAddr) {
        let state = self.states.get_mut(&(sa.direction, sa.spi)).unwrap_or_else(|| panic!("{sa:?} was not there"));
        assert_eq!(state.sa_ref(), sa, "moved by another name than installed or moved");
        (state.local, state.remote) = (local, remote);
    }

    /// Inbound and outbound states.
    pub fn count(&self) -> (usize, usize) {
        let inbound = self.states.keys().filter(|(direction, _)| *direction == Direction::In).count();
        (inbound, self.states.len() - inbound)
    }

    /// Whether anything was ever installed.
    pub fn ever_used(&self) -> bool {
        !self.ever_installed.is_empty()
    }

    /// The inbound states' SPIs.
    pub fn inbound(&self) -> Vec<u32> {
        self.states.keys().filter(|(direction, _)| *direction == Direction::In).map(|(_, spi)| *spi).collect()
    }

    /// Loses everything, as at power-off. Keys of a former life are never seen again, so they stay remembered.
    pub fn reset(&mut self) {
        self.states.clear();
        self.owes_removal = false;
    }

    /// Whether every outbound state here has its inbound half there, with the same key and the ends swapped.
    pub fn mirrors(&self, other: &Self) -> bool {
        let mut outbound = self.states.values().filter(|sa| sa.direction == Direction::Out).peekable();
        outbound.peek().is_some()
            && outbound.all(|ours| {
                other.states.get(&(Direction::In, ours.spi)).is_some_and(|theirs| {
                    theirs.key == ours.key
                        && (theirs.local, theirs.remote) == (ours.remote, ours.local)
                        && (theirs.inner_local, theirs.inner_remote) == (ours.inner_remote, ours.inner_local)
                })
            })
    }

    /// Sends a data packet over the outbound state.
    pub fn send(&mut self, arrives: Instant) -> Option<Packet> {
        let Some(sa) = self.states.values().find(|sa| sa.direction == Direction::Out) else {
            self.unsendable += 1;
            return None;
        };
        self.sent += 1;
        Some(Packet { arrives, to: sa.remote, spi: sa.spi, key: *sa.key.0 })
    }

    /// Receives a data packet.
    pub fn receive(&mut self, packet: &Packet) {
        match self.states.get(&(Direction::In, packet.spi)) {
            Some(sa) if *sa.key.0 == packet.key => self.received += 1,
            _ => self.undecipherable += 1,
        }
    }
}
