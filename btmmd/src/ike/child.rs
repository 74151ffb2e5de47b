//! A pair of ESP states, and what of it is in the kernel.
//!
//! A key is handed out once: a state that was removed is never installed again, since its counters are gone and a nonce would repeat.

use std::net::{Ipv6Addr, SocketAddr};
use std::time::Instant;

use super::port::{ChildSa, Command, SaRef};
use super::turn::{Lingering, Turn};
use crate::esp::{Direction, EspKey};

/// Whose states these are and where they go.
#[derive(Clone, Debug)]
pub(super) struct Ends {
    pub peer: String,
    pub inner_local: Ipv6Addr,
    pub inner_remote: Ipv6Addr,
    pub local: SocketAddr,
    pub remote: SocketAddr,
}

/// One direction of a child.
#[derive(Debug)]
struct Half {
    direction: Direction,
    spi: u32,
    /// Until it is installed.
    key: Option<EspKey>,
    /// While it is installed.
    installed: Option<SaRef>,
}

impl Half {
    fn install(&mut self, ends: &Ends, t: &mut Turn<'_>) {
        let Some(key) = self.key.take() else { return };
        let sa = ChildSa {
            peer: ends.peer.clone(),
            direction: self.direction,
            spi: self.spi,
            local: ends.local,
            remote: ends.remote,
            inner_local: ends.inner_local,
            inner_remote: ends.inner_remote,
            key,
            soft_lifetime: t.config.child_lifetime,
            hard_lifetime: t.config.child_hard_lifetime,
        };
        self.installed = Some(sa.sa_ref());
        t.commands.push_back(Command::InstallSa(sa));
    }

    fn remove(&mut self, t: &mut Turn<'_>) {
        self.key = None;
        if let Some(sa) = self.installed.take() {
            t.commands.push_back(Command::RemoveSa(sa));
        }
    }

    fn follow(&mut self, ends: &Ends, t: &mut Turn<'_>) {
        let Some(sa) = &mut self.installed else { return };
        if (sa.local, sa.remote) == (ends.local, ends.remote) {
            return;
        }
        // The kernel finds an inbound state by our address: it goes on understanding a peer that has moved.
        if self.direction == Direction::In && sa.local == ends.local && sa.remote.ip() != ends.remote.ip() {
            return;
        }
        let before = *sa;
        (sa.local, sa.remote) = (ends.local, ends.remote);
        t.commands.push_back(Command::MoveSa { sa: before, local: ends.local, remote: ends.remote });
    }
}

/// A pair of ESP states.
#[derive(Debug)]
pub(super) struct Child {
    inbound: Half,
    outbound: Half,
    /// The lesser of the two nonces it was made with (RFC 7296 §2.8.1).
    pub floor: Vec<u8>,
    /// When it was made.
    pub made: Instant,
    /// When we renew it, unless the peer does.
    pub rekey_at: Instant,
    /// We said, or are about to say, DELETE.
    pub deleting: bool,
    /// The inbound SPI of the child that the peer made to replace this one; takes over when the peer deletes this one.
    pub replaced_by: Option<u32>,
}

impl Child {
    /// Nothing is installed yet.
    pub fn new(inbound: (u32, EspKey), outbound: (u32, EspKey), floor: Vec<u8>, t: &mut Turn<'_>) -> Self {
        let lifetime = t.config.child_lifetime;
        let rekey_at = t.now + t.jittered(lifetime);
        Self {
            inbound: Half { direction: Direction::In, spi: inbound.0, key: Some(inbound.1), installed: None },
            outbound: Half { direction: Direction::Out, spi: outbound.0, key: Some(outbound.1), installed: None },
            floor,
            made: t.now,
            rekey_at,
            deleting: false,
            replaced_by: None,
        }
    }

    /// SPI of our inbound state.
    pub fn spi_in(&self) -> u32 {
        self.inbound.spi
    }

    /// SPI of our outbound state, the peer's inbound.
    pub fn spi_out(&self) -> u32 {
        self.outbound.spi
    }

    /// Whether packets can be sent with it.
    pub fn carries(&self) -> bool {
        self.outbound.installed.is_some()
    }

    /// From now on packets of the peer are understood.
    pub fn install_in(&mut self, ends: &Ends, t: &mut Turn<'_>) {
        self.inbound.install(ends, t);
    }

    /// From now on packets are sent with it. The caller removes the outbound state it replaces next.
    pub fn install_out(&mut self, ends: &Ends, t: &mut Turn<'_>) {
        self.outbound.install(ends, t);
    }

    /// No packet is sent with it any more, for good.
    pub fn remove_out(&mut self, t: &mut Turn<'_>) {
        self.outbound.remove(t);
    }

    /// Both states go, the inbound one after a while, for packets still on the way.
    pub fn retire(mut self, peer: &str, t: &mut Turn<'_>) {
        self.outbound.remove(t);
        if let Some(sa) = self.inbound.installed.take() {
            let until = t.now + t.config.linger;
            t.lingering.push(Lingering { until, peer: peer.to_owned(), sa });
        }
    }

    /// Both states go at once.
    pub fn remove(mut self, t: &mut Turn<'_>) {
        self.outbound.remove(t);
        self.inbound.remove(t);
    }

    /// The path changed.
    pub fn follow(&mut self, ends: &Ends, t: &mut Turn<'_>) {
        self.inbound.follow(ends, t);
        self.outbound.follow(ends, t);
    }
}
