//! One peer: its tunnel from wanted to idle.

use std::collections::VecDeque;
use std::net::{Ipv6Addr, SocketAddr};
use std::time::{Duration, Instant};

use super::command::{Cause, Command};
use super::{Member, Settings};
use crate::account::name::MachineName;

/// Where a peer's tunnel stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Tunnel {
    /// None.
    Down,
    /// Wanted, and the rendezvous has been asked where the peer is.
    Finding {
        /// Since when.
        since: Instant,
        /// When the rendezvous was asked last.
        asked: Instant,
    },
    /// IKE is under way.
    Connecting {
        /// Since when.
        since: Instant,
        /// Addresses tried.
        tried: Vec<SocketAddr>,
        /// When the rendezvous was asked last whether the peer has moved.
        asked: Option<Instant>,
    },
    /// States are in the kernel. Where they lead, IKE knows.
    Up {
        /// Since when.
        since: Instant,
        /// Packets carried when last measured.
        packets: u64,
        /// When that last changed.
        active: Instant,
        /// When it was last measured.
        measured: Instant,
    },
    /// We said goodbye; IKE has not confirmed yet.
    Closing {
        /// Since when.
        since: Instant,
        /// Somebody wants it again.
        again: bool,
    },
}

/// A machine of the account and its tunnel.
#[derive(Debug)]
pub struct Peer {
    member: Member,
    number: u32,
    candidates: Vec<SocketAddr>,
    tunnel: Tunnel,
    last_failure: Option<Cause>,
}

type Out = VecDeque<Command>;

impl Peer {
    pub(super) fn new(member: Member, number: u32) -> Self {
        Self { member, number, candidates: Vec::new(), tunnel: Tunnel::Down, last_failure: None }
    }

    /// Name in the zone.
    pub fn name(&self) -> &MachineName {
        &self.member.name
    }

    /// Inner address.
    pub fn inner(&self) -> Ipv6Addr {
        self.member.inner
    }

    /// Number: the kernel's reqid.
    pub fn number(&self) -> u32 {
        self.number
    }

    /// Where the rendezvous says it is, best first. Empty: not online.
    pub fn candidates(&self) -> &[SocketAddr] {
        &self.candidates
    }

    /// Where its tunnel stands.
    pub fn tunnel(&self) -> &Tunnel {
        &self.tunnel
    }

    /// Why the last attempt failed, until one succeeds.
    pub fn last_failure(&self) -> Option<&Cause> {
        self.last_failure.as_ref()
    }

    pub(super) fn want(&mut self, now: Instant, out: &mut Out) {
        match &mut self.tunnel {
            Tunnel::Down => self.begin(now, out),
            Tunnel::Closing { again, .. } => *again = true,
            Tunnel::Finding { .. } | Tunnel::Connecting { .. } => {}
            Tunnel::Up { .. } => {
                self.announce(out);
                out.push_back(Command::Confirm { peer: self.member.name.clone() });
            }
        }
    }

    pub(super) fn advertised(&mut self, candidates: Vec<SocketAddr>, now: Instant, out: &mut Out) {
        let moved = self.candidates != candidates;
        self.candidates = candidates;
        match &self.tunnel {
            Tunnel::Finding { .. } if !self.candidates.is_empty() => self.begin(now, out),
            Tunnel::Connecting { since, asked: asked @ Some(_), .. } if moved && !self.candidates.is_empty() => {
                let (since, asked) = (*since, *asked);
                self.connect(since, asked, out);
            }
            Tunnel::Up { .. } if moved => self.tell_places(out),
            _ => {}
        }
    }

    pub(super) fn up(&mut self, now: Instant, out: &mut Out) {
        self.last_failure = None;
        let (since, packets, active) = match self.tunnel {
            Tunnel::Up { since, packets, active, .. } => (since, packets, active),
            _ => (now, 0, now),
        };
        self.tunnel = Tunnel::Up { since, packets, active, measured: now };
        out.push_back(Command::Ready { inner: self.inner(), ready: true });
        self.announce(out);
        self.tell_places(out);
    }

    pub(super) fn down(&mut self, cause: Cause, now: Instant, out: &mut Out) {
        let again = matches!(self.tunnel, Tunnel::Closing { again: true, .. });
        if matches!(self.tunnel, Tunnel::Up { .. }) {
            out.push_back(Command::Ready { inner: self.inner(), ready: false });
        }
        if matches!(self.tunnel, Tunnel::Up { .. } | Tunnel::Closing { .. }) {
            self.tunnel = Tunnel::Down;
        }
        if again {
            self.begin(now, out);
        } else if !matches!(cause, Cause::Idle | Cause::SwitchedOff) {
            self.last_failure = Some(cause);
        }
    }

    pub(super) fn failed(&mut self, cause: Cause, now: Instant, out: &mut Out) {
        match &self.tunnel {
            Tunnel::Connecting { tried, since, .. } if *tried != self.candidates && !self.candidates.is_empty() => {
                let since = *since;
                self.connect(since, Some(now), out);
            }
            Tunnel::Connecting { .. } => self.give_up(cause, out),
            Tunnel::Closing { again: true, .. } => self.begin(now, out),
            Tunnel::Closing { again: false, .. } => self.tunnel = Tunnel::Down,
            Tunnel::Down | Tunnel::Finding { .. } | Tunnel::Up { .. } => {}
        }
    }

    pub(super) fn used(&mut self, total: u64, now: Instant, settings: &Settings, out: &mut Out) {
        let Tunnel::Up { packets, active, measured, .. } = &mut self.tunnel else { return };
        *measured = now;
        let carried = total > *packets;
        // A rekey begins to count from nothing again: that alone is no use of the tunnel.
        *packets = total;
        if carried {
            *active = now;
        } else if now.duration_since(*active) >= settings.idle {
            self.close(Cause::Idle, now, out);
        }
    }

    pub(super) fn close(&mut self, cause: Cause, now: Instant, out: &mut Out) {
        match self.tunnel {
            Tunnel::Down => return,
            Tunnel::Finding { .. } => {
                self.tunnel = Tunnel::Down;
                return self.refuse(cause, out);
            }
            Tunnel::Connecting { .. } => self.refuse(cause, out),
            Tunnel::Up { .. } => out.push_back(Command::Ready { inner: self.inner(), ready: false }),
            Tunnel::Closing { .. } => {}
        }
        if !matches!(self.tunnel, Tunnel::Closing { .. }) {
            out.push_back(Command::Close { peer: self.member.name.clone() });
        }
        self.tunnel = Tunnel::Closing { since: now, again: false };
    }

    pub(super) fn removed(&mut self, now: Instant, out: &mut Out) {
        self.close(Cause::Removed, now, out);
        out.push_back(Command::RemovePeer { peer: self.member.name.clone(), inner: self.inner() });
    }

    /// Tells whoever waits that there will be no tunnel.
    pub(super) fn refuse(&self, cause: Cause, out: &mut Out) {
        out.push_back(Command::NameFailed { peer: self.member.name.clone(), cause: cause.clone() });
        out.push_back(Command::DiscardHeld { inner: self.inner(), cause });
    }

    pub(super) fn timeout(&mut self, now: Instant, settings: &Settings, out: &mut Out) {
        match &mut self.tunnel {
            Tunnel::Finding { since, .. } if now >= *since + settings.find => self.give_up(Cause::NotAdvertised, out),
            Tunnel::Connecting { since, tried, .. } if now >= *since + settings.connect => {
                let cause = Cause::NoAnswer(std::mem::take(tried));
                out.push_back(Command::Close { peer: self.member.name.clone() });
                self.give_up(cause, out);
            }
            Tunnel::Finding { asked, .. } if now >= *asked + settings.doubt => {
                *asked = now;
                out.push_back(Command::RefreshDirectory);
            }
            Tunnel::Connecting { since, asked, .. } if now >= asked.unwrap_or(*since) + settings.doubt => {
                *asked = Some(now);
                out.push_back(Command::RefreshDirectory);
            }
            Tunnel::Closing { since, again } if now >= *since + settings.close => {
                let again = *again;
                self.tunnel = Tunnel::Down;
                if again {
                    self.begin(now, out);
                }
            }
            Tunnel::Up { measured, .. } if now >= *measured + measure_every(settings) => {
                *measured = now;
                out.push_back(Command::MeasureUsage { peer: self.member.name.clone() });
            }
            _ => {}
        }
    }

    pub(super) fn poll_timeout(&self, settings: &Settings) -> Option<(Instant, &'static str)> {
        match &self.tunnel {
            Tunnel::Finding { since, asked } => Some(
                (*since + settings.find, "the rendezvous does not say where the peer is")
                    .min((*asked + settings.doubt, "does the rendezvous say now where the peer is?")),
            ),
            Tunnel::Connecting { since, asked, .. } => Some(
                (*since + settings.connect, "the peer does not answer")
                    .min((asked.unwrap_or(*since) + settings.doubt, "has the peer moved?")),
            ),
            Tunnel::Up { measured, .. } => Some((*measured + measure_every(settings), "is the tunnel idle?")),
            Tunnel::Closing { since, .. } => Some((*since + settings.close, "the goodbye was not confirmed")),
            Tunnel::Down => None,
        }
    }

    fn begin(&mut self, now: Instant, out: &mut Out) {
        if self.candidates.is_empty() {
            self.tunnel = Tunnel::Finding { since: now, asked: now };
            out.push_back(Command::RefreshDirectory);
        } else {
            self.connect(now, None, out);
        }
    }

    fn connect(&mut self, since: Instant, asked: Option<Instant>, out: &mut Out) {
        self.tunnel = Tunnel::Connecting { since, tried: self.candidates.clone(), asked };
        out.push_back(Command::Initiate { peer: self.member.name.clone(), inner: self.inner(), candidates: self.candidates.clone() });
    }

    fn give_up(&mut self, cause: Cause, out: &mut Out) {
        self.tunnel = Tunnel::Down;
        self.last_failure = Some(cause.clone());
        self.refuse(cause, out);
    }

    fn tell_places(&self, out: &mut Out) {
        out.push_back(Command::Places { peer: self.member.name.clone() });
    }

    fn announce(&self, out: &mut Out) {
        out.push_back(Command::ReleaseHeld { inner: self.inner() });
        out.push_back(Command::NameUp { peer: self.member.name.clone() });
    }
}

/// Ten measurements in an idle time: the tear-down is late by a tenth at most.
fn measure_every(settings: &Settings) -> Duration {
    (settings.idle / 10).clamp(Duration::from_millis(200), Duration::from_secs(30))
}
