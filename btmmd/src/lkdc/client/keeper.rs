//! Has tickets ready for the peers that a tunnel leads to and for this machine itself, and renews them before they end.
//!
//! A ticket is wanted while its peer is reachable, as this machine always is: asking another would raise a tunnel, and an idle one shall go.
//! What was got before stays good until it ends. Nobody is asked anything: the sharing certificate speaks.
//!
//! ```text
//!            reachable                granted              for each service
//!  nothing ─────────────► Initial ─────────────► TGT held ─────────────────► Service ──► held
//!                            ▲ ▲                    │ at 2/3 of its life          (at 2/3 of its life: again)
//!                refused     │ └────────────────────┤ not renewable, or ended
//!                            └───── Renewal ◄───────┘ renewable
//! ```

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::time::{Duration, SystemTime};

use super::clock::ClockOffset;
use super::grant::Grant;
use super::notes::Notes;
use crate::lkdc::ccache::CredentialCache;
use crate::lkdc::full_name::FullName;
use crate::lkdc::kdc::options::Flags;
use crate::lkdc::name::{Principal, RealmName};

/// Pause after the first failure; doubled with each further one.
const FIRST_PAUSE: Duration = Duration::from_secs(5);
/// The longest pause.
const LONGEST_PAUSE: Duration = Duration::from_secs(600);
/// The same after a KDC's no: a machine that has just joined is not on everybody's list yet, others will not soon be believed.
const REFUSED_PAUSE: Duration = Duration::from_secs(3600);

/// A machine of the account: one whose tunnel is up, or this one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Peer {
    /// Its realm.
    pub realm: RealmName,
    /// Its name in the zone, which its services carry.
    pub host: String,
    /// Its KDC.
    pub kdc: SocketAddr,
}

/// What shall be got.
#[derive(Clone, Debug)]
pub struct Order {
    /// From whom.
    pub peer: Peer,
    /// For whom.
    pub client: FullName,
    /// What.
    pub what: What,
}

/// What an order is for.
#[derive(Clone, Debug)]
pub enum What {
    /// A ticket-granting ticket, by the sharing certificate.
    Initial,
    /// The same for longer.
    Renewal {
        /// To be renewed.
        tgt: Box<Grant>,
        /// The KDC's clock.
        offset: ClockOffset,
    },
    /// A ticket for a service.
    Service {
        /// Which.
        service: Principal,
        /// To pay with.
        tgt: Box<Grant>,
        /// The KDC's clock.
        offset: ClockOffset,
    },
}

/// What came of an order.
#[derive(Debug)]
pub enum Outcome {
    /// The ticket, the KDC's clock, and how an initial ticket was earned.
    Granted(Box<Grant>, ClockOffset, Notes),
    /// The KDC says no, in these words.
    Refused(String),
    /// No KDC, or none that is believed, and why.
    Failed(String),
}

/// How it stands with a ticket that somebody waits for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Standing {
    /// It is held.
    Held,
    /// It is on its way, or waits for a tunnel.
    Coming,
    /// The KDC says no to the certificate, or does not have the service, in these words.
    Refused(String),
    /// It could not be asked for, and why. It is tried again.
    Failed(String),
}

/// What happens.
#[derive(Debug)]
pub enum Input {
    /// These peers, and no others, are reachable. What was ordered of others is given up by who carries it out.
    Reachable(Vec<Peer>),
    /// Somebody waits for a ticket of this peer, for a service or just to get others with. It is kept from then on like all others.
    Wanted(Peer, Option<String>),
    /// An order was carried out.
    Done(Box<Order>, Outcome),
    /// These machines have left the account: their tickets are worth nothing.
    Gone(Vec<RealmName>),
    /// The time of [`Keeper::poll_timeout`] has come.
    Timeout,
}

/// What to do.
#[derive(Debug)]
pub enum Command {
    /// Carry this out, and report.
    Get(Order),
    /// Put this in place of what is kept for the realm.
    Save(RealmName, CredentialCache),
    /// Remove what is kept for the realm.
    Forget(RealmName),
}

/// Has tickets ready.
#[derive(Debug)]
pub struct Keeper {
    client: Principal,
    services: Vec<String>,
    realms: BTreeMap<RealmName, Held>,
    commands: Vec<Command>,
}

/// What is held of one realm.
#[derive(Debug)]
struct Held {
    peer: Peer,
    reachable: bool,
    tgt: Option<(Grant, ClockOffset)>,
    notes: Notes,
    /// The KDC does not renew this one.
    unrenewable: bool,
    services: BTreeMap<String, Service>,
    /// Services that somebody waited for once, beside those that all peers are asked for.
    asked: BTreeSet<String>,
    busy: bool,
    failures: u32,
    not_before: Option<SystemTime>,
    /// Why there is no ticket-granting ticket, or no further one.
    trouble: Option<Standing>,
}

#[derive(Debug)]
enum Service {
    Held(Box<Grant>),
    /// The KDC does not give it, in these words; asked again with the next ticket-granting ticket.
    Absent(String),
}

impl Keeper {
    /// Keeps tickets of `client` (the account's user) for `services` (`host`, `cifs` …) of every peer.
    pub fn new(client: Principal, services: Vec<String>) -> Self {
        Self { client, services, realms: BTreeMap::new(), commands: Vec::new() }
    }

    /// Takes in what happened.
    pub fn handle(&mut self, input: Input, now: SystemTime) {
        match input {
            Input::Reachable(peers) => self.reachable(peers),
            Input::Wanted(peer, service) => self.wanted(peer, service),
            Input::Done(order, outcome) => self.done(*order, outcome, now),
            Input::Gone(realms) => {
                for realm in realms.into_iter().filter(|realm| self.realms.remove(realm).is_some()).collect::<Vec<_>>() {
                    self.commands.push(Command::Forget(realm));
                }
            }
            Input::Timeout => {}
        }
        self.realms.values_mut().for_each(|held| held.let_go_of_ended(now));
        self.order(now);
    }

    /// What to do now.
    pub fn poll_command(&mut self) -> Option<Command> {
        if self.commands.is_empty() { None } else { Some(self.commands.remove(0)) }
    }

    /// When to call [`Keeper::handle`] with [`Input::Timeout`], and why.
    pub fn poll_timeout(&self) -> Option<(SystemTime, &'static str)> {
        self.realms.values().filter_map(|held| held.next(&self.services)).map(|(at, _, why)| (at, why)).min_by_key(|(at, _)| *at)
    }

    /// What is held of a realm, as a cache. Nothing before there is a ticket-granting ticket.
    pub fn cache(&self, realm: &RealmName) -> Option<CredentialCache> {
        let held = self.realms.get(realm)?;
        let (tgt, offset) = held.tgt.as_ref()?;
        let mut cache = CredentialCache::new(tgt.client.clone());
        cache.time_offset = offset.of_cache();
        held.notes.put(&mut cache, &tgt.client.realm);
        cache.store(tgt.to_credential());
        for service in held.services.values() {
            if let Service::Held(grant) = service {
                cache.store(grant.to_credential());
            }
        }
        Some(cache)
    }

    /// How it stands with the ticket for a service of a realm, or with its ticket-granting ticket.
    pub fn standing(&self, realm: &RealmName, service: Option<&str>, now: SystemTime) -> Standing {
        let Some(held) = self.realms.get(realm) else { return Standing::Coming };
        let good = |grant: &Grant, offset: ClockOffset| offset.local_time(grant.times.end) > now;
        let granted = held.tgt.as_ref().filter(|(tgt, offset)| good(tgt, *offset));
        match (granted, service.map(|name| held.services.get(name))) {
            (Some(_), None) => Standing::Held,
            (Some((_, offset)), Some(Some(Service::Held(grant)))) if good(grant, *offset) => Standing::Held,
            (Some(_), Some(Some(Service::Absent(words)))) => Standing::Refused(words.clone()),
            _ => held.trouble.clone().unwrap_or(Standing::Coming),
        }
    }

    /// The realms of which anything is held or wanted.
    pub fn realms(&self) -> impl Iterator<Item = &RealmName> {
        self.realms.keys()
    }

    fn wanted(&mut self, peer: Peer, service: Option<String>) {
        let held = self.realms.entry(peer.realm.clone()).or_insert_with(|| Held::new(peer));
        // Somebody waits: what failed before is tried again at once.
        (held.failures, held.not_before, held.trouble) = (0, None, None);
        if let Some(name) = service {
            if matches!(held.services.get(&name), Some(Service::Absent(_))) {
                held.services.remove(&name);
            }
            if !self.services.contains(&name) {
                held.asked.insert(name);
            }
        }
    }

    fn reachable(&mut self, peers: Vec<Peer>) {
        let before: Vec<RealmName> = self.realms.values().filter(|held| held.reachable).map(|held| held.peer.realm.clone()).collect();
        self.realms.values_mut().for_each(|held| held.reachable = false);
        for peer in peers {
            let held = self.realms.entry(peer.realm.clone()).or_insert_with(|| Held::new(peer.clone()));
            if !before.contains(&peer.realm) {
                // What failed before there was a tunnel says nothing of now.
                (held.failures, held.not_before, held.trouble) = (0, None, None);
            }
            held.reachable = true;
            held.peer = peer;
        }
        self.realms.values_mut().filter(|held| !held.reachable).for_each(|held| held.busy = false);
    }

    fn done(&mut self, order: Order, outcome: Outcome, now: SystemTime) {
        let Some(held) = self.realms.get_mut(&order.peer.realm) else { return };
        held.busy = false;
        match outcome {
            Outcome::Granted(grant, offset, notes) => {
                (held.failures, held.not_before, held.trouble) = (0, None, None);
                if matches!(order.what, What::Initial) {
                    held.notes = notes;
                }
                held.granted(order.what, *grant, offset);
                let realm = order.peer.realm;
                if let Some(cache) = self.cache(&realm) {
                    self.commands.push(Command::Save(realm, cache));
                }
            }
            Outcome::Refused(words) => held.refused(order.what, words, now),
            Outcome::Failed(why) => {
                held.trouble = Some(Standing::Failed(why));
                held.pause(LONGEST_PAUSE, now);
            }
        }
    }

    /// Orders all that is due.
    fn order(&mut self, now: SystemTime) {
        for held in self.realms.values_mut() {
            let Some((_, what, _)) = held.next(&self.services).filter(|(at, ..)| *at <= now) else { continue };
            held.busy = true;
            let client = FullName::new(self.client.clone(), held.peer.realm.as_str());
            self.commands.push(Command::Get(Order { peer: held.peer.clone(), client, what }));
        }
    }
}

impl Held {
    fn new(peer: Peer) -> Self {
        Self {
            peer,
            reachable: false,
            tgt: None,
            notes: Notes::default(),
            unrenewable: false,
            services: BTreeMap::new(),
            asked: BTreeSet::new(),
            busy: false,
            failures: 0,
            not_before: None,
            trouble: None,
        }
    }

    /// A ticket-granting ticket that has ended pays for nothing, its own renewal included: the next one is a first one.
    fn let_go_of_ended(&mut self, now: SystemTime) {
        self.tgt.take_if(|(tgt, offset)| offset.local_time(tgt.times.end) <= now);
    }

    /// What is to be got next, and when.
    fn next(&self, wanted: &[String]) -> Option<(SystemTime, What, &'static str)> {
        if self.busy || !self.reachable {
            return None;
        }
        let due = self.due(wanted)?;
        let at = self.not_before.map_or(due.0, |pause| due.0.max(pause));
        Some((at, due.1, due.2))
    }

    fn due(&self, wanted: &[String]) -> Option<(SystemTime, What, &'static str)> {
        let Some((tgt, offset)) = &self.tgt else { return Some((SystemTime::UNIX_EPOCH, What::Initial, "first ticket")) };
        let renewal = self.renewal(tgt, *offset);
        // First what somebody waits for.
        let service = self.asked.iter().chain(wanted).filter_map(|name| self.service(name, tgt, *offset)).min_by_key(|(at, ..)| *at);
        // A ticket-granting ticket that is due comes first: the others are made with it.
        Some(service.filter(|(at, ..)| *at < renewal.0).unwrap_or(renewal))
    }

    fn renewal(&self, tgt: &Grant, offset: ClockOffset) -> (SystemTime, What, &'static str) {
        let at = renew_at(tgt, offset);
        let longer = tgt.times.renew_till.is_some_and(|till| till > tgt.times.end);
        if Flags(tgt.flags).has(Flags::RENEWABLE) && longer && !self.unrenewable {
            (at, What::Renewal { tgt: Box::new(tgt.clone()), offset }, "renewal")
        } else {
            (at, What::Initial, "new ticket")
        }
    }

    fn service(&self, name: &str, tgt: &Grant, offset: ClockOffset) -> Option<(SystemTime, What, &'static str)> {
        let at = match self.services.get(name) {
            Some(Service::Absent(_)) => return None,
            // Not with a ticket that ends no later.
            Some(Service::Held(grant)) if grant.times.end >= tgt.times.end => return None,
            Some(Service::Held(grant)) => renew_at(grant, offset),
            None => SystemTime::UNIX_EPOCH,
        };
        let service = Principal::service(name, &self.peer.host);
        Some((at, What::Service { service, tgt: Box::new(tgt.clone()), offset }, "service ticket"))
    }

    fn granted(&mut self, what: What, grant: Grant, offset: ClockOffset) {
        match what {
            What::Initial | What::Renewal { .. } => {
                self.unrenewable = false;
                self.tgt = Some((grant, offset));
                self.services.retain(|_, service| matches!(service, Service::Held(_)));
            }
            What::Service { service, .. } => {
                let name = service.components.into_iter().next().unwrap_or_default();
                self.services.insert(name, Service::Held(Box::new(grant)));
            }
        }
    }

    fn refused(&mut self, what: What, words: String, now: SystemTime) {
        match what {
            What::Initial => {
                self.trouble = Some(Standing::Refused(words));
                self.pause(REFUSED_PAUSE, now);
            }
            What::Renewal { .. } => self.unrenewable = true,
            What::Service { service, .. } => {
                let name = service.components.into_iter().next().unwrap_or_default();
                self.services.insert(name, Service::Absent(words));
            }
        }
    }

    fn pause(&mut self, longest: Duration, now: SystemTime) {
        let pause = FIRST_PAUSE.saturating_mul(2_u32.saturating_pow(self.failures)).min(longest);
        self.failures = self.failures.saturating_add(1);
        self.not_before = Some(now + pause);
    }
}

/// Two thirds into a ticket's life, by our clock.
fn renew_at(grant: &Grant, offset: ClockOffset) -> SystemTime {
    let life = grant.times.end.duration_since(grant.times.start).unwrap_or_default();
    offset.local_time(grant.times.start + life * 2 / 3)
}

#[cfg(test)]
mod tests;
