//! The members' end of the zone: signed requests out, verified answers in. Nothing unsigned is believed, except that it was refused.

use hickory_proto::op::{Edns, Message, MessageType, OpCode, Query, ResponseCode};
use hickory_proto::rr::{DNSClass, Name, RData, Record, RecordType};

use super::lease::UpdateLease;
use super::outline::{CanonicalName, Malformed, Outline};
use super::tsig::{self, Chain, Failure, Key, Timers, TsigSecret};
use crate::account::name::{MachineName, ZoneName};

/// The most records and messages of one transfer.
const MAX_RECORDS: usize = 64 * 1024;
const MAX_MESSAGES: usize = 4096;

/// Why an answer is none, in words for a person.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ClientError {
    /// Not DNS, or not the answer to this question.
    #[error("the base sent something that is not a DNS answer")]
    Malformed,
    /// Refused without looking further.
    #[error("the base does not know this machine's key; was the machine removed from the account?")]
    UnknownKey,
    /// The base has another secret under our name.
    #[error("the base has another secret for this machine; join again")]
    WrongSecret,
    /// Clocks apart by more than the fudge. Positive: ours is ahead.
    #[error("this machine's clock is {} s {} the base's", .skew.unsigned_abs(), if *.skew > 0 { "ahead of" } else { "behind" })]
    Clock {
        /// Seconds.
        skew: i64,
    },
    /// The answer's own signature does not hold.
    #[error("the base's answer cannot be believed: {0}")]
    Unbelievable(Failure),
    /// An unsigned answer that is not one of the known refusals.
    #[error("the base's answer is not signed ({0})")]
    Unsigned(ResponseCode),
    /// Understood, and no.
    #[error("the base said {0} to {1}")]
    Refused(ResponseCode, &'static str),
    /// A transfer that does not begin or end with the SOA, or is too long.
    #[error("the base sent a damaged zone")]
    DamagedZone,
}

impl From<Malformed> for ClientError {
    fn from(Malformed: Malformed) -> Self {
        Self::Malformed
    }
}

/// Makes signed requests for one machine.
#[derive(Clone, Debug)]
pub struct Client {
    origin: Name,
    key: Key,
}

impl Client {
    /// For `machine` of `zone`.
    pub fn new(machine: &MachineName, zone: &ZoneName, secret: TsigSecret) -> Result<Self, Malformed> {
        let origin = Name::from_ascii(format!("{zone}.")).map_err(|_| Malformed)?;
        let name = CanonicalName::from_text(&machine.in_zone(zone))?;
        Ok(Self { origin, key: Key { name, secret } })
    }

    /// Asks for records of `kind` at `name`. `wall` is in seconds since 1970.
    pub fn query(&self, name: &Name, kind: RecordType, id: u16, wall: u64) -> Exchange {
        let mut message = Message::new(id, MessageType::Query, OpCode::Query);
        message.add_query(Query::query(name.clone(), kind));
        Exchange::new(&message, &self.key, wall, if kind == RecordType::AXFR { "a transfer" } else { "a query" })
    }

    /// Asks for the zone's SOA.
    pub fn serial(&self, id: u16, wall: u64) -> Exchange {
        self.query(&self.origin, RecordType::SOA, id, wall)
    }

    /// Asks for the whole zone.
    pub fn transfer(&self, id: u16, wall: u64) -> Exchange {
        self.query(&self.origin, RecordType::AXFR, id, wall)
    }

    /// Asks for `changes` (see [`super::records`]), to live for `lease` seconds.
    pub fn update(&self, changes: &[Record], lease: u32, id: u16, wall: u64) -> Exchange {
        let mut message = Message::new(id, MessageType::Query, OpCode::Update);
        let mut zone = Query::query(self.origin.clone(), RecordType::SOA);
        zone.set_query_class(DNSClass::IN);
        message.add_query(zone);
        message.add_authorities(changes.iter().cloned());
        let mut edns = Edns::new();
        edns.set_max_payload(4096);
        UpdateLease { lease, key_lease: None }.add_to(&mut edns);
        message.set_edns(edns);
        Exchange::new(&message, &self.key, wall, "an update")
    }
}

/// A complete, verified answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reply {
    /// NOERROR or NXDOMAIN.
    pub code: ResponseCode,
    /// The answer section; of a transfer everything once, SOA first.
    pub answers: Vec<Record>,
    /// The lease granted, in seconds.
    pub lease: Option<u32>,
}

impl Reply {
    /// The serial in a SOA answer.
    pub fn serial(&self) -> Option<u32> {
        self.answers.iter().find_map(|record| match &record.data {
            RData::SOA(soa) => Some(soa.serial),
            _ => None,
        })
    }
}

/// One request and what has come back so far.
#[derive(Debug)]
pub struct Exchange {
    /// To be sent.
    pub request: Vec<u8>,
    /// Its message id.
    pub id: u16,
    key: Key,
    prior: Vec<u8>,
    signed_at: u64,
    what: &'static str,
    messages: usize,
    answers: Vec<Record>,
    is_transfer: bool,
}

impl Exchange {
    fn new(message: &Message, key: &Key, wall: u64, what: &'static str) -> Self {
        // An update of more records than fit is truncated by the encoder and will be refused; ours never come near.
        let mut request = message.to_vec().unwrap_or_default();
        let prior = tsig::sign(&mut request, key, Chain::Request, Timers::at(wall));
        let is_transfer = message.queries.iter().any(|query| query.query_type == RecordType::AXFR);
        let id = message.metadata.id;
        Self { request, id, key: key.clone(), prior, signed_at: wall, what, messages: 0, answers: Vec::new(), is_transfer }
    }

    /// Takes one message in; `None` while more are to come.
    pub fn accept(&mut self, bytes: &[u8], wall: u64) -> Result<Option<Reply>, ClientError> {
        let outline = Outline::read(bytes)?;
        if !outline.is_response() || outline.id != self.id {
            return Err(ClientError::Malformed);
        }
        self.verify(bytes, &outline, wall)?;
        let message = Message::from_vec(bytes).map_err(|_| ClientError::Malformed)?;
        let code = message.metadata.response_code;
        if !matches!(code, ResponseCode::NoError | ResponseCode::NXDomain) {
            return Err(ClientError::Refused(code, self.what));
        }
        let lease = message.edns.as_ref().and_then(|edns| UpdateLease::from_edns(edns).ok().flatten()).map(|granted| granted.lease);
        self.messages += 1;
        self.answers.extend(message.answers);
        if self.is_transfer && !self.transfer_is_complete()? {
            return Ok(None);
        }
        Ok(Some(Reply { code, answers: std::mem::take(&mut self.answers), lease }))
    }

    fn verify(&mut self, bytes: &[u8], outline: &Outline, wall: u64) -> Result<(), ClientError> {
        let code = ResponseCode::from(0, (outline.flags & 0xf) as u8);
        let Some(signature) = &outline.signature else { return Err(ClientError::Unsigned(code)) };
        match signature.error {
            tsig::BADKEY => return Err(ClientError::UnknownKey),
            tsig::BADSIG => return Err(ClientError::WrongSecret),
            _ => {}
        }
        let chain = if self.messages == 0 { Chain::First(&self.prior) } else { Chain::Next(&self.prior) };
        match tsig::verify(bytes, outline, signature, &self.key, chain, wall) {
            Err(Failure::BadTime { skew }) => return Err(ClientError::Clock { skew: skew.saturating_neg() }),
            Err(failure) => return Err(ClientError::Unbelievable(failure)),
            Ok(()) => {}
        }
        if signature.error == tsig::BADTIME {
            let theirs = signature.other.iter().take(6).fold(0_i64, |sum, octet| sum << 8 | i64::from(*octet));
            return Err(ClientError::Clock { skew: i64::try_from(self.signed_at).unwrap_or(i64::MAX).saturating_sub(theirs) });
        }
        self.prior = signature.mac.clone();
        Ok(())
    }

    /// Begins and ends with the same SOA (RFC 5936 §2.2); the last one is dropped.
    fn transfer_is_complete(&mut self) -> Result<bool, ClientError> {
        let is_soa = |record: &Record| record.record_type() == RecordType::SOA;
        if !self.answers.first().is_some_and(is_soa) || self.answers.len() > MAX_RECORDS || self.messages > MAX_MESSAGES {
            return Err(ClientError::DamagedZone);
        }
        let Some(again) = self.answers.iter().skip(1).position(is_soa) else { return Ok(false) };
        if again + 2 != self.answers.len() || self.answers.first().map(|soa| &soa.data) != self.answers.last().map(|soa| &soa.data) {
            return Err(ClientError::DamagedZone);
        }
        self.answers.pop();
        Ok(true)
    }
}
