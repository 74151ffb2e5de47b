//! What every machine of the account last said, kept fresh by polling: the serial each period, the zone when the serial has moved.
//!
//! The base takes out who lets a lease end, so who is in the zone is there. While the zone cannot be read, what was read stays, but no
//! longer than the longest lease: then every entry could have ended.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use hickory_proto::rr::Record;

use super::records::{Advertisement, Filter, read_zone};
use crate::account::name::{MachineName, ZoneName};

/// Questions are at least this far apart, however often one is told to look.
const GAP: Duration = Duration::from_millis(100);
const FIRST_RETRY: Duration = Duration::from_secs(1);

/// What happens to the directory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Input {
    /// Look at the zone now: woken, network changed, a peer does not answer, an unknown name was asked for.
    LookNow,
    /// The zone's serial.
    Serial(u32),
    /// The zone at that serial.
    Zone(u32, Vec<Record>),
    /// The question that was asked has no answer. Why, in words.
    Failed(String),
    /// [`Directory::poll_timeout`] is due.
    Timeout,
}

/// What the directory wants.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Command {
    /// Ask for the serial; answer with [`Input::Serial`] or [`Input::Failed`].
    AskSerial,
    /// Ask for the zone; answer with [`Input::Zone`] or [`Input::Failed`].
    AskZone,
    /// Tell: a machine says something new, or (`None`) is gone.
    Changed(MachineName, Option<Advertisement>),
    /// Tell: the zone was read completely; time to see whether it has us right.
    Read,
    /// Tell: the zone cannot be read. Once per cause.
    Unreachable(String),
    /// Tell: it can again.
    Reachable,
}

/// How the directory works.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Whose zone.
    pub zone: ZoneName,
    /// Between two looks.
    pub poll: Duration,
    /// How long unread knowledge is believed: the longest lease.
    pub horizon: Duration,
    /// Which addresses count.
    pub filter: Filter,
}

/// The account's machines as the zone has them.
#[derive(Debug)]
pub struct Directory {
    settings: Settings,
    peers: BTreeMap<MachineName, Advertisement>,
    serial: Option<u32>,
    asking: bool,
    again: bool,
    next: Instant,
    asked: Option<Instant>,
    believed_until: Option<Instant>,
    trouble: Option<String>,
    failures: u32,
}

impl Directory {
    /// Knows nothing; looks at once.
    pub fn new(settings: Settings, now: Instant) -> Self {
        Self {
            settings,
            peers: BTreeMap::new(),
            serial: None,
            asking: false,
            again: false,
            next: now,
            asked: None,
            believed_until: None,
            trouble: None,
            failures: 0,
        }
    }

    /// What `machine` last said.
    pub fn lookup(&self, machine: &MachineName) -> Option<&Advertisement> {
        self.peers.get(machine)
    }

    /// Everyone, by name.
    pub fn peers(&self) -> &BTreeMap<MachineName, Advertisement> {
        &self.peers
    }

    /// When [`Input::Timeout`] is wanted.
    pub fn poll_timeout(&self) -> Option<(Instant, &'static str)> {
        let look = (!self.asking).then_some((self.next, "time to look at the zone"));
        let doubt = self.believed_until.map(|at| (at, "what was read of the zone is too old"));
        look.into_iter().chain(doubt).min()
    }

    /// Does one thing.
    pub fn handle(&mut self, input: Input, now: Instant) -> Vec<Command> {
        match input {
            Input::LookNow if self.asking => self.again = true,
            Input::LookNow => self.next = self.next.min(self.asked.map_or(now, |asked| (asked + GAP).max(now))),
            Input::Serial(serial) if self.serial == Some(serial) => return self.succeeded(now),
            Input::Serial(_) => return vec![Command::AskZone],
            Input::Zone(serial, records) => return self.read(serial, &records, now),
            Input::Failed(cause) => return self.failed(cause, now),
            Input::Timeout => return self.timeout(now),
        }
        Vec::new()
    }

    fn timeout(&mut self, now: Instant) -> Vec<Command> {
        let mut commands = Vec::new();
        if self.believed_until.is_some_and(|until| until <= now) {
            self.believed_until = None;
            self.serial = None;
            let gone = std::mem::take(&mut self.peers);
            commands.extend(gone.into_keys().map(|machine| Command::Changed(machine, None)));
        }
        if !self.asking && self.next <= now {
            self.asking = true;
            self.asked = Some(now);
            commands.push(if self.serial.is_some() { Command::AskSerial } else { Command::AskZone });
        }
        commands
    }

    fn read(&mut self, serial: u32, records: &[Record], now: Instant) -> Vec<Command> {
        let mut commands = self.succeeded(now);
        let peers = read_zone(&self.settings.zone, records, self.settings.filter);
        for machine in self.peers.keys().filter(|machine| !peers.contains_key(*machine)) {
            commands.push(Command::Changed(machine.clone(), None));
        }
        for (machine, advertisement) in peers.iter().filter(|(machine, new)| self.peers.get(*machine) != Some(*new)) {
            commands.push(Command::Changed(machine.clone(), Some(advertisement.clone())));
        }
        commands.push(Command::Read);
        self.peers = peers;
        self.serial = Some(serial);
        commands
    }

    fn succeeded(&mut self, now: Instant) -> Vec<Command> {
        self.believed_until = Some(now + self.settings.horizon);
        self.failures = 0;
        self.answered(now + self.settings.poll, now);
        self.trouble.take().map(|_| Command::Reachable).into_iter().collect()
    }

    fn failed(&mut self, cause: String, now: Instant) -> Vec<Command> {
        let wait = FIRST_RETRY.saturating_mul(2_u32.saturating_pow(self.failures)).min(self.settings.poll);
        self.failures = self.failures.saturating_add(1);
        self.serial = None; // who knows what happened there: read all of it next time
        self.answered(now + wait, now);
        if self.trouble.as_ref() == Some(&cause) {
            return Vec::new();
        }
        self.trouble = Some(cause.clone());
        vec![Command::Unreachable(cause)]
    }

    fn answered(&mut self, next: Instant, now: Instant) {
        self.asking = false;
        let again = std::mem::take(&mut self.again);
        self.next = if again { self.asked.map_or(now, |asked| (asked + GAP).max(now)) } else { next };
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rendezvous::samples::imac;

    fn seconds(n: u64) -> Duration {
        Duration::from_secs(n)
    }

    fn directory(now: Instant) -> Directory {
        let zone = "alice.btmm.internal".parse().unwrap();
        Directory::new(Settings { zone, poll: seconds(30), horizon: seconds(7200), filter: Filter::default() }, now)
    }

    fn records(version: &str) -> Vec<Record> {
        imac(version).to_update(&"alice.btmm.internal".parse().unwrap()).unwrap()
    }

    fn failed(why: &str) -> Input {
        Input::Failed(why.to_owned())
    }

    #[test]
    fn it_reads_the_zone_once_and_then_only_when_the_serial_moves() {
        let now = Instant::now();
        let mut directory = directory(now);
        let name: MachineName = "imac".parse().unwrap();
        assert_eq!(directory.handle(Input::Timeout, now), [Command::AskZone]);
        assert_eq!(directory.handle(Input::Zone(1, records("a")), now), [Command::Changed(name.clone(), Some(imac("a"))), Command::Read]);
        assert_eq!(directory.poll_timeout().unwrap().0, now + seconds(30));
        assert_eq!(directory.handle(Input::Timeout, now + seconds(30)), [Command::AskSerial]);
        assert_eq!(directory.handle(Input::Serial(1), now + seconds(30)), []);
        assert_eq!(directory.handle(Input::Timeout, now + seconds(60)), [Command::AskSerial]);
        assert_eq!(directory.handle(Input::Serial(2), now + seconds(60)), [Command::AskZone]);
        assert_eq!(directory.handle(Input::Zone(2, records("a")), now + seconds(60)), [Command::Read], "nothing new to tell");
        assert_eq!(directory.lookup(&name), Some(&imac("a")));
        directory.handle(Input::Timeout, now + seconds(90));
        directory.handle(Input::Serial(3), now + seconds(90));
        assert_eq!(directory.handle(Input::Zone(3, Vec::new()), now + seconds(90)), [Command::Changed(name, None), Command::Read]);
    }

    #[test]
    fn looking_now_is_at_once_but_not_in_a_flood() {
        let now = Instant::now();
        let mut directory = directory(now);
        directory.handle(Input::Timeout, now);
        directory.handle(Input::LookNow, now);
        assert_eq!(directory.handle(Input::Timeout, now), [], "one question at a time");
        directory.handle(Input::Zone(1, Vec::new()), now);
        assert_eq!(directory.poll_timeout().unwrap().0, now + GAP, "told while asking: asks again");
        assert_eq!(directory.handle(Input::Timeout, now + GAP), [Command::AskSerial]);
        directory.handle(Input::Serial(1), now + GAP);
        directory.handle(Input::LookNow, now + seconds(10));
        assert_eq!(directory.handle(Input::Timeout, now + seconds(10)), [Command::AskSerial]);
    }

    #[test]
    fn trouble_is_told_once_and_what_was_read_is_believed_no_longer_than_a_lease() {
        let mut now = Instant::now();
        let mut directory = directory(now);
        let name: MachineName = "imac".parse().unwrap();
        directory.handle(Input::Timeout, now);
        directory.handle(Input::Zone(1, records("a")), now);
        let doubt = now + seconds(7200);
        now += seconds(30);
        directory.handle(Input::Timeout, now);
        assert_eq!(directory.handle(failed("no route"), now), [Command::Unreachable("no route".to_owned())]);
        let mut gone = Vec::new();
        while now < doubt {
            now = directory.poll_timeout().unwrap().0;
            gone = directory.handle(Input::Timeout, now);
            if now < doubt {
                assert_eq!(gone, [Command::AskZone], "after trouble everything is read");
                assert_eq!(directory.handle(failed("no route"), now), []);
                assert!(directory.lookup(&name).is_some());
            }
        }
        assert_eq!(gone.first(), Some(&Command::Changed(name.clone(), None)));
        now += seconds(1);
        let told = directory.handle(Input::Zone(1, records("a")), now);
        assert_eq!(told, [Command::Reachable, Command::Changed(name, Some(imac("a"))), Command::Read]);
    }
}
