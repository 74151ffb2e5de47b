//! The account's machines: fetched from the base, believed only with the account's signature.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use tokio::sync::{mpsc, watch};
use tracing::{debug, info};

use super::event::Event;
use super::session::{Session, addresses};
use super::tickets::Tickets;
use crate::account::name::MachineName;
use crate::account::roster::Roster;
use crate::clock;
use crate::control::messages::{Finding, Severity};
use crate::engine::{self, Member};
use crate::ike;
use crate::resolver::{self, Table};

/// Between two fetches that nobody asked for: how long a machine that was removed may go on elsewhere. As often as the zone is looked at.
const EVERY: Duration = Duration::from_secs(30);
/// Two fetches are never closer than this.
const PAUSE: Duration = Duration::from_secs(2);

/// The roster as known, and when to ask for it again.
pub(super) struct Rosters {
    current: Option<Roster>,
    due: Option<Instant>,
    /// The base is being asked: once at a time.
    asking: bool,
    fetched: Option<Instant>,
    inbox: mpsc::Sender<Event>,
    told: watch::Sender<Option<Roster>>,
    /// Why the kept roster could not be read.
    unread: Option<String>,
    error: Option<String>,
}

impl Rosters {
    /// Nothing known, nothing due. Answers come back through `inbox`; whoever judges certificates listens to `told`. `unread` is why
    /// the kept roster could not be read, if it could not.
    pub fn new(inbox: mpsc::Sender<Event>, told: watch::Sender<Option<Roster>>, unread: Option<String>) -> Self {
        Self { current: None, due: None, asking: false, fetched: None, inbox, told, unread, error: None }
    }

    /// The roster, once there is one.
    pub fn current(&self) -> Option<&Roster> {
        self.current.as_ref()
    }

    /// Somebody is unknown: ask soon.
    fn want(&mut self, now: Instant) {
        let soonest = self.fetched.map_or(now, |fetched| now.max(fetched + PAUSE));
        self.due = Some(self.due.map_or(soonest, |due| due.min(soonest)));
    }

    /// What the owner is told of it.
    pub fn finding(&self) -> Option<Finding> {
        let (severity, what, cause, next_step) = match (&self.current, &self.unread, &self.error) {
            (Some(_), _, None) | (None, None, None) => return None,
            (Some(_), _, Some(cause)) => {
                (Severity::Warning, "the list of machines may be old", cause.clone(), "it is fetched again by itself")
            }
            (None, unread, error) => {
                let causes: Vec<&str> = unread.iter().chain(error).map(String::as_str).collect();
                let next_step = "only the home base is believed until it gives the list, which it is asked for by itself: is it reachable?";
                (Severity::Error, "there is no list of the account's machines", causes.join("; "), next_step)
            }
        };
        Some(Finding { severity, what: what.to_owned(), cause, next_step: next_step.to_owned() })
    }

    /// When to ask next.
    pub fn poll_timeout(&self) -> Option<(Instant, &'static str)> {
        self.due.filter(|_| !self.asking).map(|due| (due, "the roster may have changed"))
    }

    fn take_due(&mut self, now: Instant) -> bool {
        let due = !self.asking && self.due.is_some_and(|due| now >= due);
        if due {
            self.asking = true;
            self.fetched = Some(now);
            self.due = Some(now + EVERY);
        }
        due
    }
}

impl Session {
    /// Asks the base for the roster soon. On the base itself it comes unasked.
    pub(super) fn ask_roster(&mut self) {
        if !self.identity.is_base() {
            self.roster.want(clock::monotonic());
        }
    }

    pub(super) fn fetch_roster_if_due(&mut self, now: Instant) {
        if !self.roster.take_due(now) {
            return;
        }
        let (member, inbox) = (self.member.clone(), self.roster.inbox.clone());
        let known = self.roster.current.clone();
        tokio::spawn(async move {
            let fetched = member.fetch_roster(known.as_ref()).await.map_err(|error| error.to_string());
            // The session may have ended meanwhile: then nobody needs the answer.
            let _ = inbox.send(Event::Roster(Box::new(fetched))).await;
        });
    }

    pub(super) fn roster_came(&mut self, fetched: Result<Roster, String>) {
        self.roster.asking = false;
        match fetched {
            Ok(roster) => {
                self.roster.error = None;
                self.set_roster(roster);
            }
            Err(error) => {
                debug!(%error, "roster not fetched");
                self.roster.error = Some(error);
            }
        }
    }

    /// Believes a roster that the caller has verified.
    pub(super) fn set_roster(&mut self, roster: Roster) {
        if self.roster.current().is_some_and(|known| known.serial() >= roster.serial()) {
            return;
        }
        info!(serial = roster.serial(), machines = roster.machines().len(), "roster");
        let others = roster.machines().iter().filter(|machine| machine.name != *self.identity.name());
        let members = others.map(|machine| Member { name: machine.name.clone(), inner: machine.inner }).collect();
        self.roster.told.send_replace(Some(roster.clone()));
        self.roster.current = Some(roster);
        self.publish_realms();
        self.tell_machines();
        self.tickets.iter_mut().for_each(Tickets::look_again);
        let now = clock::monotonic();
        // First the states of those who are not believed any more, then their policies.
        self.ike.handle(ike::Input::TrustChanged, now);
        self.engine.handle(engine::Input::Roster(members), now);
        self.stub.handle(resolver::Input::Table(self.table()), now);
        self.point_resolved();
        for advertisement in self.rendezvous.peers() {
            let peer = advertisement.machine.clone();
            self.engine.handle(engine::Input::Advertised { peer, candidates: addresses(Some(advertisement)) }, now);
        }
    }

    /// The account's machines as the resolver knows them.
    pub(super) fn table(&self) -> Option<Table> {
        let roster = self.roster.current()?;
        let mut machines: BTreeMap<MachineName, _> =
            roster.machines().iter().map(|machine| (machine.name.clone(), machine.inner)).collect();
        machines.insert(self.identity.name().clone(), self.identity.inner());
        Some(Table {
            zone: self.identity.zone().clone(),
            own: self.identity.name().clone(),
            prefix: self.identity.prefix().network(),
            machines,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::account::certificate::AccountTrust;
    use crate::account::prefix::UlaPrefix;

    fn roster(serial: u64) -> Roster {
        let trust =
            AccountTrust { ca: Vec::new(), zone: "alice.btmm.internal".parse().unwrap(), prefix: UlaPrefix::with_global_id([1; 5]) };
        Roster::new(&trust, serial, 0, Vec::new())
    }

    fn rosters(unread: Option<&str>) -> Rosters {
        Rosters::new(mpsc::channel(1).0, watch::channel(None).0, unread.map(str::to_owned))
    }

    #[test]
    fn the_base_is_asked_once_at_a_time() {
        let (mut rosters, now) = (rosters(None), Instant::now());
        rosters.want(now);
        assert!(rosters.take_due(now));
        rosters.want(now);
        let later = now + 2 * EVERY;
        assert!(rosters.poll_timeout().is_none() && !rosters.take_due(later), "it is being asked");
        rosters.asking = false;
        assert_eq!(rosters.poll_timeout().map(|(at, _)| at), Some(now + PAUSE), "what was wanted meanwhile is not forgotten");
        assert!(rosters.take_due(later));
    }

    #[test]
    fn the_owner_is_told_when_no_list_of_machines_can_be_read_and_why() {
        let mut rosters = rosters(Some("roster.json is damaged"));
        let told = rosters.finding().unwrap();
        assert_eq!((told.severity, told.cause.as_str()), (Severity::Error, "roster.json is damaged"));
        rosters.error = Some("no answer".to_owned());
        assert_eq!(rosters.finding().unwrap().cause, "roster.json is damaged; no answer");
        rosters.current = Some(roster(1));
        assert_eq!(rosters.finding().unwrap().severity, Severity::Warning, "there is one, which may be old");
        rosters.error = None;
        assert_eq!(rosters.finding(), None);
    }
}
