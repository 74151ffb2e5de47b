//! DNS messages as the stub sees them: one question in, one answer out.

use std::net::Ipv6Addr;

use hickory_proto::op::{Edns, Header, Message, MessageType, OpCode, Query, ResponseCode};
use hickory_proto::rr::rdata::opt::EdnsOption;
use hickory_proto::rr::rdata::{AAAA, NS, PTR, SOA};
use hickory_proto::rr::{DNSClass, Name, RData, Record, RecordType};
use hickory_proto::serialize::binary::{BinDecodable, BinDecoder};

/// The largest answer over UDP that we offer and accept (DNS flag day 2020).
const UDP_PAYLOAD: u16 = 1232;
/// Over UDP without EDNS (RFC 1035 §4.2.1).
const PLAIN_PAYLOAD: u16 = 512;
/// EDNS option of RFC 8914.
const EXTENDED_ERROR: u16 = 15;
/// Longest cause put into an answer, in octets.
const CAUSE_MAX: usize = 200;

/// INFO-CODEs of RFC 8914 §4 that the stub uses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u16)]
pub(super) enum ErrorCode {
    Other = 0,
    NotReady = 14,
    NotAuthoritative = 20,
    NoReachableAuthority = 22,
    NetworkError = 23,
}

/// A well-formed question of class IN.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Question {
    id: u16,
    query: Query,
    recursion_desired: bool,
    checking_disabled: bool,
    /// The asker's largest UDP payload, if it speaks EDNS.
    edns: Option<u16>,
}

/// What came in.
#[derive(Debug)]
pub(super) enum Incoming {
    Question(Question),
    /// Not a question that can be answered: this error goes back.
    Error(Vec<u8>),
    /// Not a question at all.
    Noise,
}

/// The rest of an answer.
#[derive(Debug, Default)]
pub(super) struct Content {
    pub code: ResponseCode,
    pub answers: Vec<Record>,
    pub authorities: Vec<Record>,
    pub error: Option<(ErrorCode, String)>,
}

/// Reads a query.
pub(super) fn parse(bytes: &[u8]) -> Incoming {
    let Ok(header) = Header::read(&mut BinDecoder::new(bytes)) else { return Incoming::Noise };
    if header.metadata.message_type == MessageType::Response {
        return Incoming::Noise;
    }
    let error = |code| Incoming::Error(bare_error(header.metadata.id, header.metadata.op_code, code));
    if header.metadata.op_code != OpCode::Query {
        return error(ResponseCode::NotImp);
    }
    let Ok(message) = Message::from_vec(bytes) else { return error(ResponseCode::FormErr) };
    let [query] = message.queries.as_slice() else { return error(ResponseCode::FormErr) };
    let question = Question {
        id: message.metadata.id,
        query: query.clone(),
        recursion_desired: message.metadata.recursion_desired,
        checking_disabled: message.metadata.checking_disabled,
        edns: message.edns.as_ref().map(|edns| edns.max_payload().max(PLAIN_PAYLOAD)),
    };
    if message.edns.as_ref().is_some_and(|edns| edns.version() != 0) {
        return Incoming::Error(question.answer(Content::code(ResponseCode::BADVERS), true));
    }
    if query.query_class() != DNSClass::IN {
        return Incoming::Error(question.answer(Content::code(ResponseCode::Refused), true));
    }
    Incoming::Question(question)
}

fn bare_error(id: u16, op_code: OpCode, code: ResponseCode) -> Vec<u8> {
    Message::error_msg(id, op_code, code).to_vec().unwrap_or_default()
}

impl Question {
    /// The name asked for, in the asker's case.
    pub fn name(&self) -> &Name {
        self.query.name()
    }

    /// The record type asked for.
    pub fn kind(&self) -> RecordType {
        self.query.query_type()
    }

    /// The answer's bytes. Too long for UDP: truncated, with TC set.
    pub fn answer(&self, content: Content, udp: bool) -> Vec<u8> {
        let mut message = Message::response(self.id, OpCode::Query);
        message.metadata.recursion_desired = self.recursion_desired;
        message.metadata.checking_disabled = self.checking_disabled;
        message.metadata.recursion_available = true;
        message.metadata.authoritative = !matches!(content.code, ResponseCode::Refused | ResponseCode::ServFail | ResponseCode::BADVERS);
        message.metadata.response_code = content.code;
        message.add_query(self.query.clone());
        message.add_answers(content.answers);
        message.add_authorities(content.authorities);
        if self.edns.is_some() {
            let mut edns = Edns::new();
            edns.set_max_payload(UDP_PAYLOAD).set_version(0).set_rcode_high(content.code.high());
            if let Some((code, text)) = content.error {
                edns.options_mut().insert(extended_error(code, &text));
            }
            message.set_edns(edns);
        }
        let limit = usize::from(self.edns.unwrap_or(PLAIN_PAYLOAD).min(UDP_PAYLOAD));
        match message.to_vec() {
            Ok(bytes) if !udp || bytes.len() <= limit => bytes,
            _ => {
                message.metadata.truncation = true;
                message.answers.clear();
                message.authorities.clear();
                message.to_vec().unwrap_or_else(|_| bare_error(self.id, OpCode::Query, ResponseCode::ServFail))
            }
        }
    }
}

impl Content {
    /// Only a response code.
    pub fn code(code: ResponseCode) -> Self {
        Self { code, ..Self::default() }
    }

    /// A positive answer.
    pub fn found(record: Record) -> Self {
        Self { answers: vec![record], ..Self::default() }
    }

    /// NODATA or NXDOMAIN, with the SOA that says how long it holds (RFC 2308).
    pub fn negative(code: ResponseCode, soa: Record) -> Self {
        Self { code, authorities: vec![soa], ..Self::default() }
    }

    /// A failure, with its cause for people.
    pub fn failure(code: ResponseCode, error: ErrorCode, cause: impl Into<String>) -> Self {
        Self { code, error: Some((error, cause.into())), ..Self::default() }
    }
}

fn extended_error(code: ErrorCode, text: &str) -> EdnsOption {
    let end = (0..=text.len().min(CAUSE_MAX)).rev().find(|end| text.is_char_boundary(*end)).unwrap_or(0);
    let mut data = (code as u16).to_be_bytes().to_vec();
    data.extend_from_slice(text.get(..end).unwrap_or_default().as_bytes());
    EdnsOption::Unknown(EXTENDED_ERROR, data)
}

/// An AAAA record that keeps the asker's spelling of the name.
pub(super) fn aaaa(name: &Name, ttl: u32, address: Ipv6Addr) -> Record {
    Record::from_rdata(name.clone(), ttl, RData::AAAA(AAAA(address)))
}

/// A PTR record.
pub(super) fn ptr(name: &Name, ttl: u32, target: Name) -> Record {
    Record::from_rdata(name.clone(), ttl, RData::PTR(PTR(target)))
}

/// The NS record of a zone that only this stub serves.
pub(super) fn ns(zone: Name, ttl: u32, server: Name) -> Record {
    Record::from_rdata(zone, ttl, RData::NS(NS(server)))
}

/// The SOA record of such a zone. `ttl` is also how long a negative answer holds.
pub(super) fn soa(zone: Name, ttl: u32, server: Name) -> Record {
    let mailbox = Name::from_ascii("hostmaster").and_then(|name| name.append_domain(&zone)).unwrap_or_else(|_| zone.clone());
    Record::from_rdata(zone, ttl, RData::SOA(SOA::new(server, mailbox, 1, 3600, 600, 86400, ttl)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_too_long_for_udp_is_cut_and_says_so_and_tcp_gets_all() {
        let name = Name::from_ascii("a.b.").unwrap();
        let mut query = Message::query();
        query.add_query(Query::query(name.clone(), RecordType::AAAA));
        let Incoming::Question(question) = parse(&query.to_vec().unwrap()) else { panic!("not a question") };
        let content = || Content { answers: vec![aaaa(&name, 1, Ipv6Addr::LOCALHOST); 40], ..Content::default() };
        let udp = question.answer(content(), true);
        let cut = Message::from_vec(&udp).unwrap();
        assert!(udp.len() <= 512 && cut.metadata.truncation && cut.answers.is_empty() && cut.queries == query.queries);
        let whole = Message::from_vec(&question.answer(content(), false)).unwrap();
        assert!(!whole.metadata.truncation && whole.answers.len() == 40);
    }
}
