//! The zone's server: request bytes in, reply bytes out.
//!
//! hickory's own server crate is not used: it wants a listener of its own where one TCP port serves several protocols by ALPN, lets any
//! key change any name, knows no leases, and takes no keys at run time. Its wire types, which are good, are used throughout, but only
//! after the signature of the bytes was found right: a stranger's octets go no further than [`super::outline`].
//!
//! | request | reply |
//! |---|---|
//! | not DNS, or a reply | none |
//! | malformed | FORMERR, unsigned |
//! | no TSIG | REFUSED, unsigned |
//! | unknown key or algorithm | NOTAUTH, BADKEY, unsigned |
//! | wrong MAC | NOTAUTH, BADSIG, unsigned |
//! | right MAC, wrong time | NOTAUTH, BADTIME with our clock, signed |
//! | right MAC, truncated | NOTAUTH, BADTRUNC, signed |
//! | right | what [`super::policy`] and [`super::zone`] say, signed |
//!
//! Transfers: a machine that polls asks for the SOA and, when the serial has moved, for the whole zone (AXFR). A zone is some kilobytes
//! and changes rarely, so this costs one small query per period and one round trip more on change; IXFR would save nothing.

use std::collections::HashMap;
use std::time::Instant;

use hickory_proto::op::{Edns, Message, OpCode, Query, ResponseCode};
use hickory_proto::rr::{DNSClass, Name, Record, RecordType};

use super::Now;
use super::lease::{ASKED, UpdateLease};
use super::outline::{CanonicalName, Malformed, Outline, Signature};
use super::tsig::{self, Chain, Failure, Key, Timers, TsigSecret};
use super::update::{Update, UpdateError};
use super::zone::{Answer, Zone};
use crate::account::name::{MachineName, ZoneName};

/// Records in one message of a transfer; with the zone's limit on rdata a message stays far below 64 KiB.
const RECORDS_PER_MESSAGE: usize = 40;

struct Member {
    machine: MachineName,
    key: Key,
}

/// What goes back for one request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Replies {
    /// To be sent in this order; may be empty.
    pub messages: Vec<Vec<u8>>,
    /// Whose right signature the request carried.
    pub from: Option<MachineName>,
}

/// The zone, the keys, and nothing else.
pub struct Server {
    zone_name: ZoneName,
    zone: Zone,
    members: HashMap<CanonicalName, Member>,
    unsaved: bool,
}

impl Server {
    /// Serves `zone`; nobody may ask until keys are set.
    pub fn new(zone_name: ZoneName, zone: Zone) -> Self {
        Self { zone_name, zone, members: HashMap::new(), unsaved: true }
    }

    /// Lets `machine` in with `secret`, or replaces its secret.
    pub fn set_key(&mut self, machine: &MachineName, secret: TsigSecret) {
        let Ok(name) = CanonicalName::from_text(&machine.in_zone(&self.zone_name)) else { return };
        self.members.insert(name.clone(), Member { machine: machine.clone(), key: Key { name, secret } });
    }

    /// True while `machine` has a key.
    pub fn is_member(&self, machine: &MachineName) -> bool {
        self.members.values().any(|member| member.machine == *machine)
    }

    /// Shuts `machine` out and takes its records away.
    pub fn remove_key(&mut self, machine: &MachineName) {
        self.members.retain(|_, member| member.machine != *machine);
        self.unsaved |= self.zone.remove_machine(machine);
    }

    /// What is served.
    pub fn zone(&self) -> &Zone {
        &self.zone
    }

    /// When [`Server::expire`] has something to do.
    pub fn poll_timeout(&self) -> Option<(Instant, &'static str)> {
        self.zone.poll_timeout()
    }

    /// Takes away what has expired.
    pub fn expire(&mut self, now: Instant) {
        self.unsaved |= self.zone.expire(now);
    }

    /// True once after each change that a restart should not lose, refreshed leases included.
    pub fn take_unsaved(&mut self) -> bool {
        std::mem::take(&mut self.unsaved)
    }

    /// What was taken as saved was not.
    pub fn mark_unsaved(&mut self) {
        self.unsaved = true;
    }

    /// Answers one request: no message to what is not a request, several to a transfer.
    pub fn handle(&mut self, request: &[u8], now: Now) -> Replies {
        let stranger = |messages| Replies { messages, from: None };
        let outline = match Outline::read(request) {
            Ok(outline) if outline.is_response() => return stranger(Vec::new()),
            Ok(outline) => outline,
            Err(Malformed) => return stranger(formerr(request).into_iter().collect()),
        };
        let Some(signature) = &outline.signature else {
            return stranger(vec![bare(&outline, ResponseCode::Refused)]);
        };
        let Some(member) = self.members.get(&signature.key) else {
            return stranger(vec![refusal(&outline, signature, tsig::BADKEY)]);
        };
        let (machine, key) = (member.machine.clone(), member.key.clone());
        let refused = match tsig::verify(request, &outline, signature, &key, Chain::Request, now.wall) {
            Ok(()) => {
                let messages = self.answer(request, &machine, &key, signature, now);
                return Replies { messages, from: Some(machine) };
            }
            Err(Failure::Malformed) => bare(&outline, ResponseCode::FormErr),
            Err(Failure::BadKey) => refusal(&outline, signature, tsig::BADKEY),
            Err(Failure::BadSig) => refusal(&outline, signature, tsig::BADSIG),
            Err(Failure::BadTime { .. }) => {
                let [_, _, clock @ ..] = now.wall.to_be_bytes();
                let timers = Timers { time: signature.time, fudge: tsig::FUDGE, error: tsig::BADTIME, other: &clock };
                signed_refusal(&outline, signature, &key, timers)
            }
            Err(Failure::BadTrunc) => signed_refusal(&outline, signature, &key, Timers { error: tsig::BADTRUNC, ..Timers::at(now.wall) }),
        };
        stranger(vec![refused])
    }

    fn answer(&mut self, request: &[u8], machine: &MachineName, key: &Key, signature: &Signature, now: Now) -> Vec<Vec<u8>> {
        let replies = match Message::from_vec(request) {
            Ok(message) => self.replies(&message, machine, now),
            Err(_) => formerr(request).and_then(|bytes| Message::from_vec(&bytes).ok()).into_iter().collect(),
        };
        let mut signed = Vec::with_capacity(replies.len());
        let mut prior = signature.mac.clone();
        for (index, reply) in replies.iter().enumerate() {
            let Ok(mut bytes) = reply.to_vec() else { break };
            let chain = if index == 0 { Chain::First(&prior) } else { Chain::Next(&prior) };
            prior = tsig::sign(&mut bytes, key, chain, Timers::at(now.wall));
            signed.push(bytes);
        }
        signed
    }

    fn replies(&mut self, request: &Message, machine: &MachineName, now: Now) -> Vec<Message> {
        self.expire(now.monotonic);
        let mut reply = Message::response(request.metadata.id, request.metadata.op_code);
        reply.metadata.recursion_desired = request.metadata.recursion_desired;
        reply.add_queries(request.queries.iter().take(1).cloned());
        if let Some(edns) = &request.edns {
            let mut ours = Edns::new();
            ours.set_max_payload(4096);
            reply.set_edns(ours);
            if edns.version() != 0 {
                reply.metadata.response_code = ResponseCode::BADVERS;
                return vec![reply];
            }
        }
        let [question] = request.queries.as_slice() else {
            reply.metadata.response_code = ResponseCode::FormErr;
            return vec![reply];
        };
        match request.metadata.op_code {
            OpCode::Query => self.query(question, reply),
            OpCode::Update => vec![self.update(question, request, reply, machine, now)],
            _ => {
                reply.metadata.response_code = ResponseCode::NotImp;
                vec![reply]
            }
        }
    }

    fn query(&self, question: &Query, mut reply: Message) -> Vec<Message> {
        if !self.zone.origin().zone_of(&question.name) || !matches!(question.query_class, DNSClass::IN | DNSClass::ANY) {
            reply.metadata.response_code = ResponseCode::Refused;
            return vec![reply];
        }
        reply.metadata.authoritative = true;
        match question.query_type {
            RecordType::AXFR if question.name == *self.zone.origin() => return transfer(&reply, self.zone.transfer()),
            RecordType::AXFR => reply.metadata.response_code = ResponseCode::NotAuth,
            RecordType::IXFR => reply.metadata.response_code = ResponseCode::NotImp,
            kind => match self.zone.lookup(&question.name, kind) {
                Answer::Records(records) => {
                    reply.add_answers(records);
                }
                absent => {
                    reply.add_authority(self.zone.soa());
                    if absent == Answer::NxDomain {
                        reply.metadata.response_code = ResponseCode::NXDomain;
                    }
                }
            },
        }
        vec![reply]
    }

    fn update(&mut self, zone: &Query, request: &Message, mut reply: Message, machine: &MachineName, now: Now) -> Message {
        reply.metadata.response_code = match self.try_update(zone, request, machine, now, &mut reply) {
            Ok(()) => ResponseCode::NoError,
            Err(code) => code,
        };
        reply
    }

    fn try_update(
        &mut self,
        zone: &Query,
        request: &Message,
        machine: &MachineName,
        now: Now,
        reply: &mut Message,
    ) -> Result<(), ResponseCode> {
        if zone.query_type != RecordType::SOA || zone.query_class != DNSClass::IN {
            return Err(ResponseCode::FormErr);
        }
        if zone.name != *self.zone.origin() {
            return Err(ResponseCode::NotAuth);
        }
        let asked = request.edns.as_ref().map(UpdateLease::from_edns).transpose().map_err(|_| ResponseCode::FormErr)?.flatten();
        let lease = self.zone.limits().grant(asked.map_or(ASKED, |asked| asked.lease));
        let update = Update { machine, prerequisites: &request.answers, changes: &request.authorities, lease };
        self.zone.update(&update, now.monotonic).map_err(|error: UpdateError| error.response_code())?;
        self.unsaved = true;
        if let (Some(asked), Some(edns)) = (asked, &mut reply.edns) {
            let granted = u32::try_from(lease.as_secs()).unwrap_or(u32::MAX);
            UpdateLease { lease: granted, key_lease: asked.key_lease.map(|_| granted) }.add_to(edns);
        }
        Ok(())
    }

    /// The apex as text, for messages to people.
    pub fn origin(&self) -> &Name {
        self.zone.origin()
    }
}

/// Splits a transfer into messages (RFC 5936 §2.2): the question in the first only.
fn transfer(template: &Message, records: Vec<Record>) -> Vec<Message> {
    records
        .chunks(RECORDS_PER_MESSAGE)
        .enumerate()
        .map(|(index, chunk)| {
            let mut message = template.clone();
            if index > 0 {
                message.queries.clear();
            }
            message.add_answers(chunk.iter().cloned());
            message
        })
        .collect()
}

/// A reply to what was not understood: just a header, when there is an id to answer.
fn formerr(request: &[u8]) -> Option<Vec<u8>> {
    let [id_high, id_low, flags, ..] = *request.get(..12)? else { return None };
    if flags & 0x80 != 0 {
        return None;
    }
    Some(vec![id_high, id_low, 0x80 | (flags & 0x79), 1, 0, 0, 0, 0, 0, 0, 0, 0])
}

/// A header and the question, made without parsing further.
fn bare(outline: &Outline, code: ResponseCode) -> Vec<u8> {
    let [flags, _] = outline.flags.to_be_bytes();
    let [id_high, id_low] = outline.id.to_be_bytes();
    let questions = u8::from(outline.question.is_some());
    let mut reply = vec![id_high, id_low, 0x80 | (flags & 0x79), code.low(), 0, questions, 0, 0, 0, 0, 0, 0];
    reply.extend(outline.question.iter().flatten());
    reply
}

fn refusal(outline: &Outline, signature: &Signature, error: u16) -> Vec<u8> {
    let mut reply = bare(outline, ResponseCode::NotAuth);
    tsig::append_unsigned(&mut reply, &signature.key, Timers { time: signature.time, fudge: tsig::FUDGE, error, other: &[] });
    reply
}

fn signed_refusal(outline: &Outline, signature: &Signature, key: &Key, timers: Timers) -> Vec<u8> {
    let mut reply = bare(outline, ResponseCode::NotAuth);
    tsig::sign(&mut reply, key, Chain::First(&signature.mac), timers);
    reply
}
