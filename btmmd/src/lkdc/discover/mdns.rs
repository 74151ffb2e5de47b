//! TXT `_kerberos.<host>.local` by multicast DNS (RFC 6762): the realm of a machine, for those on its home network.
//!
//! One record, shared (nobody but this machine answers for it, but it is not probed for), beside whatever responder the machine has: avahi
//! and systemd-resolved share port 5353, and neither takes such a record from others without rights of its own.
pub mod driver;

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use hickory_proto::op::{Message, MessageType, OpCode};
use hickory_proto::rr::rdata::TXT;
use hickory_proto::rr::{DNSClass, Name, RData, Record, RecordType};

use crate::lkdc::name::RealmName;

/// The port of multicast DNS.
pub const PORT: u16 = 5353;
/// The largest message that is looked at (RFC 6762 §17).
pub const MAX_MESSAGE: usize = 9000;
/// Seconds that a reader may keep the record (RFC 6762 §10: a record that depends on a host's name).
const TTL: u32 = 120;
/// The same for one who asks as if it were ordinary DNS (§6.7).
const LEGACY_TTL: u32 = 10;
/// Between two times that the record is said to everybody.
const PACE: Duration = Duration::from_secs(1);
/// In a question's class: the answer may come by unicast (§5.4).
const UNICAST: u16 = 0x8000;

/// What is to be sent, and where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reply {
    /// To everybody.
    Multicast(Vec<u8>),
    /// To the one who asked.
    Unicast(Vec<u8>),
}

/// How often the record is said to everybody on one network, whoever asks: once a second at the most (RFC 6762 §6).
#[derive(Clone, Debug, Default)]
pub struct Pace {
    last: Option<Instant>,
}

impl Pace {
    /// Takes note that it was said.
    pub fn said(&mut self, now: Instant) {
        self.last = Some(now);
    }

    /// Whether it may be said again.
    pub fn may_say(&self, now: Instant) -> bool {
        self.last.is_none_or(|last| now.saturating_duration_since(last) >= PACE)
    }
}

/// The record of this machine.
#[derive(Clone, Debug)]
pub struct Announcement {
    name: Name,
    realm: String,
}

impl Announcement {
    /// For the host with this name, of which the first label counts. None where that is no label of DNS.
    pub fn new(host: &str, realm: &RealmName) -> Option<Self> {
        let label = host.split('.').next().filter(|label| !label.is_empty())?;
        let name = Name::from_labels([b"_kerberos".as_slice(), label.as_bytes(), b"local"]).ok()?;
        Some(Self { name, realm: realm.to_string() })
    }

    /// Said unasked, when this machine appears on a network.
    pub fn said(&self) -> Vec<u8> {
        self.response(None, TTL)
    }

    /// Said when the realm is no longer served (§10.1).
    pub fn goodbye(&self) -> Vec<u8> {
        self.response(None, 0)
    }

    /// The reply to a message from `asker`, if it asks for the record and does not know it yet.
    pub fn answer(&self, message: &[u8], asker: SocketAddr) -> Option<Reply> {
        if message.len() > MAX_MESSAGE {
            return None;
        }
        let query = Message::from_vec(message).ok()?;
        if query.metadata.message_type != MessageType::Query || query.metadata.op_code != OpCode::Query {
            return None;
        }
        let question = query.queries.iter().find(|question| {
            let class = u16::from(question.query_class()) & !UNICAST;
            let class_fits = class == u16::from(DNSClass::IN) || class == u16::from(DNSClass::ANY);
            class_fits && matches!(question.query_type(), RecordType::TXT | RecordType::ANY) && *question.name() == self.name
        })?;
        if asker.port() != PORT {
            return Some(Reply::Unicast(self.response(Some(&query), LEGACY_TTL)));
        }
        // §7.1: it has the record for at least half of its life.
        if query.answers.iter().any(|known| known.name == self.name && known.data == self.data() && known.ttl >= TTL / 2) {
            return None;
        }
        let unicast = u16::from(question.query_class()) & UNICAST != 0;
        Some(if unicast { Reply::Unicast(self.said()) } else { Reply::Multicast(self.said()) })
    }

    fn data(&self) -> RData {
        RData::TXT(TXT::new(vec![self.realm.clone()]))
    }

    /// For one who asks as if it were ordinary DNS, with the question and its number.
    fn response(&self, query: Option<&Message>, ttl: u32) -> Vec<u8> {
        let mut message = Message::response(query.map_or(0, |query| query.metadata.id), OpCode::Query);
        message.metadata.authoritative = true;
        if let Some(query) = query {
            message.add_queries(query.queries.iter().filter(|question| *question.name() == self.name).take(1).cloned());
        }
        message.add_answer(Record::from_rdata(self.name.clone(), ttl, self.data()));
        message.to_vec().unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use hickory_proto::op::Query;

    use super::*;

    fn announcement() -> Announcement {
        Announcement::new("imac.example", &RealmName::of_key(b"key")).expect("a label")
    }

    fn neighbour() -> SocketAddr {
        SocketAddr::from(([192, 168, 1, 9], PORT))
    }

    fn query(name: &str, kind: RecordType, class: u16) -> Message {
        let mut query = Query::query(Name::from_ascii(name).expect("a name"), kind);
        query.set_query_class(DNSClass::from(class));
        let mut message = Message::query();
        message.add_query(query);
        message
    }

    fn realm_in(octets: &[u8]) -> (String, u32) {
        let message = Message::from_vec(octets).expect("a message");
        assert!(message.metadata.authoritative && message.metadata.message_type == MessageType::Response);
        let [record] = message.answers.as_slice() else { panic!("{message:?}") };
        let RData::TXT(txt) = &record.data else { panic!("{record:?}") };
        (String::from_utf8_lossy(&txt.txt_data.concat()).into_owned(), record.ttl)
    }

    #[test]
    fn who_asks_for_the_realm_of_the_host_is_told_and_nobody_else() {
        let announcement = announcement();
        let answer = |name: &str, kind, class| announcement.answer(&query(name, kind, class).to_vec().expect("octets"), neighbour());
        for (name, kind) in [("_kerberos.imac.local.", RecordType::TXT), ("_Kerberos.IMAC.local.", RecordType::ANY)] {
            let Some(Reply::Multicast(octets)) = answer(name, kind, 1) else { panic!("{name}") };
            assert_eq!(realm_in(&octets), (announcement.realm.clone(), TTL));
        }
        assert!(matches!(answer("_kerberos.imac.local.", RecordType::TXT, 0x8001), Some(Reply::Unicast(_))));
        for (name, kind, class) in [
            ("imac.local.", RecordType::TXT, 1),
            ("_kerberos.laptop.local.", RecordType::TXT, 1),
            ("_kerberos.imac.local.", RecordType::A, 1),
            ("_kerberos.imac.local.", RecordType::TXT, 3),
        ] {
            assert_eq!(answer(name, kind, class), None, "{name} {kind} {class}");
        }
    }

    #[test]
    fn who_asks_as_in_ordinary_dns_gets_the_question_back_and_a_short_life() {
        let mut question = query("_kerberos.imac.local.", RecordType::TXT, 1);
        question.metadata.id = 4711;
        let asker = SocketAddr::from(([192, 168, 1, 9], 40_000));
        let Some(Reply::Unicast(octets)) = announcement().answer(&question.to_vec().expect("octets"), asker) else { panic!("silent") };
        let message = Message::from_vec(&octets).expect("a message");
        assert_eq!((message.metadata.id, message.queries.len(), realm_in(&octets).1), (4711, 1, LEGACY_TTL));
    }

    #[test]
    fn who_knows_it_already_is_not_told_again_until_half_of_its_life() {
        let announcement = announcement();
        for (ttl, silent) in [(TTL, true), (TTL / 2, true), (TTL / 2 - 1, false)] {
            let mut question = query("_kerberos.imac.local.", RecordType::TXT, 1);
            question.add_answer(Record::from_rdata(announcement.name.clone(), ttl, announcement.data()));
            let answer = announcement.answer(&question.to_vec().expect("octets"), neighbour());
            assert_eq!(answer.is_none(), silent, "{ttl}");
        }
        assert_eq!(realm_in(&announcement.goodbye()).1, 0);
    }

    #[test]
    fn everybody_is_told_once_a_second_at_the_most() {
        let (mut pace, start) = (Pace::default(), Instant::now());
        assert!(pace.may_say(start));
        pace.said(start);
        assert!(!pace.may_say(start) && !pace.may_say(start + PACE - Duration::from_millis(1)));
        assert!(pace.may_say(start + PACE));
    }

    #[test]
    fn what_is_no_question_is_not_answered() {
        let announcement = announcement();
        for message in [&b""[..], b"\0", &[0xff; 40], &announcement.said(), &vec![0; MAX_MESSAGE + 1]] {
            assert_eq!(announcement.answer(message, neighbour()), None);
        }
        assert!(Announcement::new("", &RealmName::of_key(b"key")).is_none());
        assert!(Announcement::new(&"x".repeat(64), &RealmName::of_key(b"key")).is_none());
    }
}
