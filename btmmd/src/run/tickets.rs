//! Tickets of the machines' services, got with the sharing certificate: of this machine's own, and of others while tunnels are up. And who
//! waits for one.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::{mpsc, watch};
use tokio::task::AbortHandle;
use tracing::{debug, info, warn};

use super::calls::peer_named;
use super::event::Event;
use super::kerberos::own_place;
use super::session::Session;
use crate::account::identity::Identity;
use crate::account::name::MachineName;
use crate::clock;
use crate::config::Config;
use crate::config::value::ServiceName;
use crate::control::error::ControlError;
use crate::control::request::{Answer, Caller};
use crate::control::secrets::{HeldTickets, RealmTickets, TicketWanted};
use crate::engine::{self, Tunnel};
use crate::lkdc::ccache::format;
use crate::lkdc::client::driver::{Error, Kdcs, Ticketed};
use crate::lkdc::client::keeper::{Command, Input, Keeper, Order, Outcome, Peer, Standing, What};
use crate::lkdc::client::{AsExchange, Certificate, ClientError, Secrets, TgsExchange, TgsWish, Wish};
use crate::lkdc::discover::Place;
use crate::lkdc::driver::PORT;
use crate::lkdc::full_name::FullName;
use crate::lkdc::name::{Principal, RealmName};
use crate::lkdc::pkinit::Signatory;

/// The wall clock may be set, and stands still for nobody: timers that follow it are looked at this often.
const LOOK: Duration = Duration::from_secs(60);
/// Callers that wait for a ticket at the most.
const WAITING_MAX: usize = 64;

/// The keeper, what it is told by, and who listens to it.
pub(super) struct Tickets {
    keeper: Keeper,
    certificate: Certificate,
    inbox: mpsc::Sender<Event>,
    under_way: Vec<UnderWay>,
    waiting: Vec<Waiting>,
    told: watch::Sender<Arc<HeldTickets>>,
    /// A tunnel came or went, or the roster changed: who is reachable must be looked at again.
    stale: bool,
}

/// An order that is being carried out, until this is dropped: its next datagram would raise the tunnel again that has just gone.
struct UnderWay {
    realm: RealmName,
    task: AbortHandle,
}

impl Drop for UnderWay {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Somebody who waits for a ticket.
struct Waiting {
    machine: MachineName,
    realm: RealmName,
    service: Option<String>,
    answer: Answer<RealmTickets>,
}

impl Tickets {
    /// Holds nothing yet. `None` when this machine's certificate does not go with its key. What orders come to arrives through `inbox`.
    pub fn new(identity: &Identity, config: &Config, inbox: mpsc::Sender<Event>) -> Option<Self> {
        let signatory = match Signatory::new(identity.key().clone(), identity.certificate().to_vec()) {
            Ok(signatory) => signatory,
            Err(error) => {
                warn!(%error, "no tickets are got with the certificate");
                return None;
            }
        };
        let certificate = Certificate::of_machine(signatory, identity.trust());
        let services = config.lkdc.services.iter().map(|name| name.as_str().to_owned()).collect();
        let keeper = Keeper::new(Principal::user(identity.account().as_str()), services);
        let told = watch::Sender::new(Arc::default());
        Some(Self { keeper, certificate, inbox, under_way: Vec::new(), waiting: Vec::new(), told, stale: true })
    }

    /// When to look at the keeper again.
    pub fn poll_timeout(&self) -> Option<(Instant, &'static str)> {
        let (at, why) = self.keeper.poll_timeout()?;
        let wait = at.duration_since(clock::wall()).unwrap_or_default().min(LOOK);
        Some((clock::monotonic() + wait, why))
    }

    /// Whoever listens to what is held.
    pub fn listen(&self) -> watch::Receiver<Arc<HeldTickets>> {
        self.told.subscribe()
    }

    /// A tunnel came or went, or the roster changed.
    pub fn look_again(&mut self) {
        self.stale = true;
    }

    /// There is no reaching a machine: whoever waits for a ticket of it waits in vain.
    pub fn unreachable(&mut self, machine: &MachineName, cause: &str) {
        for waiting in self.waiting.extract_if(.., |waiting| waiting.machine == *machine) {
            let error = ControlError::Unreachable { machine: machine.to_string(), message: cause.to_owned() };
            // A caller who has hung up wants no answer.
            let _ = waiting.answer.send(Err(error));
        }
    }

    /// Does what the keeper wants. Whether it holds something else now.
    fn perform(&mut self) -> bool {
        let mut changed = false;
        while let Some(command) = self.keeper.poll_command() {
            match command {
                Command::Get(order) => {
                    let (certificate, inbox) = (self.certificate.clone(), self.inbox.clone());
                    let realm = order.peer.realm.clone();
                    let task = tokio::spawn(async move {
                        let outcome = carry_out(&order, certificate).await;
                        // The session may have ended meanwhile: then nobody needs the ticket.
                        let _ = inbox.send(Event::Ticket(Box::new((order, outcome)))).await;
                    });
                    self.under_way.retain(|order| !order.task.is_finished());
                    self.under_way.push(UnderWay { realm, task: task.abort_handle() });
                }
                Command::Save(..) | Command::Forget(_) => changed = true,
            }
        }
        changed
    }

    /// Answers those whose ticket is there, or will not come.
    fn answer(&mut self, realms: &[Place], own: &MachineName) {
        let now = clock::wall();
        let Self { keeper, waiting, .. } = self;
        waiting.retain(|waiting| !waiting.answer.is_closed());
        let standing = |waiting: &Waiting| keeper.standing(&waiting.realm, waiting.service.as_deref(), now);
        let (over, still) = std::mem::take(waiting).into_iter().partition(|waiting| standing(waiting) != Standing::Coming);
        *waiting = still;
        for waiting in over {
            let ticket = named(waiting.service.as_deref(), &waiting.machine);
            let held = || tickets_of(keeper, realms.iter().find(|place| place.realm == waiting.realm)?, own);
            let answer = match standing(&waiting) {
                Standing::Held | Standing::Coming => held().ok_or_else(|| ControlError::failed(ticket, "the machine has left the account")),
                Standing::Refused(message) => Err(ControlError::TicketRefused { ticket, message }),
                Standing::Failed(cause) => Err(ControlError::failed(ticket, cause)),
            };
            let _ = waiting.answer.send(answer);
        }
    }
}

impl Session {
    /// Follows tunnels and roster, and does what the keeper of tickets wants.
    pub(super) fn tend_tickets(&mut self) {
        if !self.tickets.as_ref().is_some_and(|tickets| tickets.stale) {
            return;
        }
        let realms = self.realms();
        let known = self.roster.current().is_some();
        let up = self.engine.peers().filter(|peer| matches!(peer.tunnel(), Tunnel::Up { .. }));
        let own = self.kerberos.is_some().then(|| own_place(&self.identity));
        let up = up.filter_map(|peer| realms.of_host(peer.name().as_str())).chain(&own);
        let up: Vec<Peer> = up.map(kdc_of).collect();
        if let Some(tickets) = &mut self.tickets {
            tickets.stale = false;
            tickets.under_way.retain(|order| up.iter().any(|peer| peer.realm == order.realm));
            let gone = tickets.keeper.realms().filter(|realm| known && realms.of_realm(realm).is_none()).cloned().collect();
            let now = clock::wall();
            tickets.keeper.handle(Input::Gone(gone), now);
            tickets.keeper.handle(Input::Reachable(up), now);
        }
        self.perform_tickets(known);
    }

    /// The time of a renewal may have come.
    pub(super) fn renew_tickets(&mut self) {
        if let Some(tickets) = &mut self.tickets {
            tickets.keeper.handle(Input::Timeout, clock::wall());
            self.perform_tickets(false);
        }
    }

    /// An order was carried out.
    pub(super) fn ticket_came(&mut self, order: Order, outcome: Outcome) {
        let what = what_of(&order);
        match &outcome {
            Outcome::Granted(grant, ..) => {
                let until = grant.times.end.duration_since(std::time::UNIX_EPOCH).unwrap_or_default().as_secs();
                info!(target: "btmmd::audit", ticket = what, client = %order.client.principal, until, "ticket got");
            }
            Outcome::Refused(words) => info!(target: "btmmd::audit", ticket = what, words, "ticket not got"),
            Outcome::Failed(why) => debug!(ticket = what, why, "no ticket; it is tried again"),
        }
        if let Some(tickets) = &mut self.tickets {
            tickets.keeper.handle(Input::Done(Box::new(order), outcome), clock::wall());
            self.perform_tickets(false);
        }
    }

    fn perform_tickets(&mut self, roster_changed: bool) {
        let realms = self.realms();
        let known = self.roster.current().is_some();
        let own = self.identity.name();
        let Some(tickets) = &mut self.tickets else { return };
        if tickets.perform() || roster_changed {
            let held = HeldTickets {
                realms: realms.places().iter().filter(|_| known).map(|place| place.realm.to_string()).collect(),
                tickets: realms.places().iter().filter_map(|place| tickets_of(&tickets.keeper, place, own)).collect(),
            };
            if **tickets.told.borrow() != held {
                tickets.told.send_replace(Arc::new(held));
            }
        }
        tickets.answer(realms.places(), own);
    }

    /// Somebody who may have it waits for a ticket.
    pub(super) fn ticket_wanted(&mut self, caller: Caller, wanted: TicketWanted, answer: Answer<RealmTickets>) {
        match self.place_of(&wanted) {
            Err(error) => drop(answer.send(Err(error))),
            Ok(place) => {
                let Some(tickets) = &mut self.tickets else { return };
                let TicketWanted { service, .. } = wanted;
                info!(target: "btmmd::audit", uid = caller.uid, ticket = named(service.as_deref(), &place.machine), "ticket asked for");
                tickets.keeper.handle(Input::Wanted(kdc_of(&place), service.clone()), clock::wall());
                tickets.waiting.push(Waiting { machine: place.machine.clone(), realm: place.realm, service, answer });
                if place.machine != *self.identity.name() {
                    self.engine.handle(engine::Input::Want { peer: place.machine }, clock::monotonic());
                }
                self.perform_tickets(false);
            }
        }
    }

    /// Whose KDC is to be asked, when the call makes sense.
    fn place_of(&self, wanted: &TicketWanted) -> Result<Place, ControlError> {
        let machine = self.machine_named(&wanted.machine)?;
        let ticket = named(wanted.service.as_deref(), machine);
        let refused = |message: &str| ControlError::TicketRefused { ticket: ticket.clone(), message: message.to_owned() };
        if let Some(service) = wanted.service.clone() {
            ServiceName::try_from(service).map_err(|message| ControlError::BadArgument { argument: "service".to_owned(), message })?;
        }
        let account = self.identity.account().as_str();
        if wanted.user.as_deref().is_some_and(|user| user != account) {
            return Err(refused(&format!("the certificate gets tickets of {account} only")));
        }
        let tickets = self.tickets.as_ref().ok_or_else(|| refused("this machine's certificate does not go with its key"))?;
        if tickets.waiting.len() >= WAITING_MAX {
            return Err(ControlError::failed(ticket, "too many callers wait for tickets"));
        }
        if machine == self.identity.name() && self.kerberos.is_none() {
            return Err(refused("this machine gives no tickets: enabled is false under [lkdc] in btmmd.toml"));
        }
        let place = self.realms().of_host(machine.as_str()).cloned();
        place.ok_or_else(|| ControlError::failed(ticket, "the machine is not on the account's list yet"))
    }

    /// A machine of the account, this one among them, by its name: one label, or in full.
    fn machine_named(&self, name: &str) -> Result<&MachineName, ControlError> {
        let (own, zone) = (self.identity.name(), self.identity.zone());
        if name.parse::<MachineName>().ok().or_else(|| zone.machine(name)).as_ref() == Some(own) {
            return Ok(own);
        }
        peer_named(&self.engine, zone, name).map(engine::Peer::name)
    }
}

fn kdc_of(place: &Place) -> Peer {
    Peer { realm: place.realm.clone(), host: place.fqdn.clone(), kdc: SocketAddr::new(IpAddr::V6(place.inner), PORT) }
}

fn named(service: Option<&str>, machine: &MachineName) -> String {
    format!("{}@{machine}", service.unwrap_or("krbtgt"))
}

fn what_of(order: &Order) -> String {
    match &order.what {
        What::Initial | What::Renewal { .. } => format!("krbtgt@{}", order.peer.host),
        What::Service { service, .. } => service.to_string(),
    }
}

fn tickets_of(keeper: &Keeper, place: &Place, own: &MachineName) -> Option<RealmTickets> {
    let cache = keeper.cache(&place.realm)?;
    let cache = data_encoding::BASE64.encode(&format::emit(&cache)).into();
    Some(RealmTickets { realm: place.realm.to_string(), machine: place.fqdn.clone(), own: place.machine == *own, cache })
}

/// Asks the KDC. Nobody is asked for anything: the certificate is all there is to prove with.
async fn carry_out(order: &Order, certificate: Certificate) -> Outcome {
    let kdcs = Kdcs::at(vec![order.peer.kdc]);
    let got = match &order.what {
        What::Initial => kdcs.initial(AsExchange::new(Wish::tgt(order.client.clone()), Secrets::certificate(certificate))).await,
        What::Renewal { tgt, offset } => kdcs.ticket(TgsExchange::new(TgsWish::renewal(tgt), (**tgt).clone(), *offset)).await,
        What::Service { service, tgt, offset } => {
            let server = FullName::new(service.clone(), order.peer.realm.as_str());
            kdcs.ticket(TgsExchange::new(TgsWish::service(server, tgt), (**tgt).clone(), *offset)).await
        }
    };
    match got {
        Ok(Ticketed { grant, offset, notes }) => Outcome::Granted(Box::new(grant), offset, notes),
        Err(Error::Client(error @ ClientError::Refused { .. })) => Outcome::Refused(error.to_string()),
        Err(error) => Outcome::Failed(error.to_string()),
    }
}
