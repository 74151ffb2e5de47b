//! An established IKE SA: its duties and its children. What it does of its own accord is in `upkeep`.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use super::auth::Peer;
use super::cause::{Cause, Reason};
use super::channel::{Channel, Elsewhere, Path, Received};
use super::child::{Child, Ends};
use super::closing::Closing;
use super::codec::number::protocol;
use super::codec::{Delete, Exchange, Message, Payload};
use super::half_open::syntax;
use super::parts::Parts;
use super::port::Command;
use super::rekey_child::RekeyingChild;
use super::rekey_ike::RekeyingIke;
use super::status::SaStatus;
use super::suite;
use super::turn::{Effect, Turn};

/// Where an IKE SA comes from; successors inherit it. Numbers count events on this machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Origin {
    /// We sent its IKE_SA_INIT.
    pub ours: bool,
    /// When that was sent, or first seen.
    pub started: u64,
    /// When the peer was authenticated.
    pub established: u64,
}

/// What is to be done next, one request at a time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Intent {
    /// Renew the child with this inbound SPI.
    RekeyChild(u32),
    /// Tell the peer that the child with this inbound SPI is gone.
    DeleteChild(u32),
    /// Renew the IKE SA.
    RekeyIke,
    /// Ask for a sign of life; `asked`: somebody waits for the answer.
    Probe { asked: bool, elsewhere: Elsewhere },
}

/// What the outstanding request was for.
#[derive(Debug)]
pub(super) enum Pending {
    RekeyChild(RekeyingChild),
    DeleteChild(u32),
    RekeyIke(RekeyingIke),
    Probe { asked: bool },
}

/// An established IKE SA.
#[derive(Debug)]
pub(super) struct Established {
    pub channel: Channel,
    pub peer: Peer,
    pub origin: Origin,
    /// The lesser nonce of the exchange that made it.
    pub floor: Vec<u8>,
    pub children: Vec<Child>,
    /// Inbound SPI of the child that carries packets, or is to.
    pub active: Option<u32>,
    /// Packets to the peer go over this SA; false for a duplicate.
    pub carrier: bool,
    /// Own SPI of the successor that the peer made; we wait for the peer to delete this SA.
    pub replaced_by: Option<u64>,
    /// Own SPI of the SA whose children it is to take over.
    pub successor_of: Option<u64>,
    /// When this duplicate is closed, or a successor that was never used forgotten.
    pub close_at: Option<Instant>,
    pub queue: VecDeque<Intent>,
    pub pending: Option<Pending>,
    pub rtt: Option<Duration>,
    pub established: Instant,
    pub rekey_at: Instant,
    pub heard: Instant,
    pub keepalive_at: Instant,
}

/// What became of an SA after a message or a timer.
#[derive(Debug)]
pub(super) enum After {
    /// It goes on.
    Stays(Box<Established>),
    /// It only says good-bye.
    Closing(Box<Closing>),
}

impl Established {
    /// A new SA; nothing is installed yet.
    pub fn new(channel: Channel, peer: Peer, origin: Origin, floor: Vec<u8>, child: Option<Child>, t: &mut Turn<'_>) -> Self {
        let lifetime = t.config.ike_lifetime;
        let rekey_at = t.now + t.jittered(lifetime);
        Self {
            channel,
            peer,
            origin,
            floor,
            active: child.as_ref().map(Child::spi_in),
            children: child.into_iter().collect(),
            carrier: false,
            replaced_by: None,
            successor_of: None,
            close_at: None,
            queue: VecDeque::new(),
            pending: None,
            rtt: None,
            established: t.now,
            rekey_at,
            heard: t.now,
            keepalive_at: t.now + t.config.keepalive,
        }
    }

    /// The SPI we chose.
    pub fn own_spi(&self) -> u64 {
        self.channel.own_spi()
    }

    /// Addresses for installing.
    pub fn ends(&self, t: &Turn<'_>) -> Ends {
        Ends {
            peer: self.peer.name.clone(),
            inner_local: t.credentials.inner(),
            inner_remote: self.peer.inner,
            local: self.channel.path.local,
            remote: self.channel.path.remote,
        }
    }

    /// Makes the peer's packets understood.
    pub fn install_in(&mut self, t: &mut Turn<'_>) {
        let ends = self.ends(t);
        self.children.iter_mut().for_each(|child| child.install_in(&ends, t));
    }

    /// Packets to the peer go over this SA from now on. The caller silences the SA that carried them before next.
    /// A child that has lost its outbound state cannot get it back: it is renewed.
    pub fn carry(&mut self, t: &mut Turn<'_>) {
        self.carrier = true;
        let Some(active) = self.active else { return };
        self.activate(active, t);
        if !child(&self.children, active).is_some_and(Child::carries) {
            self.intend(Intent::RekeyChild(active));
        }
    }

    /// This child is the one to send with; no other does any more.
    pub fn activate(&mut self, spi: u32, t: &mut Turn<'_>) {
        self.active = Some(spi);
        if !self.carrier {
            return;
        }
        let ends = self.ends(t);
        if let Some(child) = child_mut(&mut self.children, spi) {
            child.install_out(&ends, t);
        }
        self.children.iter_mut().filter(|child| child.spi_in() != spi && child.carries()).for_each(|child| child.remove_out(t));
    }

    /// No packets to the peer go over this SA any more.
    pub fn silence(&mut self, t: &mut Turn<'_>) {
        self.carrier = false;
        self.children.iter_mut().filter(|child| child.carries()).for_each(|child| child.remove_out(t));
    }

    /// Adds something to do, once.
    pub fn intend(&mut self, intent: Intent) {
        if !self.queue.contains(&intent) {
            self.queue.push_back(intent);
        }
    }

    /// Sends the next request if none is outstanding. An SA whose successor the peer has made only asks
    /// for signs of life: the peer may have died before it could delete this one.
    pub fn pump(&mut self, t: &mut Turn<'_>) {
        while self.channel.idle() && self.successor_of.is_none() {
            let may_begin = |intent: &Intent| self.replaced_by.is_none() || matches!(intent, Intent::Probe { .. });
            let Some(intent) = self.queue.iter().position(may_begin).and_then(|at| self.queue.remove(at)) else { return };
            match intent {
                Intent::RekeyChild(spi) => self.begin_child_rekey(spi, t),
                Intent::DeleteChild(spi) => self.begin_child_delete(spi, t),
                Intent::RekeyIke => self.begin_ike_rekey(t),
                Intent::Probe { asked, elsewhere } => {
                    let tries = t.config.transmissions;
                    self.channel.request_elsewhere(Exchange::INFORMATIONAL, &[], tries, elsewhere, t);
                    self.pending = Some(Pending::Probe { asked });
                }
            }
        }
    }

    fn begin_child_delete(&mut self, spi: u32, t: &mut Turn<'_>) {
        let tries = t.config.transmissions;
        let delete = Payload::Delete(Delete { protocol: protocol::ESP, spis: vec![spi] });
        self.channel.request(Exchange::INFORMATIONAL, &[delete], tries, t);
        self.pending = Some(Pending::DeleteChild(spi));
    }

    /// Takes a message that names our SPI.
    /// `parent`: the SA whose successor this is, if it still has the children.
    pub fn receive(mut self: Box<Self>, message: &Message<'_>, from: Path, parent: Option<&mut Self>, t: &mut Turn<'_>) -> After {
        let exchange = message.header.exchange;
        match self.channel.receive(message, from, t) {
            Received::Nothing => After::Stays(self),
            Received::Request { id, payloads } => {
                self.heard_from(from, t);
                match payloads {
                    Ok(payloads) => self.request(exchange, id, Parts::of(payloads), parent, t),
                    Err(error) => {
                        self.channel.respond(exchange, id, &[syntax(&error)], t);
                        After::Stays(self)
                    }
                }
            }
            Received::Response { payloads, rtt } => {
                self.heard_from(from, t);
                self.rtt = Some(rtt);
                let parts = payloads.map(Parts::of).unwrap_or_default();
                self.response(parts, rtt, t)
            }
        }
    }

    fn heard_from(&mut self, from: Path, t: &mut Turn<'_>) {
        self.heard = t.now;
        let before = self.channel.path;
        if self.channel.follow(from) {
            let ends = self.ends(t);
            self.children.iter_mut().for_each(|child| child.follow(&ends, t));
            if (before.local.ip(), before.remote.ip()) != (from.local.ip(), from.remote.ip())
                && let Some(spi) = self.active.filter(|_| self.carrier)
            {
                self.intend(Intent::RekeyChild(spi));
            }
        }
    }

    fn request(mut self: Box<Self>, exchange: Exchange, id: u32, parts: Parts, parent: Option<&mut Self>, t: &mut Turn<'_>) -> After {
        if exchange == Exchange::INFORMATIONAL && parts.closes_ike() {
            self.channel.respond(exchange, id, &[], t);
            return self.closed_by_peer(t);
        }
        if let Some(parent) = parent {
            // The peer uses the successor it made, so the DELETE of the old SA is still on its way.
            self.adopt(parent, t);
            t.effects.push_back(Effect::Handover { from: parent.own_spi(), to: self.own_spi(), say_delete: false });
        }
        let answer = match exchange {
            Exchange::INFORMATIONAL => self.children_deleted(&parts, t),
            Exchange::CREATE_CHILD_SA => self.create_child(parts, t),
            _ => vec![Payload::notify(super::codec::number::notify::INVALID_SYNTAX, Vec::new())],
        };
        self.channel.respond(exchange, id, &answer, t);
        if self.children.is_empty() && self.successor_of.is_none() && self.replaced_by.is_none() {
            return self.close(Cause::new(Reason::PeerClosed, "the peer closed the child SA"), t);
        }
        After::Stays(self)
    }

    fn response(mut self: Box<Self>, parts: Parts, rtt: Duration, t: &mut Turn<'_>) -> After {
        match self.pending.take() {
            None | Some(Pending::Probe { asked: false }) => After::Stays(self),
            Some(Pending::Probe { asked: true }) => {
                let (peer, remote) = (self.peer.name.clone(), self.channel.path.remote);
                t.commands.push_back(Command::Alive { peer, remote, rtt });
                After::Stays(self)
            }
            Some(Pending::DeleteChild(spi)) => {
                self.retire(spi, t);
                After::Stays(self)
            }
            Some(Pending::RekeyChild(rekeying)) => self.child_rekeyed(rekeying, parts, t),
            Some(Pending::RekeyIke(rekeying)) => self.ike_rekeyed(rekeying, parts, t),
        }
    }

    /// A child leaves; its inbound state lingers.
    pub fn retire(&mut self, spi: u32, t: &mut Turn<'_>) {
        if let Some(at) = self.children.iter().position(|child| child.spi_in() == spi) {
            self.children.remove(at).retire(&self.peer.name, t);
        }
    }

    /// Ends the SA from our side: states go, the peer is told, the table learns why.
    pub fn close(mut self: Box<Self>, why: Cause, t: &mut Turn<'_>) -> After {
        self.remove_children(t);
        t.effects.push_back(Effect::Lost { spi: self.own_spi(), peer: self.peer.name.clone(), why });
        After::Closing(Box::new(Closing::start(self.channel, t)))
    }

    /// Ends the SA without a word, because the peer knows, or is not there to be told.
    pub fn drop_quietly(mut self: Box<Self>, why: Cause, t: &mut Turn<'_>) -> After {
        self.remove_children(t);
        t.effects.push_back(Effect::Lost { spi: self.own_spi(), peer: self.peer.name.clone(), why });
        After::Closing(Box::new(Closing::quietly(self.channel, t)))
    }

    /// Takes over the children and duties of the SA that this one succeeds.
    pub fn adopt(&mut self, old: &mut Self, t: &mut Turn<'_>) {
        self.children.append(&mut old.children);
        self.active = self.active.or(old.active.take());
        self.carrier |= std::mem::take(&mut old.carrier);
        self.close_at = old.close_at.take();
        self.successor_of = None;
        self.rtt = self.rtt.or(old.rtt);
        if old.heard > self.heard {
            self.channel.path = old.channel.path;
        }
        self.queue.extend(old.queue.drain(..).filter(|intent| *intent != Intent::RekeyIke));
        if let Some(Pending::Probe { asked }) = old.pending.take_if(|pending| matches!(pending, Pending::Probe { .. })) {
            self.intend(Intent::Probe { asked, elsewhere: Elsewhere::default() });
        }
        let ends = self.ends(t);
        self.children.iter_mut().for_each(|child| child.follow(&ends, t));
    }

    /// Takes all states out of the kernel.
    pub fn remove_children(&mut self, t: &mut Turn<'_>) {
        self.children.drain(..).for_each(|child| child.remove(t));
        self.active = None;
    }

    fn closed_by_peer(self: Box<Self>, t: &mut Turn<'_>) -> After {
        match self.replaced_by {
            Some(successor) => {
                t.effects.push_back(Effect::Handover { from: self.own_spi(), to: successor, say_delete: false });
                After::Stays(self)
            }
            None => {
                let why = Cause::new(Reason::PeerClosed, format!("{} closed the tunnel", self.peer.name));
                self.drop_quietly(why, t)
            }
        }
    }

    /// For people.
    pub fn status(&self) -> SaStatus {
        let child = self.active.and_then(|spi| child(&self.children, spi));
        SaStatus {
            peer: self.peer.name.clone(),
            inner: self.peer.inner,
            initiator: self.channel.initiator,
            spi_i: self.channel.spi_i,
            spi_r: self.channel.spi_r,
            child_in: child.map(Child::spi_in),
            child_out: child.filter(|child| child.carries()).map(Child::spi_out),
            local: self.channel.path.local,
            remote: self.channel.path.remote,
            nat_local: self.channel.nat.local,
            nat_remote: self.channel.nat.remote,
            established: self.established,
            child_established: child.map(|child| child.made),
            algorithms: format!("{}/{}", self.channel.group.name(), suite::ALGORITHMS),
            signature: self.peer.signature.name(),
            rtt: self.rtt,
        }
    }
}

/// The child with this inbound SPI.
pub(super) fn child(children: &[Child], spi_in: u32) -> Option<&Child> {
    children.iter().find(|child| child.spi_in() == spi_in)
}

/// The child with this inbound SPI, to change.
pub(super) fn child_mut(children: &mut [Child], spi_in: u32) -> Option<&mut Child> {
    children.iter_mut().find(|child| child.spi_in() == spi_in)
}
