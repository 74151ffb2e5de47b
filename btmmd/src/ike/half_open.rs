//! IKE_SA_INIT and IKE_AUTH from the responder's side.

use std::time::Instant;

use super::auth::{self, AuthFailure, InitExchange, Peer};
use super::channel::{Channel, Path, Received};
use super::child::Child;
use super::closing::Closing;
use super::codec::number::{notify, payload};
use super::codec::{CodecError, Exchange, Header, Message, Payload};
use super::crypto::signature::hash_algorithms;
use super::crypto::{IkeKeys, KeyShare, child_keys};
use super::established::{Established, Origin};
use super::nat;
use super::parts::Parts;
use super::port::Command;
use super::suite::{self, Refusal};
use super::timer::{Earliest, Timer};
use super::turn::Turn;

/// IKE_SA_INIT was answered; IKE_AUTH is awaited.
#[derive(Debug)]
pub(super) struct HalfOpen {
    channel: Channel,
    init: InitExchange,
    expires: Instant,
    /// IKE_AUTH that is only answered when our signature is made.
    unsigned: Option<(u32, Parts)>,
}

/// A peer that has proven itself, and what it is to be told once its states are installed.
#[derive(Debug)]
pub(super) struct Admission {
    pub established: Box<Established>,
    pub initial_contact: bool,
    pub message_id: u32,
    pub answer: Vec<Payload>,
}

/// What became of a HalfOpen.
#[derive(Debug)]
pub(super) enum HalfOpened {
    /// Still waiting.
    Waiting(Box<HalfOpen>),
    /// The peer is known; whether it may come in is for the table to say.
    Admitted(Admission),
    /// Refused; repetitions are still answered.
    Closing(Box<Closing>),
}

impl HalfOpen {
    /// Answers an IKE_SA_INIT request that has passed the cookie check. `None`: refused, or not worth an answer.
    pub fn answer(spi_i: u64, parts: &Parts, bytes: &[u8], from: Path, t: &mut Turn<'_>) -> Option<Self> {
        let (Some(proposals), Some((group, theirs)), Some(ni)) = (&parts.sa, &parts.ke, &parts.nonce) else {
            refuse(spi_i, Payload::notify(notify::INVALID_SYNTAX, Vec::new()), from, t);
            return None;
        };
        let (choice, group) = match suite::choose_ike(proposals, &t.config.groups, *group, 0) {
            Ok(choice) => choice.group.map(|group| (choice, group))?,
            Err(Refusal::Group(wanted)) => {
                let data = wanted.number().to_be_bytes().to_vec();
                refuse(spi_i, Payload::notify(notify::INVALID_KE_PAYLOAD, data), from, t);
                return None;
            }
            Err(Refusal::None) => {
                refuse(spi_i, Payload::notify(notify::NO_PROPOSAL_CHOSEN, Vec::new()), from, t);
                return None;
            }
        };
        let share = KeyShare::generate(group, t.core.entropy.as_mut());
        let shared = share.agree(theirs)?;
        let (spi_r, nr, sequence) = (t.ike_spi(), t.nonce(), t.next_sequence());
        let mut payloads = vec![
            Payload::Sa(vec![suite::ike_proposal(choice.number, &[group], &[])]),
            Payload::Ke { group: group.number(), data: share.public().to_vec() },
            Payload::Nonce(nr.clone()),
        ];
        payloads.extend(nat::payloads(spi_i, spi_r, &[from.local], from.remote));
        payloads.extend(t.credentials.authority().map(|hash| Payload::CertReq { encoding: 4, data: hash.to_vec() }));
        payloads.push(Payload::notify(notify::SIGNATURE_HASH_ALGORITHMS, hash_algorithms()));
        let header = Header { spi_i, spi_r, exchange: Exchange::SA_INIT, initiator: false, response: true, message_id: 0 };
        let hashes = parts.notify(notify::SIGNATURE_HASH_ALGORITHMS).map(|notify| notify.data.clone()).unwrap_or_default();
        let response = Message::encode(&header, &payloads);
        let init = InitExchange { request: bytes.to_vec(), response, ni: ni.clone(), nr, hashes, sequence };
        let keys = IkeKeys::initial(&shared, &init.exchanged(spi_i, spi_r));
        let mut channel = Channel::new((spi_i, spi_r), false, keys, group, from, (0, 1));
        channel.nat = nat::detect(parts, spi_i, 0, from.local, from.remote);
        let half_open = Self { channel, init, expires: t.now + t.config.half_open_lifetime, unsigned: None };
        half_open.repeat(from, t);
        Some(half_open)
    }

    /// The SPI we chose.
    pub fn own_spi(&self) -> u64 {
        self.channel.own_spi()
    }

    /// When it is forgotten.
    pub fn earliest(&self) -> Earliest {
        Earliest::default().at(self.expires, Timer::HalfOpenExpiry)
    }

    /// Whether it is to be forgotten.
    pub fn expired(&self, now: Instant) -> bool {
        self.expires <= now
    }

    /// Answers a repetition of the request, if it is one.
    pub fn answer_again(&self, bytes: &[u8], from: Path, t: &mut Turn<'_>) {
        if bytes == self.init.request {
            self.repeat(from, t);
        }
    }

    fn repeat(&self, to: Path, t: &mut Turn<'_>) {
        t.commands.push_back(Command::Send { local: to.source(), remote: to.remote, bytes: self.init.response.clone() });
    }

    /// Takes a message that names our SPI.
    pub fn receive(mut self: Box<Self>, message: &Message<'_>, from: Path, t: &mut Turn<'_>) -> HalfOpened {
        if message.header.exchange != Exchange::AUTH {
            return HalfOpened::Waiting(self);
        }
        let Received::Request { id, payloads } = self.channel.receive(message, from, t) else { return HalfOpened::Waiting(self) };
        self.channel.follow(from);
        let parts = match payloads {
            Ok(payloads) => Parts::of(payloads),
            Err(error) => return self.refuse(id, vec![syntax(&error)], t),
        };
        self.decide(id, parts, t)
    }

    /// Goes on with the request that waited for our signature, if one did.
    pub fn sign(mut self: Box<Self>, t: &mut Turn<'_>) -> HalfOpened {
        match self.unsigned.take() {
            Some((id, parts)) => self.decide(id, parts, t),
            None => HalfOpened::Waiting(self),
        }
    }

    fn decide(mut self: Box<Self>, id: u32, parts: Parts, t: &mut Turn<'_>) -> HalfOpened {
        match self.admit(&parts, t) {
            Ok(None) => {
                // A repetition of the request finds nothing to repeat, and is dropped.
                self.unsigned = Some((id, parts));
                HalfOpened::Waiting(self)
            }
            Ok(Some((peer, mut answer))) => match self.child(&parts, &peer, &mut answer, t) {
                Ok(child) => {
                    let origin = Origin { ours: false, started: self.init.sequence, established: t.next_sequence() };
                    let floor = self.init.floor();
                    let established = Box::new(Established::new(self.channel, peer, origin, floor, Some(child), t));
                    let initial_contact = parts.notify(notify::INITIAL_CONTACT).is_some();
                    HalfOpened::Admitted(Admission { established, initial_contact, message_id: id, answer })
                }
                Err(failure) => {
                    // RFC 7296 §1.2: the IKE SA stands although the child does not. We have no use for one without the other.
                    tracing::debug!(why = %failure.why, "refused a child SA");
                    answer.push(Payload::notify(failure.notify, Vec::new()));
                    self.refuse(id, answer, t)
                }
            },
            Err(failure) => {
                tracing::debug!(why = %failure.why, "refused a peer");
                self.refuse(id, vec![Payload::notify(failure.notify, Vec::new())], t)
            }
        }
    }

    /// The peer, and our proof. `None` while that is being signed.
    fn admit(&self, parts: &Parts, t: &mut Turn<'_>) -> Result<Option<(Peer, Vec<Payload>)>, AuthFailure> {
        let peer = auth::check(t.core, &self.channel, &self.init, parts)?;
        let own = t.credentials.name();
        if parts.id_r.as_ref().is_some_and(|wanted| !wanted.data.eq_ignore_ascii_case(own.as_bytes())) {
            let why = super::cause::Cause::new(super::cause::Reason::WrongPeer, format!("{} wanted somebody else than {own}", peer.name));
            return Err(AuthFailure { notify: notify::AUTHENTICATION_FAILED, why });
        }
        Ok(auth::prove(t.core, &self.channel, &self.init)?.map(|proof| (peer, proof)))
    }

    fn child(&self, parts: &Parts, peer: &Peer, answer: &mut Vec<Payload>, t: &mut Turn<'_>) -> Result<Child, AuthFailure> {
        let own = t.credentials.inner();
        let choice = suite::choose_esp(parts.sa.as_deref().unwrap_or_default(), &[], None);
        let Some((number, spi_out)) = choice.ok().and_then(|choice| Some((choice.number, super::rekey_child::spi(&choice.spi)?))) else {
            let why = super::cause::Cause::new(
                super::cause::Reason::NoProposalChosen,
                format!("{} offers no ESP with AES-256-GCM-16 and ESN", peer.name),
            );
            return Err(AuthFailure { notify: notify::NO_PROPOSAL_CHOSEN, why });
        };
        auth::check_selectors(parts, peer.inner, own)?;
        let spi_in = t.esp_spi();
        answer.push(Payload::Sa(vec![suite::esp_proposal(number, None, spi_in)]));
        answer.extend(auth::selectors(peer.inner, own));
        let (theirs, ours) = child_keys(&self.channel.keys.d, &[], &self.init.ni, &self.init.nr);
        Ok(Child::new((spi_in, theirs), (spi_out, ours), self.init.floor(), t))
    }

    fn refuse(mut self: Box<Self>, id: u32, answer: Vec<Payload>, t: &mut Turn<'_>) -> HalfOpened {
        self.channel.respond(Exchange::AUTH, id, &answer, t);
        HalfOpened::Closing(Box::new(Closing::quietly(self.channel, t)))
    }
}

/// The notification that answers a request whose payloads could not be read.
pub(super) fn syntax(error: &CodecError) -> Payload {
    match error {
        CodecError::Critical(kind) => Payload::notify(notify::UNSUPPORTED_CRITICAL_PAYLOAD, vec![*kind]),
        CodecError::Wire(_) | CodecError::Version(_) => Payload::notify(notify::INVALID_SYNTAX, Vec::new()),
    }
}

/// Asks for the same IKE_SA_INIT again, or refuses it, without keeping any state.
pub(super) fn refuse(spi_i: u64, payload: Payload, to: Path, t: &mut Turn<'_>) {
    let header = Header { spi_i, spi_r: 0, exchange: Exchange::SA_INIT, initiator: false, response: true, message_id: 0 };
    t.commands.push_back(Command::Send { local: to.source(), remote: to.remote, bytes: Message::encode(&header, &[payload]) });
}

/// Tells the sender of a protected message that its IKE SA is unknown here (RFC 7296 §1.5). A hint: nothing proves it.
pub(super) fn unknown_spi(header: &Header, from: Path, t: &mut Turn<'_>) {
    let header = Header { initiator: !header.initiator, response: true, ..*header };
    let bytes = Message::encode(&header, &[Payload::notify(notify::INVALID_IKE_SPI, Vec::new())]);
    t.commands.push_back(Command::Send { local: from.source(), remote: from.remote, bytes });
}

/// Whether a message is such a hint.
pub(super) fn is_unknown_spi(message: &Message<'_>) -> bool {
    let hint = |p: &Payload| matches!(p, Payload::Notify(told) if told.kind == notify::INVALID_IKE_SPI && p.kind() == payload::NOTIFY);
    message.header.response && message.protected.is_none() && message.clear.iter().any(hint)
}
