//! A base and three members, in a time of our own.
use std::time::{Duration, Instant};

use btmmd::account::name::{MachineName, ZoneName};
use btmmd::rendezvous::client::{Client, ClientError, Exchange, Reply};
use btmmd::rendezvous::outline::{CanonicalName, Outline};
use btmmd::rendezvous::records::{Advertisement, Candidate, CandidateKind, Filter, read_zone};
use btmmd::rendezvous::server::Server;
use btmmd::rendezvous::tsig::{Chain, Key, Timers, TsigSecret};
use btmmd::rendezvous::zone::{Limits, Zone};
use btmmd::rendezvous::{Now, tsig};
use hickory_proto::op::{Message, MessageType, OpCode, Query, ResponseCode};
use hickory_proto::rr::rdata::A;
use hickory_proto::rr::{DNSClass, Name, RData, Record, RecordType};

pub const WALL: u64 = 1_800_000_000;

pub fn zone() -> ZoneName {
    "alice.btmm.internal".parse().unwrap()
}

pub fn machine(name: &str) -> MachineName {
    name.parse().unwrap()
}

pub fn secret(seed: u8) -> TsigSecret {
    TsigSecret::new(&[seed; 32]).unwrap()
}

pub fn name(text: &str) -> Name {
    Name::from_ascii(format!("{text}.alice.btmm.internal.")).unwrap()
}

pub fn advertisement(machine_name: &str) -> Advertisement {
    Advertisement {
        machine: machine(machine_name),
        inner: "fd12:3456:789a::1".parse().unwrap(),
        candidates: vec![
            Candidate { kind: CandidateKind::Mapped, address: "203.0.113.7:49152".parse().unwrap() },
            Candidate { kind: CandidateKind::Local, address: "192.168.1.7:4500".parse().unwrap() },
        ],
        nat: "mapped".to_owned(),
        version: "0.1.0".to_owned(),
        realm: "LKDC:SHA256.0123".to_owned(),
    }
}

pub struct World {
    pub server: Server,
    pub start: Instant,
    pub now: Now,
}

impl World {
    pub fn new() -> Self {
        let start = Instant::now();
        let mut server = Server::new(zone(), Zone::new(&zone(), &machine("base"), Limits::default(), 7));
        for (index, member) in ["base", "imac", "laptop"].into_iter().enumerate() {
            server.set_key(&machine(member), secret(index as u8));
        }
        Self { server, start, now: Now { monotonic: start, wall: WALL } }
    }

    pub fn pass(&mut self, time: Duration) {
        self.now = Now { monotonic: self.now.monotonic + time, wall: self.now.wall + time.as_secs() };
    }

    pub fn raw(&mut self, request: &[u8]) -> Vec<Vec<u8>> {
        self.server.handle(request, self.now).messages
    }

    /// The only reply: its code and TSIG error, and whether it carries a MAC.
    pub fn refusal(&mut self, request: &[u8]) -> (ResponseCode, u16, bool) {
        let replies = self.raw(request);
        assert_eq!(replies.len(), 1);
        let message = Message::from_vec(&replies[0]).unwrap();
        assert!(message.answers.is_empty() && message.metadata.message_type == MessageType::Response);
        let signature = Outline::read(&replies[0]).unwrap().signature;
        (message.metadata.response_code, signature.as_ref().map_or(0, |s| s.error), signature.is_some_and(|s| !s.mac.is_empty()))
    }

    pub fn ask(&mut self, who: &str, make: impl Fn(&Client, u64) -> Exchange) -> Result<Reply, ClientError> {
        let mut exchange = make(&client(who), self.now.wall);
        for message in self.raw(&exchange.request.clone()) {
            if let Some(reply) = exchange.accept(&message, self.now.wall)? {
                return Ok(reply);
            }
        }
        panic!("the reply is incomplete");
    }

    pub fn update(&mut self, who: &str, changes: &[Record]) -> Result<Reply, ClientError> {
        self.ask(who, |client, wall| client.update(changes, 7200, 1, wall))
    }

    pub fn publish(&mut self, who: &str) {
        self.update(who, &advertisement(who).to_update(&zone()).unwrap()).unwrap();
    }

    pub fn transfer(&mut self, who: &str) -> Vec<Record> {
        self.ask(who, |client, wall| client.transfer(2, wall)).unwrap().answers
    }

    pub fn machines(&mut self) -> Vec<String> {
        let records = self.transfer("base");
        read_zone(&zone(), &records, Filter::default()).into_keys().map(String::from).collect()
    }

    pub fn serial(&mut self) -> u32 {
        self.ask("laptop", |client, wall| client.serial(3, wall)).unwrap().serial().unwrap()
    }

    pub fn code(&mut self, prerequisites: &[Record], changes: &[Record]) -> ResponseCode {
        let mut message = Message::new(9, MessageType::Query, OpCode::Update);
        message.add_query(Query::query(Name::from_ascii("alice.btmm.internal.").unwrap(), RecordType::SOA));
        message.add_answers(prerequisites.iter().cloned()).add_authorities(changes.iter().cloned());
        let mut bytes = message.to_vec().unwrap();
        sign(&mut bytes, "imac", 1, self.now.wall);
        Message::from_vec(&self.raw(&bytes)[0]).unwrap().metadata.response_code
    }
}

pub fn client(who: &str) -> Client {
    let seed = ["base", "imac", "laptop"].iter().position(|known| *known == who).map_or(99, |index| index as u8);
    Client::new(&machine(who), &zone(), secret(seed)).unwrap()
}

pub fn key(who: &str, seed: u8) -> Key {
    Key { name: CanonicalName::from_text(&machine(who).in_zone(&zone())).unwrap(), secret: secret(seed) }
}

pub fn sign(bytes: &mut Vec<u8>, who: &str, seed: u8, wall: u64) {
    tsig::sign(bytes, &key(who, seed), Chain::Request, Timers::at(wall));
}

pub fn query(kind: RecordType) -> Vec<u8> {
    let mut message = Message::new(77, MessageType::Query, OpCode::Query);
    message.add_query(Query::query(name("imac"), kind));
    message.to_vec().unwrap()
}

pub fn of_class(mut record: Record, class: DNSClass) -> Record {
    record.dns_class = class;
    record.ttl = 0;
    record
}

pub fn address(owner: &str, last: u8) -> Record {
    Record::from_rdata(name(owner), 120, RData::A(A::new(192, 0, 2, last)))
}

pub fn condition(owner: &str, kind: RecordType, class: DNSClass) -> Record {
    of_class(Record::update0(name(owner), 0, kind), class)
}
