//! The keyed half of an IKE SA: sealing and opening, message IDs, retransmission, the path.
//!
//! The window is one (RFC 7296 §2.3): one request of ours is outstanding at a time, and of the peer's requests the next one is taken and the last
//! one is answered again from memory.

use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use super::codec::number::payload as kind;
use super::codec::payload::{read_inner, write_chain, write_sk_header};
use super::codec::{CodecError, Exchange, Header, Message, Payload};
use super::crypto::{Group, IkeKeys, SkCipher};
use super::nat::Nat;
use super::port::Command;
use super::timer::{Earliest, Timer};
use super::turn::Turn;
use crate::wire::Writer;

/// Longest time between two transmissions of a request.
const INTERVAL_MAX: Duration = Duration::from_secs(16);
/// A request that was sent so often for nothing is sent to every place where the peer may be.
const TRIES_ALONE: u32 = 2;
/// At most so many of those places are remembered.
pub(super) const PLACES_MAX: usize = 16;

/// Where the peer is, and from which of our addresses it is reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Path {
    pub local: SocketAddr,
    pub remote: SocketAddr,
    /// Send from `local`; else from whatever the kernel picks.
    pub pinned: bool,
}

impl Path {
    /// The path a datagram came by, to answer on.
    pub fn of(local: SocketAddr, remote: SocketAddr) -> Self {
        Self { local, remote, pinned: true }
    }

    /// Source address for the next datagram.
    pub fn source(&self) -> Option<IpAddr> {
        (self.pinned && !self.local.ip().is_unspecified()).then(|| self.local.ip())
    }
}

/// Where a request goes besides the path. Whoever answers first shows the path from then on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Elsewhere {
    /// Something saw the peer there.
    pub hint: Option<SocketAddr>,
    /// Wherever the rendezvous says that it may be.
    pub everywhere: bool,
}

impl Elsewhere {
    /// To one place more.
    pub fn hint(place: SocketAddr) -> Self {
        Self { hint: Some(place), everywhere: false }
    }

    /// To all places that are known.
    pub fn everywhere() -> Self {
        Self { hint: None, everywhere: true }
    }
}

/// The one request of ours that waits for its answer.
#[derive(Debug)]
struct Outstanding {
    id: u32,
    bytes: Vec<u8>,
    first_sent: Instant,
    last_sent: Instant,
    tries: u32,
    tries_max: u32,
    interval: Duration,
    due: Instant,
    elsewhere: Elsewhere,
}

/// An IKE SA's keys, counters and path.
#[derive(Debug)]
pub(super) struct Channel {
    pub spi_i: u64,
    pub spi_r: u64,
    /// We are the original initiator.
    pub initiator: bool,
    pub keys: IkeKeys,
    pub group: Group,
    pub path: Path,
    /// Where else the peer may be, by the rendezvous.
    pub places: Vec<SocketAddr>,
    pub nat: Nat,
    next_request: u32,
    expected_request: u32,
    outstanding: Option<Outstanding>,
    last_response: Option<Vec<u8>>,
}

/// What an incoming message turned out to be.
#[derive(Debug)]
pub(super) enum Received {
    /// The next request, to be answered.
    Request { id: u32, payloads: Result<Vec<Payload>, CodecError> },
    /// The answer to our request, which took this long.
    Response { payloads: Result<Vec<Payload>, CodecError>, rtt: Duration },
    /// Not authentic, or not expected, or a repetition that was answered from memory.
    Nothing,
}

/// What became of an unanswered request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Retry {
    /// Not due, or sent again.
    Waiting,
    /// Sent often enough.
    GivenUp,
}

impl Channel {
    /// A channel whose next own request has the ID `next_request`, and that expects `expected_request` from the peer.
    pub fn new(ids: (u64, u64), initiator: bool, keys: IkeKeys, group: Group, path: Path, next: (u32, u32)) -> Self {
        Self {
            spi_i: ids.0,
            spi_r: ids.1,
            initiator,
            keys,
            group,
            path,
            places: Vec::new(),
            nat: Nat::default(),
            next_request: next.0,
            expected_request: next.1,
            outstanding: None,
            last_response: None,
        }
    }

    /// The SPI we chose, by which the table knows this SA.
    pub fn own_spi(&self) -> u64 {
        if self.initiator { self.spi_i } else { self.spi_r }
    }

    /// Whether a request may be sent.
    pub fn idle(&self) -> bool {
        self.outstanding.is_none()
    }

    /// Sends a request, to be repeated until it is answered or was sent `tries_max` times.
    pub fn request(&mut self, exchange: Exchange, payloads: &[Payload], tries_max: u32, t: &mut Turn<'_>) {
        self.request_elsewhere(exchange, payloads, tries_max, Elsewhere::default(), t);
    }

    /// Sends a request, to other places as well.
    pub fn request_elsewhere(&mut self, exchange: Exchange, payloads: &[Payload], tries_max: u32, elsewhere: Elsewhere, t: &mut Turn<'_>) {
        debug_assert!(self.idle(), "the window is one");
        let id = self.next_request;
        self.next_request = id.wrapping_add(1);
        let bytes = self.seal(exchange, false, id, payloads);
        let interval = t.config.retransmit;
        let (first_sent, last_sent, due) = (t.now, t.now, t.now + interval);
        let mut outstanding = Outstanding { id, bytes, first_sent, last_sent, tries: 1, tries_max, interval, due, elsewhere };
        self.transmit(&mut outstanding, t);
        self.outstanding = Some(outstanding);
    }

    /// Answers a request, and remembers the answer.
    pub fn respond(&mut self, exchange: Exchange, id: u32, payloads: &[Payload], t: &mut Turn<'_>) {
        let bytes = self.seal(exchange, true, id, payloads);
        self.last_response = Some(bytes.clone());
        t.commands.push_back(Command::Send { local: self.path.source(), remote: self.path.remote, bytes });
    }

    /// Authenticates a message and says what it is. The path is followed by the caller, who knows whether the message counts.
    pub fn receive(&mut self, message: &Message<'_>, from: Path, t: &mut Turn<'_>) -> Received {
        let header = &message.header;
        let Some(protected) = message.protected.filter(|protected| protected.kind == kind::SK) else { return Received::Nothing };
        if header.initiator == self.initiator || (header.spi_i, header.spi_r) != (self.spi_i, self.spi_r) {
            return Received::Nothing;
        }
        let theirs = if self.initiator { &self.keys.er } else { &self.keys.ei };
        let Some(plain) = theirs.open(protected.associated, protected.content) else { return Received::Nothing };
        if header.response {
            let Some(answered) = self.outstanding.take_if(|outstanding| outstanding.id == header.message_id) else {
                return Received::Nothing;
            };
            let rtt = t.now.saturating_duration_since(answered.first_sent);
            return Received::Response { payloads: read_inner(protected.first, &plain), rtt };
        }
        if header.message_id == self.expected_request {
            self.expected_request = self.expected_request.wrapping_add(1);
            self.last_response = None;
            return Received::Request { id: header.message_id, payloads: read_inner(protected.first, &plain) };
        }
        if header.message_id.wrapping_add(1) == self.expected_request
            && let Some(bytes) = self.last_response.clone()
        {
            t.commands.push_back(Command::Send { local: from.source(), remote: from.remote, bytes });
        }
        Received::Nothing
    }

    /// Takes `from` as the path from now on; tells whether that is news.
    pub fn follow(&mut self, from: Path) -> bool {
        let moved = (self.path.local, self.path.remote) != (from.local, from.remote);
        self.path = from;
        moved
    }

    /// Sends the outstanding request again if it is due.
    pub fn retry(&mut self, t: &mut Turn<'_>) -> Retry {
        let Some(mut outstanding) = self.outstanding.take_if(|outstanding| outstanding.due <= t.now) else { return Retry::Waiting };
        if outstanding.tries >= outstanding.tries_max {
            return Retry::GivenUp;
        }
        outstanding.tries += 1;
        outstanding.interval = (outstanding.interval * 2).min(INTERVAL_MAX);
        outstanding.due = t.now + outstanding.interval;
        self.transmit(&mut outstanding, t);
        self.outstanding = Some(outstanding);
        Retry::Waiting
    }

    /// Somebody waits for the answer to the outstanding request, if any: it is not left alone for longer than the first time. That counts like
    /// any other try, so that whoever asks often learns of a dead peer sooner, not never.
    pub fn press(&mut self, t: &Turn<'_>) {
        if let Some(outstanding) = &mut self.outstanding {
            outstanding.due = outstanding.due.min(outstanding.last_sent + t.config.retransmit);
        }
    }

    /// The path is another: has the outstanding request, if any, sent again at once, possibly to other places too.
    pub fn hasten(&mut self, elsewhere: Elsewhere, t: &mut Turn<'_>) {
        // The kernel reports a moved peer with every packet: once is enough.
        let told = |outstanding: &mut Outstanding| elsewhere.hint.is_none() || outstanding.elsewhere.hint != elsewhere.hint;
        if let Some(mut outstanding) = self.outstanding.take_if(told) {
            outstanding.elsewhere.hint = elsewhere.hint.or(outstanding.elsewhere.hint);
            outstanding.elsewhere.everywhere |= elsewhere.everywhere;
            outstanding.interval = t.config.retransmit;
            outstanding.due = t.now + outstanding.interval;
            self.transmit(&mut outstanding, t);
            self.outstanding = Some(outstanding);
        }
    }

    /// Only so many more transmissions, and soon: something hints that the peer is gone.
    pub fn doubt(&mut self, more: u32, t: &Turn<'_>) {
        if let Some(outstanding) = &mut self.outstanding
            && outstanding.tries + more < outstanding.tries_max
        {
            outstanding.tries_max = outstanding.tries + more;
            outstanding.interval = t.config.retransmit;
            outstanding.due = outstanding.due.min(t.now + outstanding.interval);
        }
    }

    /// When the outstanding request is due again.
    pub fn earliest(&self) -> Earliest {
        Earliest::default().maybe(self.outstanding.as_ref().map(|outstanding| outstanding.due), Timer::Retransmit)
    }

    fn transmit(&self, outstanding: &mut Outstanding, t: &mut Turn<'_>) {
        outstanding.last_sent = t.now;
        let everywhere = outstanding.elsewhere.everywhere || outstanding.tries > TRIES_ALONE;
        let places = self.places.iter().copied().filter(|_| everywhere);
        let mut to = vec![self.path.remote];
        for place in outstanding.elsewhere.hint.into_iter().chain(places) {
            if !to.contains(&place) {
                to.push(place);
            }
        }
        for remote in to {
            // An address of ours of one family reaches none of the other.
            let local = self.path.source().filter(|source| source.is_ipv4() == remote.is_ipv4());
            t.commands.push_back(Command::Send { local, remote, bytes: outstanding.bytes.clone() });
        }
    }

    /// A message around payloads.
    pub(super) fn seal(&mut self, exchange: Exchange, response: bool, message_id: u32, payloads: &[Payload]) -> Vec<u8> {
        let mut inner = Writer::new();
        write_chain(payloads, &mut inner);
        self.seal_raw(exchange, response, message_id, payloads.first().map_or(0, Payload::kind), inner.as_slice())
    }

    /// A message around payloads that are written already.
    pub(super) fn seal_raw(&mut self, exchange: Exchange, response: bool, message_id: u32, first: u8, inner: &[u8]) -> Vec<u8> {
        let mut writer = Writer::new();
        Header { spi_i: self.spi_i, spi_r: self.spi_r, exchange, initiator: self.initiator, response, message_id }
            .write(&mut writer, kind::SK);
        write_sk_header(&mut writer, first, SkCipher::sealed_len(inner.len()));
        let ours = if self.initiator { &mut self.keys.ei } else { &mut self.keys.er };
        let content = ours.seal(writer.as_slice(), inner);
        writer.bytes(&content);
        writer.into_bytes()
    }
}
