//! IKE_AUTH from the initiator's side.

use super::auth::{self, InitExchange};
use super::cause::{Cause, Reason};
use super::channel::{Channel, Elsewhere, Path, Received, Retry};
use super::child::Child;
use super::closing::Closing;
use super::codec::number::notify;
use super::codec::{Exchange, Message, Payload};
use super::crypto::child_keys;
use super::established::{Established, Origin};
use super::init::Wanted;
use super::parts::Parts;
use super::suite;
use super::timer::{Earliest, Timer};
use super::turn::{Effect, Turn};
use std::time::Instant;

/// Transmissions of IKE_AUTH: a candidate whose answer was lost on the way is not waited for as long as a peer that was up.
const TRIES: u32 = 4;

/// IKE_AUTH is on its way.
#[derive(Debug)]
pub(super) struct Authenticating {
    pub wanted: Wanted,
    /// Nobody wants this tunnel any more: close it as soon as it is up.
    pub abandoned: bool,
    channel: Channel,
    init: InitExchange,
    spi_in: u32,
    /// Our signature is not made yet, and nothing sent.
    unsigned: bool,
    /// Our own credentials failed, given up at once; or will have, when the signature does not come.
    broken: Option<(Instant, Cause)>,
}

/// What became of it.
#[derive(Debug)]
pub(super) enum Authenticated {
    /// Still waiting.
    Waiting(Box<Authenticating>),
    /// The peer is who it should be.
    Admitted(Box<Established>),
    /// An SA is up that must not be: say good-bye.
    Closing(Box<Closing>),
    /// Over.
    Failed,
}

impl Authenticating {
    /// Sends IKE_AUTH, at once or when it is signed.
    pub fn start(wanted: Wanted, channel: Channel, init: InitExchange, t: &mut Turn<'_>) -> Self {
        let late = Cause::new(Reason::OwnCredentials, format!("no signature of {} has come from its key", t.credentials.name()));
        // The peer keeps its half of the exchange no longer than we would.
        let broken = Some((t.now + t.config.half_open_lifetime, late.clone()));
        let mut this = Self { wanted, abandoned: false, channel, init, spi_in: t.esp_spi(), unsigned: true, broken };
        this.sign(t);
        if this.unsigned {
            this.note(late, t);
        }
        this
    }

    /// Sends IKE_AUTH if it was only our signature that was missing, and is there.
    pub fn sign(&mut self, t: &mut Turn<'_>) {
        if !self.unsigned {
            return;
        }
        match auth::prove(t.core, &self.channel, &self.init) {
            Ok(None) => return,
            Ok(Some(mut payloads)) => {
                payloads.insert(1, Payload::IdR(auth::identity(&self.wanted.peer)));
                payloads.push(Payload::notify(notify::INITIAL_CONTACT, Vec::new()));
                payloads.push(Payload::Sa(vec![suite::esp_proposal(1, None, self.spi_in)]));
                payloads.extend(auth::selectors(t.credentials.inner(), self.wanted.inner));
                self.channel.request(Exchange::AUTH, &payloads, TRIES, t);
                self.broken = None;
                let silent = self.silent();
                self.note(silent, t);
            }
            Err(failure) => self.broken = Some((t.now, failure.why)),
        }
        self.unsigned = false;
    }

    /// The SPI we chose.
    pub fn own_spi(&self) -> u64 {
        self.channel.own_spi()
    }

    /// Whether the peer may believe this SA up, which is to be closed.
    pub fn owes_farewell(&self) -> bool {
        self.abandoned && !self.unsigned
    }

    /// Our own addresses changed.
    pub fn path_in_doubt(&mut self, t: &mut Turn<'_>) {
        self.channel.path.pinned = false;
        self.channel.hasten(Elsewhere::default(), t);
    }

    /// When something is due.
    pub fn earliest(&self) -> Earliest {
        self.channel.earliest().maybe(self.broken.as_ref().map(|(when, _)| *when), Timer::Retransmit)
    }

    /// Sends again, or gives up.
    pub fn retry(mut self: Box<Self>, t: &mut Turn<'_>) -> Authenticated {
        if let Some((_, why)) = self.broken.take_if(|(when, _)| *when <= t.now) {
            return self.failed(why, t);
        }
        match self.channel.retry(t) {
            Retry::Waiting => Authenticated::Waiting(self),
            Retry::GivenUp => {
                let silent = self.silent();
                self.failed(silent, t)
            }
        }
    }

    /// Takes a message.
    pub fn receive(mut self: Box<Self>, message: &Message<'_>, from: Path, t: &mut Turn<'_>) -> Authenticated {
        if message.header.exchange != Exchange::AUTH {
            return Authenticated::Waiting(self);
        }
        match self.channel.receive(message, from, t) {
            Received::Response { payloads: Ok(payloads), .. } => {
                self.channel.follow(from);
                self.answered(Parts::of(payloads), t)
            }
            Received::Response { payloads: Err(error), .. } => {
                let text = format!("{} answered IKE_AUTH unintelligibly: {error}", self.wanted.peer);
                self.failed(Cause::new(Reason::Protocol, text), t)
            }
            Received::Request { .. } | Received::Nothing => Authenticated::Waiting(self),
        }
    }

    fn answered(self: Box<Self>, parts: Parts, t: &mut Turn<'_>) -> Authenticated {
        // Without AUTH an error speaks for nobody, but it was sealed with the keys we wait for: this candidate will not do.
        if let (Some(error), None) = (parts.error(), &parts.auth) {
            let why = auth::refusal(&self.wanted.peer, error);
            return self.failed(why, t);
        }
        let peer = match auth::check(t.core, &self.channel, &self.init, &parts) {
            Ok(peer) => peer,
            Err(failure) => return self.close(failure.why, t),
        };
        if peer.name != self.wanted.peer || peer.inner != self.wanted.inner {
            let wanted = &self.wanted;
            let text = format!("{} answered as {} ({}), not {} ({})", wanted.candidate, peer.name, peer.inner, wanted.peer, wanted.inner);
            return self.close(Cause::new(Reason::WrongPeer, text), t);
        }
        if self.abandoned {
            return self.close(Cause::new(Reason::Closed, "closed before it was up"), t);
        }
        if let Some(error) = parts.error() {
            let why = auth::refusal(&peer.name, error);
            return self.close(why, t);
        }
        if let Err(failure) = auth::check_selectors(&parts, t.credentials.inner(), peer.inner) {
            return self.close(failure.why, t);
        }
        let chosen = suite::choose_esp(parts.sa.as_deref().unwrap_or_default(), &[], None);
        let transport = parts.notify(notify::USE_TRANSPORT_MODE).is_some();
        let Some(spi_out) = chosen.ok().filter(|_| !transport).and_then(|choice| super::rekey_child::spi(&choice.spi)) else {
            let text = format!("{} chose algorithms that were not offered", peer.name);
            return self.close(Cause::new(Reason::NoProposalChosen, text), t);
        };
        let (ours, theirs) = child_keys(&self.channel.keys.d, &[], &self.init.ni, &self.init.nr);
        let child = Child::new((self.spi_in, theirs), (spi_out, ours), self.init.floor(), t);
        let origin = Origin { ours: true, started: self.init.sequence, established: t.next_sequence() };
        let floor = self.init.floor();
        Authenticated::Admitted(Box::new(Established::new(self.channel, peer, origin, floor, Some(child), t)))
    }

    fn silent(&self) -> Cause {
        Cause::new(Reason::NoAnswer, format!("{} at {} did not answer IKE_AUTH", self.wanted.peer, self.wanted.candidate))
    }

    /// What is to be told should the time for the whole attempt be over now.
    fn note(&self, why: Cause, t: &mut Turn<'_>) {
        self.tell(Effect::Noted { peer: self.wanted.peer.clone(), why }, t);
    }

    fn failed(self: Box<Self>, why: Cause, t: &mut Turn<'_>) -> Authenticated {
        self.leg_failed(why, t);
        Authenticated::Failed
    }

    fn leg_failed(&self, why: Cause, t: &mut Turn<'_>) {
        self.tell(Effect::LegFailed { peer: self.wanted.peer.clone(), candidate: self.wanted.candidate, why }, t);
    }

    /// Tells the attempt that this leg belongs to. One to the same peer that was begun since is not its business.
    fn tell(&self, effect: Effect, t: &mut Turn<'_>) {
        if !self.abandoned {
            t.effects.push_back(effect);
        }
    }

    /// The responder believes the SA is up: tell it otherwise.
    fn close(self: Box<Self>, why: Cause, t: &mut Turn<'_>) -> Authenticated {
        self.leg_failed(why, t);
        Authenticated::Closing(Box::new(Closing::start(self.channel, t)))
    }
}
