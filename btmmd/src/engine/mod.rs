//! Pure composition of the upper half: which tunnels are wanted, and what is to be done about it.
//!
//! ```text
//!            Want                 candidates known
//!   Down ───────────▶ Finding ───────────────────────▶ Connecting ──── Ike up ───▶ Up
//!    ▲                   │ nobody told us where            │  ▲                     │ idle, off, peer left
//!    └───────────────────┴────────── failed, cause ────────┘  └── wanted again ── Closing
//! ```
//!
//! A peer that comes to us goes from any state straight to *Up*. The engine owns one [`Peer`] per machine of the roster and
//! hands on what a peer decides; it knows no socket, no clock and no kernel.

mod command;
mod peer;
mod reach;
mod reachable;

use std::collections::{BTreeMap, VecDeque};
use std::net::Ipv6Addr;
use std::time::{Duration, Instant};

pub use command::{Cause, Command, Input};
pub use peer::{Peer, Tunnel};
pub use reach::{Own, order};
pub use reachable::candidates;

use crate::account::name::MachineName;

/// How long the engine waits for what.
#[derive(Clone, Copy, Debug)]
pub struct Settings {
    /// A tunnel without a packet for this long is torn down.
    pub idle: Duration,
    /// The rendezvous may take this long to say where a peer is.
    pub find: Duration,
    /// A tunnel must be up this long after it was begun.
    pub connect: Duration,
    /// With no answer for this long, the rendezvous is asked where the peer is now, and again each time as much later.
    pub doubt: Duration,
    /// A goodbye that is not confirmed by then is taken as confirmed.
    pub close: Duration,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            idle: Duration::from_secs(600),
            find: Duration::from_secs(3),
            connect: Duration::from_secs(15),
            doubt: Duration::from_secs(1),
            close: Duration::from_secs(5),
        }
    }
}

/// A machine of the roster, other than ourselves.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Member {
    /// Its name in the zone.
    pub name: MachineName,
    /// Its inner address.
    pub inner: Ipv6Addr,
}

/// Every peer of this machine and whether tunnels are allowed at all.
pub struct Engine {
    settings: Settings,
    on: bool,
    peers: BTreeMap<MachineName, Peer>,
    next_number: u32,
    commands: VecDeque<Command>,
}

impl Engine {
    /// An engine with no peers. `on` is the switch as it was left.
    pub fn new(settings: Settings, on: bool) -> Self {
        Self { settings, on, peers: BTreeMap::new(), next_number: 1, commands: VecDeque::new() }
    }

    /// Takes one input. What follows from it is read with [`Engine::poll_command`].
    pub fn handle(&mut self, input: Input, now: Instant) {
        match input {
            Input::Roster(members) => self.set_roster(members, now),
            Input::Switch(on) => self.set_switch(on, now),
            Input::Want { peer } => self.want(&peer, now),
            Input::Introduced(member) => self.add(member),
            Input::Packet { destination } => self.want_address(destination, now),
            Input::Advertised { peer, candidates } => self.with(&peer, |p, _, out| p.advertised(candidates, now, out)),
            Input::TunnelUp { peer } => self.with(&peer, |p, _, out| p.up(now, out)),
            Input::TunnelDown { peer, cause } => self.with(&peer, |p, _, out| p.down(cause, now, out)),
            Input::TunnelFailed { peer, cause } => self.with(&peer, |p, _, out| p.failed(cause, now, out)),
            Input::Usage { peer, packets } => self.with(&peer, |p, s, out| p.used(packets, now, s, out)),
            Input::Timeout => self.timeout(now),
        }
    }

    /// The next thing to do, in order.
    pub fn poll_command(&mut self) -> Option<Command> {
        self.commands.pop_front()
    }

    /// When to give [`Input::Timeout`] next, and what for.
    pub fn poll_timeout(&self) -> Option<(Instant, &'static str)> {
        self.peers.values().filter_map(|peer| peer.poll_timeout(&self.settings)).min_by_key(|(at, _)| *at)
    }

    /// Whether tunnels are allowed.
    pub fn is_on(&self) -> bool {
        self.on
    }

    /// Every peer, by name.
    pub fn peers(&self) -> impl Iterator<Item = &Peer> {
        self.peers.values()
    }

    /// The peer called `name`.
    pub fn peer(&self, name: &MachineName) -> Option<&Peer> {
        self.peers.get(name)
    }

    /// The peer whose inner address is `inner`.
    pub fn peer_at(&self, inner: Ipv6Addr) -> Option<&Peer> {
        self.peers.values().find(|peer| peer.inner() == inner)
    }

    fn with(&mut self, name: &MachineName, act: impl FnOnce(&mut Peer, &Settings, &mut VecDeque<Command>)) {
        if let Some(peer) = self.peers.get_mut(name) {
            act(peer, &self.settings, &mut self.commands);
        }
    }

    fn set_roster(&mut self, members: Vec<Member>, now: Instant) {
        let gone: Vec<MachineName> = self
            .peers
            .values()
            .filter(|peer| !members.iter().any(|m| m.name == *peer.name() && m.inner == peer.inner()))
            .map(|peer| peer.name().clone())
            .collect();
        for name in gone {
            if let Some(mut peer) = self.peers.remove(&name) {
                peer.removed(now, &mut self.commands);
            }
        }
        for member in members {
            self.add(member);
        }
    }

    fn add(&mut self, member: Member) {
        if !self.peers.contains_key(&member.name) {
            let number = self.next_number;
            self.next_number += 1;
            self.commands.push_back(Command::AddPeer { peer: member.name.clone(), inner: member.inner, number });
            self.peers.insert(member.name.clone(), Peer::new(member, number));
        }
    }

    fn set_switch(&mut self, on: bool, now: Instant) {
        self.on = on;
        if !on {
            for peer in self.peers.values_mut() {
                peer.close(Cause::SwitchedOff, now, &mut self.commands);
            }
        }
    }

    fn want(&mut self, name: &MachineName, now: Instant) {
        if !self.peers.contains_key(name) {
            self.commands.push_back(Command::NameFailed { peer: name.clone(), cause: Cause::NoSuchMachine });
        } else if !self.on {
            self.with(name, |peer, _, out| peer.refuse(Cause::SwitchedOff, out));
        } else {
            self.with(name, |peer, _, out| peer.want(now, out));
        }
    }

    fn want_address(&mut self, destination: Ipv6Addr, now: Instant) {
        match self.peer_at(destination).map(|peer| peer.name().clone()) {
            Some(name) => self.want(&name, now),
            None => self.commands.push_back(Command::DiscardHeld { inner: destination, cause: Cause::NoSuchMachine }),
        }
    }

    fn timeout(&mut self, now: Instant) {
        let Self { peers, settings, commands, .. } = self;
        for peer in peers.values_mut() {
            peer.timeout(now, settings, commands);
        }
    }
}

#[cfg(test)]
mod tests;
