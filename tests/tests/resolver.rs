//! The stub in virtual time, read with a DNS library as an asker would.

use std::time::{Duration, Instant};

use btmmd::resolver::{Asker, Command, Config, Input, Stub, Table};
use hickory_proto::op::{Edns, Message, OpCode, Query, ResponseCode};
use hickory_proto::rr::rdata::opt::{EdnsCode, EdnsOption};
use hickory_proto::rr::{DNSClass, Name, RData, RecordType};

const LAPTOP: &str = "laptop.alice.btmm.internal.";
const UDP: Asker = Asker::Udp(std::net::SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), 40000));

struct Bench {
    stub: Stub,
    now: Instant,
    id: u16,
    wanted: Vec<String>,
    answers: Vec<(Asker, Message)>,
}

impl Bench {
    fn new() -> Self {
        Self::with(Config::default())
    }

    fn with(config: Config) -> Self {
        let mut bench = Self { stub: Stub::new(config), now: Instant::now(), id: 0, wanted: Vec::new(), answers: Vec::new() };
        bench.give(Input::Table(Some(table(&[
            ("imac", "fd12:3456:789a::1"),
            ("laptop", "fd12:3456:789a::2"),
            ("tv", "fd12:3456:789a::3"),
        ]))));
        bench
    }

    fn give(&mut self, input: Input) {
        self.stub.handle(input, self.now);
        while let Some(command) = self.stub.poll_command() {
            match command {
                Command::Answer { to, bytes } => self.answers.push((to, Message::from_vec(&bytes).expect("a well-formed answer"))),
                Command::WantTunnel(machine) => self.wanted.push(machine.to_string()),
            }
        }
    }

    fn ask_as(&mut self, from: Asker, message: &Message) {
        self.give(Input::Query { bytes: message.to_vec().unwrap(), from });
    }

    /// Asks with EDNS under a fresh id, and gives the answer if it comes at once.
    fn ask(&mut self, name: &str, kind: RecordType) -> Option<Message> {
        self.id += 1;
        self.ask_as(UDP, &query(self.id, name, kind));
        self.answers.pop().map(|(_, answer)| answer)
    }

    fn wait(&mut self, time: Duration) {
        let end = self.now + time;
        while let Some((at, _)) = self.stub.poll_timeout().filter(|(at, _)| *at <= end) {
            self.now = at;
            self.give(Input::Timeout);
        }
        self.now = end;
    }
}

fn table(machines: &[(&str, &str)]) -> Table {
    Table {
        zone: "alice.btmm.internal".parse().unwrap(),
        own: "imac".parse().unwrap(),
        prefix: "fd12:3456:789a::".parse().unwrap(),
        machines: machines.iter().map(|(name, inner)| (name.parse().unwrap(), inner.parse().unwrap())).collect(),
    }
}

fn query(id: u16, name: &str, kind: RecordType) -> Message {
    let mut message = Message::query();
    message.metadata.id = id;
    message.metadata.recursion_desired = true;
    message.add_query(Query::query(Name::from_ascii(name).unwrap(), kind));
    let mut edns = Edns::new();
    edns.set_max_payload(1232).set_version(0);
    message.set_edns(edns);
    message
}

fn addresses(message: &Message) -> Vec<String> {
    message.answers.iter().map(|record| record.data.to_string()).collect()
}

fn cause(message: &Message) -> String {
    let Some(EdnsOption::Unknown(15, data)) = message.edns.as_ref().and_then(|edns| edns.option(EdnsCode::Unknown(15))) else {
        panic!("no extended error in {message}")
    };
    String::from_utf8(data[2..].to_vec()).unwrap()
}

fn up(machine: &str) -> Input {
    Input::TunnelUp(machine.parse().unwrap())
}

fn failed(machine: &str, cause: &str) -> Input {
    Input::TunnelFailed(machine.parse().unwrap(), cause.to_owned())
}

#[test]
fn a_machine_is_answered_only_once_its_tunnel_is_up() {
    let mut bench = Bench::new();
    assert_eq!(bench.ask(LAPTOP, RecordType::AAAA), None);
    assert_eq!(bench.wanted, ["laptop"]);
    bench.give(up("tv"));
    assert!(bench.answers.is_empty(), "another machine's tunnel");
    bench.give(up("laptop"));
    let (_, answer) = bench.answers.pop().unwrap();
    assert_eq!((answer.metadata.response_code, addresses(&answer)), (ResponseCode::NoError, vec!["fd12:3456:789a::2".to_owned()]));
    assert!(answer.answers[0].ttl <= 30);
    assert!(answer.metadata.authoritative && answer.metadata.id == 1);
}

#[test]
fn a_failed_tunnel_is_a_servfail_with_its_cause() {
    let mut bench = Bench::new();
    bench.ask(LAPTOP, RecordType::AAAA);
    bench.give(failed("laptop", "laptop has published no address"));
    let (_, answer) = bench.answers.pop().unwrap();
    assert_eq!(answer.metadata.response_code, ResponseCode::ServFail);
    assert_eq!(cause(&answer), "laptop has published no address");
    assert!(answer.answers.is_empty());
}

#[test]
fn the_answer_comes_before_the_asker_gives_up() {
    let mut bench = Bench::new();
    bench.ask(LAPTOP, RecordType::AAAA);
    bench.wait(Duration::from_millis(3999));
    assert!(bench.answers.is_empty());
    bench.wait(Duration::from_millis(1));
    let (_, answer) = bench.answers.pop().unwrap();
    assert_eq!(answer.metadata.response_code, ResponseCode::ServFail);
    assert_eq!(cause(&answer), "no tunnel to laptop within 4s");
    assert_eq!(bench.stub.poll_timeout(), None);
}

#[test]
fn a_failure_is_repeated_for_a_second_and_then_tried_again() {
    let mut bench = Bench::new();
    bench.ask(LAPTOP, RecordType::AAAA);
    bench.give(failed("laptop", "asleep"));
    bench.answers.clear();
    assert_eq!(cause(&bench.ask(LAPTOP, RecordType::AAAA).unwrap()), "asleep");
    assert_eq!(bench.wanted, ["laptop"]);
    bench.wait(Duration::from_secs(1));
    assert_eq!(bench.ask(LAPTOP, RecordType::AAAA), None);
    assert_eq!(bench.wanted, ["laptop", "laptop"]);
}

#[test]
fn a_tunnel_that_comes_up_late_ends_the_failure() {
    let mut bench = Bench::new();
    bench.ask(LAPTOP, RecordType::AAAA);
    bench.wait(Duration::from_secs(4));
    bench.give(up("laptop"));
    bench.answers.clear();
    assert_eq!(bench.ask(LAPTOP, RecordType::AAAA), None);
    assert_eq!(bench.wanted.len(), 2, "asked anew, not failed from memory");
}

#[test]
fn many_askers_want_one_tunnel_and_each_is_answered() {
    let mut bench = Bench::new();
    for asker in 0..20 {
        bench.ask_as(Asker::Tcp(asker), &query(7, LAPTOP, RecordType::AAAA));
    }
    let again = query(7, LAPTOP, RecordType::AAAA);
    bench.ask_as(Asker::Tcp(3), &again);
    assert_eq!(bench.wanted, ["laptop"]);
    bench.give(up("laptop"));
    let mut askers: Vec<_> = bench.answers.iter().map(|(asker, _)| *asker).collect();
    askers.sort_unstable();
    assert_eq!(askers, (0..20).map(Asker::Tcp).collect::<Vec<_>>(), "a query sent twice is answered once");
}

#[test]
fn the_oldest_fails_when_too_many_wait() {
    let mut bench = Bench::with(Config { held: 4, ..Config::default() });
    for asker in 0..5 {
        bench.ask_as(Asker::Tcp(asker), &query(7, LAPTOP, RecordType::AAAA));
    }
    let (asker, answer) = bench.answers.pop().unwrap();
    assert_eq!((asker, answer.metadata.response_code), (Asker::Tcp(0), ResponseCode::ServFail));
    assert!(bench.answers.is_empty());
}

#[test]
fn a_queries_are_nodata_at_once_and_want_no_tunnel() {
    let mut bench = Bench::new();
    for kind in [RecordType::A, RecordType::MX, RecordType::SRV, RecordType::HTTPS, RecordType::TXT] {
        let answer = bench.ask(LAPTOP, kind).unwrap();
        assert_eq!(answer.metadata.response_code, ResponseCode::NoError);
        assert!(answer.answers.is_empty());
        assert!(matches!(answer.authorities[0].data, RData::SOA(_)), "{kind}: how long NODATA holds");
    }
    assert!(bench.wanted.is_empty());
}

#[test]
fn the_own_name_needs_no_tunnel() {
    let mut bench = Bench::new();
    assert_eq!(addresses(&bench.ask("imac.alice.btmm.internal.", RecordType::AAAA).unwrap()), ["fd12:3456:789a::1"]);
    assert!(bench.wanted.is_empty());
}

#[test]
fn unknown_machines_do_not_exist_and_other_names_are_refused() {
    let mut bench = Bench::new();
    let answer = bench.ask("ghost.alice.btmm.internal.", RecordType::AAAA).unwrap();
    assert_eq!(answer.metadata.response_code, ResponseCode::NXDomain);
    assert_eq!(answer.authorities[0].name, Name::from_ascii("alice.btmm.internal.").unwrap());
    for other in ["example.com.", "btmm.internal.", "laptop.bob.btmm.internal.", ".", "1.0.0.127.in-addr.arpa."] {
        let answer = bench.ask(other, RecordType::AAAA).unwrap();
        assert_eq!((other, answer.metadata.response_code), (other, ResponseCode::Refused));
        assert!(!answer.metadata.authoritative);
    }
    assert!(bench.wanted.is_empty());
}

#[test]
fn the_apex_has_soa_and_ns() {
    let mut bench = Bench::new();
    for apex in ["alice.btmm.internal.", "a.9.8.7.6.5.4.3.2.1.d.f.ip6.arpa."] {
        assert!(matches!(bench.ask(apex, RecordType::SOA).unwrap().answers[0].data, RData::SOA(_)));
        assert_eq!(addresses(&bench.ask(apex, RecordType::NS).unwrap()), ["imac.alice.btmm.internal."]);
        let nodata = bench.ask(apex, RecordType::AAAA).unwrap();
        assert_eq!((nodata.metadata.response_code, nodata.answers.len()), (ResponseCode::NoError, 0));
    }
}

#[test]
fn an_inner_address_is_named_without_a_tunnel() {
    let mut bench = Bench::new();
    let reverse = |last: char| format!("{last}.{}a.9.8.7.6.5.4.3.2.1.d.f.ip6.arpa.", "0.".repeat(19));
    assert_eq!(addresses(&bench.ask(&reverse('2'), RecordType::PTR).unwrap()), [LAPTOP]);
    assert_eq!(bench.ask(&reverse('9'), RecordType::PTR).unwrap().metadata.response_code, ResponseCode::NXDomain);
    assert_eq!(bench.ask(&reverse('2')[4..], RecordType::PTR).unwrap().metadata.response_code, ResponseCode::NoError);
    assert!(bench.wanted.is_empty());
}

#[test]
fn off_fails_what_waits_and_what_comes() {
    let mut bench = Bench::new();
    bench.ask(LAPTOP, RecordType::AAAA);
    bench.give(Input::Switch(false));
    assert_eq!(cause(&bench.answers.pop().unwrap().1), "btmm is off");
    let answer = bench.ask(LAPTOP, RecordType::AAAA).unwrap();
    assert_eq!((answer.metadata.response_code, cause(&answer).as_str()), (ResponseCode::ServFail, "btmm is off"));
    assert_eq!(bench.wanted.len(), 1);
    bench.give(Input::Switch(true));
    assert_eq!(bench.ask(LAPTOP, RecordType::AAAA), None);
    assert_eq!(bench.wanted.len(), 2);
}

#[test]
fn a_machine_that_leaves_the_account_leaves_its_askers_an_answer() {
    let mut bench = Bench::new();
    bench.ask(LAPTOP, RecordType::AAAA);
    bench.ask("tv.alice.btmm.internal.", RecordType::AAAA);
    bench.give(Input::Table(Some(table(&[("imac", "fd12:3456:789a::1"), ("tv", "fd12:3456:789a::3")]))));
    assert_eq!(bench.answers.len(), 1);
    assert_eq!(bench.answers.pop().unwrap().1.metadata.response_code, ResponseCode::NXDomain);
    bench.give(Input::Table(None));
    assert_eq!(bench.answers.pop().unwrap().1.metadata.response_code, ResponseCode::Refused);
}

#[test]
fn the_askers_spelling_comes_back() {
    let mut bench = Bench::new();
    let spelt = Name::from_ascii("LaPtOp.aLiCe.BTMM.internal.").unwrap();
    bench.ask("LaPtOp.aLiCe.BTMM.internal.", RecordType::AAAA);
    bench.give(up("laptop"));
    let (_, answer) = bench.answers.pop().unwrap();
    assert!(answer.queries[0].name().eq_case(&spelt), "{}", answer.queries[0].name());
    assert!(answer.answers[0].name.eq_case(&spelt), "{}", answer.answers[0].name);
}

#[test]
fn without_edns_there_is_no_opt_and_never_more_than_512_octets() {
    let mut bench = Bench::new();
    let mut plain = query(9, "ghost.alice.btmm.internal.", RecordType::AAAA);
    plain.edns = None;
    bench.ask_as(UDP, &plain);
    let (_, answer) = bench.answers.pop().unwrap();
    assert!(answer.edns.is_none());
    assert_eq!(answer.metadata.response_code, ResponseCode::NXDomain);
}

#[test]
fn a_long_cause_is_cut_so_that_every_answer_fits_the_smallest_datagram() {
    let label = "x".repeat(63);
    let zone = format!("{label}.{label}.example");
    let long = "y".repeat(63);
    let mut machines = table(&[("imac", "fd12:3456:789a::1")]);
    machines.zone = zone.parse().unwrap();
    machines.machines.insert(long.parse().unwrap(), "fd12:3456:789a::9".parse().unwrap());
    let mut bench = Bench::new();
    bench.give(Input::Table(Some(machines)));
    let mut question = query(1, &format!("{long}.{zone}."), RecordType::AAAA);
    question.edns.as_mut().unwrap().set_max_payload(512);
    for asker in [UDP, Asker::Tcp(1)] {
        bench.ask_as(asker, &question);
    }
    bench.give(failed(&long, &"é".repeat(300)));
    for (_, answer) in &bench.answers {
        assert!(!answer.metadata.truncation);
        assert_eq!(cause(answer), "é".repeat(100));
        assert!(answer.to_vec().unwrap().len() <= 512);
    }
    assert_eq!(bench.answers.len(), 2);
}

#[test]
fn what_is_not_a_plain_question_is_answered_by_its_kind() {
    let mut bench = Bench::new();
    let mut update = query(1, LAPTOP, RecordType::AAAA);
    update.metadata.op_code = OpCode::Update;
    let mut two = query(2, LAPTOP, RecordType::AAAA);
    two.add_query(two.queries[0].clone());
    let mut chaos = query(3, LAPTOP, RecordType::AAAA);
    chaos.queries[0].set_query_class(DNSClass::CH);
    let mut future = query(4, LAPTOP, RecordType::AAAA);
    future.edns.as_mut().unwrap().set_version(1);
    let expected =
        [(update, ResponseCode::NotImp), (two, ResponseCode::FormErr), (chaos, ResponseCode::Refused), (future, ResponseCode::BADVERS)];
    for (message, code) in expected {
        bench.ask_as(UDP, &message);
        let (_, answer) = bench.answers.pop().unwrap();
        // BADVERS and BADSIG are one number.
        assert_eq!((answer.metadata.id, u16::from(answer.metadata.response_code)), (message.metadata.id, u16::from(code)));
    }
    bench.give(Input::Query { bytes: Message::response(5, OpCode::Query).to_vec().unwrap(), from: UDP });
    bench.give(Input::Query { bytes: vec![0; 11], from: UDP });
    assert!(bench.answers.is_empty(), "a response is never answered, or two stubs would talk for ever");
    let mut cut = query(6, LAPTOP, RecordType::AAAA).to_vec().unwrap();
    cut.truncate(20);
    bench.give(Input::Query { bytes: cut, from: UDP });
    assert_eq!(bench.answers.pop().unwrap().1.metadata.response_code, ResponseCode::FormErr);
    assert!(bench.wanted.is_empty());
}
