//! What an established IKE SA does of its own accord, and what its owner may ask of it: signs of life, new keys in time, doubts about the path.

use std::net::SocketAddr;
use std::time::Duration;

use super::cause::{Cause, Reason};
use super::channel::{Elsewhere, Retry};
use super::config::IkeConfig;
use super::established::{After, Established, Intent, Pending, child, child_mut};
use super::port::Command;
use super::timer::{Earliest, Timer};
use super::turn::Turn;

/// A sign of life younger than this needs no confirmation.
const FRESH: Duration = Duration::from_secs(5);

impl Established {
    /// When something is due.
    pub fn earliest(&self, config: &IkeConfig) -> Earliest {
        let serves = self.successor_of.is_none();
        let idle = serves && self.channel.idle();
        let free = idle && self.replaced_by.is_none();
        let child_rekey = self.active.and_then(|spi| child(&self.children, spi)).map(|child| child.rekey_at);
        self.channel
            .earliest()
            .maybe(self.close_at, Timer::Settle)
            .maybe(idle.then(|| self.heard + config.liveness), Timer::Liveness)
            .maybe((serves && self.channel.nat.local).then_some(self.keepalive_at), Timer::Keepalive)
            .maybe(free.then_some(self.rekey_at), Timer::IkeRekey)
            .maybe(child_rekey.filter(|_| free && self.carrier), Timer::ChildRekey)
    }

    /// Does what is due.
    pub fn tick(mut self: Box<Self>, t: &mut Turn<'_>) -> After {
        if self.channel.retry(t) == Retry::GivenUp {
            let why = Cause::new(Reason::PeerSilent, format!("{} at {} stopped answering", self.peer.name, self.channel.path.remote));
            return self.drop_quietly(why, t);
        }
        if self.channel.idle() && self.successor_of.is_none() {
            if self.heard + t.config.liveness <= t.now {
                self.heard = t.now;
                self.intend(Intent::Probe { asked: false, elsewhere: Elsewhere::default() });
            }
            if self.replaced_by.is_none() {
                self.renew_in_time(t);
            }
        }
        if self.channel.nat.local && self.keepalive_at <= t.now {
            self.keepalive_at = t.now + t.config.keepalive;
            let path = self.channel.path;
            t.commands.push_back(Command::Keepalive { local: path.source(), remote: path.remote });
        }
        After::Stays(self)
    }

    fn renew_in_time(&mut self, t: &mut Turn<'_>) {
        let carrier = self.carrier;
        if let Some(child) =
            self.active.and_then(|spi| child_mut(&mut self.children, spi)).filter(|child| carrier && child.rekey_at <= t.now)
        {
            child.rekey_at = t.now + t.config.child_lifetime;
            let spi = child.spi_in();
            self.intend(Intent::RekeyChild(spi));
        }
        if self.rekey_at <= t.now {
            self.rekey_at = t.now + t.config.ike_lifetime;
            self.intend(Intent::RekeyIke);
        }
    }

    /// Tries the renewal of the IKE SA again after a while.
    pub fn rekey_ike_later(&mut self, t: &mut Turn<'_>) {
        let settle = t.config.settle;
        self.rekey_at = t.now + settle + t.jittered(settle);
    }

    /// The kernel saw the peer's packets.
    pub fn traffic_seen(&mut self, t: &Turn<'_>) {
        self.heard = t.now;
    }

    /// Somebody waits for a sign of life.
    pub fn probe(&mut self) {
        match &mut self.pending {
            Some(Pending::Probe { asked }) => *asked = true,
            _ => self.intend(Intent::Probe { asked: true, elsewhere: Elsewhere::default() }),
        }
    }

    /// Somebody is about to use the tunnel: if nothing was heard for a while, ask.
    pub fn make_sure(&mut self, t: &mut Turn<'_>) {
        if t.now.saturating_duration_since(self.heard) <= FRESH {
            return;
        }
        if self.channel.idle() {
            self.intend(Intent::Probe { asked: false, elsewhere: Elsewhere::default() });
        } else {
            self.channel.press(t);
        }
    }

    /// The path may be another than the one known.
    fn path_in_doubt(&mut self, elsewhere: Elsewhere, t: &mut Turn<'_>) {
        if self.channel.idle() {
            self.intend(Intent::Probe { asked: false, elsewhere });
        } else {
            self.channel.hasten(elsewhere, t);
        }
    }

    /// The kernel saw the peer's packets come from another place.
    pub fn peer_seen_at(&mut self, place: SocketAddr, t: &mut Turn<'_>) {
        if self.channel.path.remote != place {
            self.path_in_doubt(Elsewhere::hint(place), t);
        }
    }

    /// Our own addresses changed: we, or the peer in its home network, may be out of reach where we were.
    pub fn network_changed(&mut self, t: &mut Turn<'_>) {
        self.channel.path.pinned = false;
        self.path_in_doubt(Elsewhere::everywhere(), t);
    }

    /// Something unproven hints that the peer does not know this SA any more: make sure, soon.
    pub fn doubt(&mut self, t: &mut Turn<'_>) {
        if self.channel.idle() {
            self.intend(Intent::Probe { asked: false, elsewhere: Elsewhere::default() });
            self.pump(t);
        }
        self.channel.doubt(2, t);
    }

    /// The kernel lost this child's inbound state.
    pub fn child_expired(mut self: Box<Self>, spi: u32, t: &mut Turn<'_>) -> After {
        let Some(at) = self.children.iter().position(|child| child.spi_in() == spi) else { return After::Stays(self) };
        let gone = self.children.remove(at);
        self.children.iter_mut().filter(|child| child.replaced_by == Some(spi)).for_each(|child| child.replaced_by = None);
        if self.active == Some(spi) {
            self.active = None;
            if let Some(heir) = gone.replaced_by {
                self.activate(heir, t);
            }
        }
        gone.remove(t);
        // The peer still has its half.
        self.intend(Intent::DeleteChild(spi));
        let renewing = matches!(self.pending, Some(Pending::RekeyChild(_)));
        if self.active.is_none() && !renewing {
            let why = Cause::new(Reason::Expired, format!("the keys to {} expired before they could be renewed", self.peer.name));
            return self.close(why, t);
        }
        After::Stays(self)
    }
}
