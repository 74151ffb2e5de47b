//! IKE_SA_INIT from the initiator's side: one leg per candidate address (RFC 7296 §1.2, §2.6, §2.7).

use std::net::{Ipv6Addr, SocketAddr};
use std::time::{Duration, Instant};

use super::auth::InitExchange;
use super::authenticating::Authenticating;
use super::cause::{Cause, Reason};
use super::channel::{Channel, Path};
use super::codec::number::notify;
use super::codec::{Exchange, Header, Message, Payload};
use super::crypto::keys::Exchanged;
use super::crypto::signature::hash_algorithms;
use super::crypto::{Group, IkeKeys, KeyShare};
use super::nat;
use super::parts::Parts;
use super::port::Command;
use super::suite;
use super::timer::{Earliest, Timer};
use super::turn::{Effect, Turn};

/// Times the responder may ask for a cookie or another group before it is given up.
const CORRECTIONS_MAX: u32 = 6;

/// Whom we want to reach, and where.
#[derive(Clone, Debug)]
pub(super) struct Wanted {
    pub peer: String,
    pub inner: Ipv6Addr,
    pub candidate: SocketAddr,
}

/// An IKE_SA_INIT on its way to one candidate.
#[derive(Debug)]
pub(super) struct Opening {
    pub wanted: Wanted,
    spi_i: u64,
    share: KeyShare,
    nonce: Vec<u8>,
    cookie: Option<Vec<u8>>,
    request: Vec<u8>,
    corrections: u32,
    interval: Duration,
    due: Instant,
    sequence: u64,
}

/// What became of an Opening.
#[derive(Debug)]
pub(super) enum Opened {
    /// Still waiting.
    Waiting(Box<Opening>),
    /// Keys agreed, IKE_AUTH sent.
    Answered(Box<Authenticating>),
}

impl Opening {
    /// Sends the first message to a candidate.
    pub fn start(wanted: Wanted, t: &mut Turn<'_>) -> Self {
        let group = t.config.groups.first().copied().unwrap_or(Group::X25519);
        let share = KeyShare::generate(group, t.core.entropy.as_mut());
        let (spi_i, nonce, sequence) = (t.ike_spi(), t.nonce(), t.next_sequence());
        let interval = t.config.init_retransmit;
        let mut opening = Self {
            wanted,
            spi_i,
            share,
            nonce,
            cookie: None,
            request: Vec::new(),
            corrections: 0,
            interval,
            due: t.now + interval,
            sequence,
        };
        opening.send_anew(t);
        opening
    }

    /// The SPI we chose.
    pub fn own_spi(&self) -> u64 {
        self.spi_i
    }

    /// Sends it again if it is due. The dial's deadline ends this.
    pub fn retry(&mut self, t: &mut Turn<'_>) {
        if self.due <= t.now {
            self.interval = (self.interval * 3 / 2).min(t.config.init_retransmit_max);
            self.due = t.now + self.interval;
            self.transmit(t);
        }
    }

    /// When it is due again.
    pub fn earliest(&self) -> Earliest {
        Earliest::default().at(self.due, Timer::Retransmit)
    }

    /// Takes an answer. Errors here are unauthenticated, so they do not end the attempt: the true answer may still come.
    pub fn receive(mut self: Box<Self>, message: Message<'_>, bytes: &[u8], from: Path, t: &mut Turn<'_>) -> Opened {
        let header = message.header;
        if !header.response || header.initiator || header.message_id != 0 || header.exchange != Exchange::SA_INIT {
            return Opened::Waiting(self);
        }
        let parts = Parts::of(message.clear);
        if self.corrected(&parts, t) {
            self.corrections += 1;
            if self.corrections <= CORRECTIONS_MAX {
                self.send_anew(t);
            }
            return Opened::Waiting(self);
        }
        match self.agree(&parts, header.spi_r, from) {
            Some(channel) => self.answered(channel, &parts, bytes, t),
            None => {
                let error = parts.error().map_or_else(|| "an unusable answer".to_owned(), notify::name);
                let why = Cause::new(Reason::NoProposalChosen, format!("{} answered IKE_SA_INIT with {error}", self.wanted.candidate));
                t.effects.push_back(Effect::Noted { peer: self.wanted.peer.clone(), why });
                Opened::Waiting(self)
            }
        }
    }

    /// Whether the responder wants the same request again with a cookie or another group, and we can.
    fn corrected(&mut self, parts: &Parts, t: &mut Turn<'_>) -> bool {
        if parts.sa.is_some() {
            return false;
        }
        // A second cookie is a repetition: the first one outlives this attempt, and AUTH signs the one request that was answered.
        if let Some(cookie) = parts.notify(notify::COOKIE).filter(|cookie| (1..=64).contains(&cookie.data.len())) {
            let first = self.cookie.is_none();
            self.cookie.get_or_insert_with(|| cookie.data.clone());
            return first;
        }
        let Some(number) = parts.notify(notify::INVALID_KE_PAYLOAD).and_then(|wanted| wanted.data.first_chunk()) else { return false };
        match Group::from_number(u16::from_be_bytes(*number)) {
            Some(group) if group != self.share.group() && t.config.groups.contains(&group) => {
                self.share = KeyShare::generate(group, t.core.entropy.as_mut());
                true
            }
            _ => false,
        }
    }

    fn agree(&self, parts: &Parts, spi_r: u64, from: Path) -> Option<Channel> {
        let ([chosen], (group, theirs), nr) = (parts.sa.as_deref()?, parts.ke.as_ref()?, parts.nonce.as_ref()?) else { return None };
        suite::choose_ike(std::slice::from_ref(chosen), &[self.share.group()], *group, 0).ok()?;
        let shared = self.share.agree(theirs).filter(|_| spi_r != 0)?;
        let exchanged = Exchanged { ni: &self.nonce, nr, spi_i: self.spi_i, spi_r };
        let keys = IkeKeys::initial(&shared, &exchanged);
        let mut channel = Channel::new((self.spi_i, spi_r), true, keys, self.share.group(), from, (1, 0));
        channel.nat = nat::detect(parts, self.spi_i, spi_r, from.local, from.remote);
        Some(channel)
    }

    fn answered(self: Box<Self>, channel: Channel, parts: &Parts, response: &[u8], t: &mut Turn<'_>) -> Opened {
        t.effects.push_back(Effect::Answered { peer: self.wanted.peer.clone(), spi: self.spi_i });
        let exchange = InitExchange {
            request: self.request.clone(),
            response: response.to_vec(),
            ni: self.nonce.clone(),
            nr: parts.nonce.clone().unwrap_or_default(),
            hashes: parts.notify(notify::SIGNATURE_HASH_ALGORITHMS).map(|notify| notify.data.clone()).unwrap_or_default(),
            sequence: self.sequence,
        };
        Opened::Answered(Box::new(Authenticating::start(self.wanted.clone(), channel, exchange, t)))
    }

    fn send_anew(&mut self, t: &mut Turn<'_>) {
        // The guessed group first: a responder that takes the first acceptable one needs no correction.
        let mut groups = vec![self.share.group()];
        groups.extend(t.config.groups.iter().copied().filter(|group| *group != self.share.group()));
        let mut payloads = Vec::new();
        payloads.extend(self.cookie.clone().map(|cookie| Payload::notify(notify::COOKIE, cookie)));
        payloads.push(Payload::Sa(vec![suite::ike_proposal(1, &groups, &[])]));
        payloads.push(Payload::Ke { group: self.share.group().number(), data: self.share.public().to_vec() });
        payloads.push(Payload::Nonce(self.nonce.clone()));
        payloads.extend(nat::payloads(self.spi_i, 0, &t.addresses, self.wanted.candidate));
        payloads.push(Payload::notify(notify::SIGNATURE_HASH_ALGORITHMS, hash_algorithms()));
        let header = Header { spi_i: self.spi_i, spi_r: 0, exchange: Exchange::SA_INIT, initiator: true, response: false, message_id: 0 };
        self.request = Message::encode(&header, &payloads);
        self.transmit(t);
    }

    fn transmit(&self, t: &mut Turn<'_>) {
        t.commands.push_back(Command::Send { local: None, remote: self.wanted.candidate, bytes: self.request.clone() });
    }
}
