//! The stub: which query is answered now, which is held until its tunnel is up, which is refused.
//!
//! | name | type | answer |
//! |---|---|---|
//! | this machine | AAAA | at once |
//! | another machine | AAAA, ANY | held; the inner address once the tunnel is up, else SERVFAIL and the cause |
//! | any machine | other | NODATA at once |
//! | unknown machine | any | NXDOMAIN at once |
//! | zone, reverse zone | SOA, NS | at once |
//! | inner address, reversed | PTR | at once: names a machine, raises nothing |
//! | anything else | any | REFUSED at once: the system asks its next server |
//!
//! A queries need no waiting to be harmless: machines have no IPv4 address, so NODATA is the truth, and `getaddrinfo` still waits for the AAAA answer it
//! asked for beside it. While btmm is off, whatever would need a tunnel is SERVFAIL "btmm is off".
//!
//! A query is held for 4 s: resolvers give up on a server after 5 s (glibc, systemd-resolved) and would then not see the cause.

use std::collections::{BTreeMap, VecDeque};
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use hickory_proto::op::ResponseCode;
use hickory_proto::rr::{Name, Record, RecordType};

use super::message::{self, Content, ErrorCode, Incoming, Question};
use super::table::{Place, Table};
use crate::account::name::MachineName;

/// Who asked, so that the answer finds back.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Asker {
    /// A UDP socket.
    Udp(SocketAddr),
    /// A TCP connection, by the driver's number for it.
    Tcp(u64),
}

/// Limits.
#[derive(Debug, Clone)]
pub struct Config {
    /// How long a query may wait for its tunnel.
    pub hold: Duration,
    /// How many may wait; one more and the oldest fails.
    pub held: usize,
    /// Life of an answer in the asker's cache, seconds. Short: the next look-up should raise the tunnel again.
    pub ttl: u32,
    /// How long a failure is repeated without trying again. Resolvers retry a SERVFAIL at once, some with fewer features each time.
    pub failure: Duration,
}

impl Default for Config {
    fn default() -> Self {
        Self { hold: Duration::from_secs(4), held: 256, ttl: 10, failure: Duration::from_secs(1) }
    }
}

/// What happens to the stub.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Input {
    /// Bytes from an asker (without the length of TCP framing).
    Query {
        /// One DNS message, or anything.
        bytes: Vec<u8>,
        /// Who sent it.
        from: Asker,
    },
    /// The tunnel to this machine is up. Also the reply to [`Command::WantTunnel`] when it already was.
    TunnelUp(MachineName),
    /// The tunnel cannot be raised, and why.
    TunnelFailed(MachineName, String),
    /// The account's machines, now; `None` outside an account.
    Table(Option<Table>),
    /// `btmm on` (`true`, as at the start) or `btmm off`.
    Switch(bool),
    /// [`Stub::poll_timeout`] has come.
    Timeout,
}

/// What the stub wants done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Command {
    /// Send this message back.
    Answer {
        /// To whom.
        to: Asker,
        /// The message (without the length of TCP framing).
        bytes: Vec<u8>,
    },
    /// Raise the tunnel, or say that it is up: [`Input::TunnelUp`] or [`Input::TunnelFailed`] is expected.
    WantTunnel(MachineName),
}

#[derive(Debug)]
struct Held {
    asker: Asker,
    question: Question,
    machine: MachineName,
    deadline: Instant,
}

/// Answers the queries of this machine's programs.
#[derive(Debug)]
pub struct Stub {
    config: Config,
    table: Option<Table>,
    on: bool,
    /// Oldest first, hence by deadline.
    held: VecDeque<Held>,
    failures: BTreeMap<MachineName, (Instant, String)>,
    commands: VecDeque<Command>,
}

impl Stub {
    /// A stub that refuses everything until it gets its [`Input::Table`].
    pub fn new(config: Config) -> Self {
        Self { config, table: None, on: true, held: VecDeque::new(), failures: BTreeMap::new(), commands: VecDeque::new() }
    }

    /// Takes one input. Afterwards take every [`Stub::poll_command`].
    pub fn handle(&mut self, input: Input, now: Instant) {
        match input {
            Input::Query { bytes, from } => match message::parse(&bytes) {
                Incoming::Question(question) => self.on_question(question, from, now),
                Incoming::Error(bytes) => self.commands.push_back(Command::Answer { to: from, bytes }),
                Incoming::Noise => {}
            },
            Input::TunnelUp(machine) => {
                self.failures.remove(&machine);
                let ready = self.take_held(|held| held.machine == machine);
                ready.into_iter().for_each(|held| self.answer_address(&held));
            }
            Input::TunnelFailed(machine, cause) => self.fail(&machine, ErrorCode::NetworkError, cause, now),
            Input::Table(table) => self.on_table(table),
            Input::Switch(on) => {
                self.on = on;
                self.failures.clear();
                if !on {
                    let held = self.take_held(|_| true);
                    held.into_iter().for_each(|held| self.say(held.asker, &held.question, off()));
                }
            }
            Input::Timeout => self.on_timeout(now),
        }
    }

    /// The next thing to do.
    pub fn poll_command(&mut self) -> Option<Command> {
        self.commands.pop_front()
    }

    /// When to hand in [`Input::Timeout`], and why.
    pub fn poll_timeout(&self) -> Option<(Instant, &'static str)> {
        self.held.front().map(|held| (held.deadline, "a name look-up has waited long enough"))
    }

    fn on_question(&mut self, question: Question, from: Asker, now: Instant) {
        let Some(table) = &self.table else { return self.say(from, &question, elsewhere()) };
        let (name, kind) = (question.name(), question.kind());
        let content = match table.place(name) {
            Place::Elsewhere => elsewhere(),
            Place::Machine(machine, inner) if matches!(kind, RecordType::AAAA | RecordType::ANY) => {
                if !self.on {
                    off()
                } else if *machine == table.own {
                    Content::found(message::aaaa(name, self.config.ttl, inner))
                } else {
                    let machine = machine.clone();
                    return self.hold(question, from, machine, now);
                }
            }
            Place::Reverse(machine) if matches!(kind, RecordType::PTR | RecordType::ANY) => match absolute(&machine.in_zone(&table.zone)) {
                Some(target) => Content::found(message::ptr(name, self.config.ttl, target)),
                None => Content::code(ResponseCode::ServFail),
            },
            Place::Apex => self.apex(table.zone.as_str(), table, kind),
            Place::ReverseApex => self.apex(&table.reverse_zone(), table, kind),
            Place::Machine(..) => self.negative(ResponseCode::NoError, table.zone.as_str(), table),
            Place::Nobody => self.negative(ResponseCode::NXDomain, table.zone.as_str(), table),
            Place::Reverse(_) | Place::ReverseBranch => self.negative(ResponseCode::NoError, &table.reverse_zone(), table),
            Place::ReverseNobody => self.negative(ResponseCode::NXDomain, &table.reverse_zone(), table),
        };
        self.say(from, &question, content);
    }

    /// Holds a look-up. The same query sent again by the same asker stays one; one tunnel is wanted however many wait for it.
    fn hold(&mut self, question: Question, asker: Asker, machine: MachineName, now: Instant) {
        if let Some((_, cause)) = self.failures.get(&machine).filter(|(until, _)| now < *until) {
            let content = Content::failure(ResponseCode::ServFail, ErrorCode::NetworkError, cause.clone());
            return self.say(asker, &question, content);
        }
        if self.held.iter().any(|held| held.asker == asker && held.question == question) {
            return;
        }
        if !self.held.iter().any(|held| held.machine == machine) {
            self.commands.push_back(Command::WantTunnel(machine.clone()));
        }
        self.held.push_back(Held { asker, question, machine, deadline: now + self.config.hold });
        if self.held.len() > self.config.held
            && let Some(oldest) = self.held.pop_front()
        {
            let content = Content::failure(ResponseCode::ServFail, ErrorCode::Other, "too many look-ups are waiting for tunnels");
            self.say(oldest.asker, &oldest.question, content);
        }
    }

    fn on_timeout(&mut self, now: Instant) {
        while let Some(first) = self.held.front().filter(|held| held.deadline <= now) {
            let machine = first.machine.clone();
            let cause = format!("no tunnel to {machine} within {:?}", self.config.hold);
            let overdue = self.take_held(|held| held.machine == machine && held.deadline <= now);
            for held in overdue {
                let content = Content::failure(ResponseCode::ServFail, ErrorCode::NoReachableAuthority, cause.clone());
                self.say(held.asker, &held.question, content);
            }
            self.failures.insert(machine, (now + self.config.failure, cause));
        }
    }

    fn fail(&mut self, machine: &MachineName, code: ErrorCode, cause: String, now: Instant) {
        for held in self.take_held(|held| held.machine == *machine) {
            self.say(held.asker, &held.question, Content::failure(ResponseCode::ServFail, code, cause.clone()));
        }
        if self.table.as_ref().is_some_and(|table| table.machines.contains_key(machine)) {
            self.failures.insert(machine.clone(), (now + self.config.failure, cause));
        }
    }

    fn on_table(&mut self, table: Option<Table>) {
        self.table = table;
        let machines = self.table.as_ref().map(|table| &table.machines);
        let gone = |machine: &MachineName| !machines.is_some_and(|machines| machines.contains_key(machine));
        self.failures.retain(|machine, _| !gone(machine));
        let (gone, kept) = self.held.drain(..).partition(|held: &Held| gone(&held.machine));
        self.held = kept;
        let gone: VecDeque<Held> = gone;
        for held in gone {
            let content = match &self.table {
                Some(table) => self.negative(ResponseCode::NXDomain, table.zone.as_str(), table),
                None => elsewhere(),
            };
            self.say(held.asker, &held.question, content);
        }
    }

    fn take_held(&mut self, wanted: impl Fn(&Held) -> bool) -> VecDeque<Held> {
        let (taken, kept) = self.held.drain(..).partition(wanted);
        self.held = kept;
        taken
    }

    fn answer_address(&mut self, held: &Held) {
        let inner = self.table.as_ref().and_then(|table| table.machines.get(&held.machine));
        let content = match inner {
            Some(inner) => Content::found(message::aaaa(held.question.name(), self.config.ttl, *inner)),
            None => Content::code(ResponseCode::ServFail),
        };
        self.say(held.asker, &held.question, content);
    }

    fn apex(&self, zone: &str, table: &Table, kind: RecordType) -> Content {
        let server = absolute(&table.own.in_zone(&table.zone));
        match (kind, absolute(zone), server) {
            (RecordType::SOA | RecordType::ANY, Some(zone), Some(server)) => Content::found(message::soa(zone, self.config.ttl, server)),
            (RecordType::NS, Some(zone), Some(server)) => Content::found(message::ns(zone, self.config.ttl, server)),
            _ => self.negative(ResponseCode::NoError, zone, table),
        }
    }

    fn negative(&self, code: ResponseCode, zone: &str, table: &Table) -> Content {
        match self.soa(zone, table) {
            Some(soa) => Content::negative(code, soa),
            None => Content::code(code),
        }
    }

    fn soa(&self, zone: &str, table: &Table) -> Option<Record> {
        Some(message::soa(absolute(zone)?, self.config.ttl, absolute(&table.own.in_zone(&table.zone))?))
    }

    fn say(&mut self, to: Asker, question: &Question, content: Content) {
        let bytes = question.answer(content, matches!(to, Asker::Udp(_)));
        self.commands.push_back(Command::Answer { to, bytes });
    }
}

fn absolute(name: &str) -> Option<Name> {
    Name::from_ascii(format!("{name}.")).ok()
}

fn elsewhere() -> Content {
    Content::failure(ResponseCode::Refused, ErrorCode::NotAuthoritative, "not a name of this account")
}

fn off() -> Content {
    Content::failure(ResponseCode::ServFail, ErrorCode::NotReady, "btmm is off")
}
