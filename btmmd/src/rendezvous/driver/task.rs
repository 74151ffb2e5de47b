//! The task that joins publisher, directory and client, and the handle to it.

use std::collections::BTreeMap;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use futures::StreamExt;
use futures::future::BoxFuture;
use futures::stream::FuturesUnordered;
use hickory_proto::rr::Record;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep_until, timeout};

use super::{Base, DotClient, RendezvousError, random};
use crate::account::name::{MachineName, ZoneName};
use crate::clock;
use crate::rendezvous::directory::{self, Directory};
use crate::rendezvous::lease::ASKED;
use crate::rendezvous::publisher::{self, Publisher};
use crate::rendezvous::records::{Advertisement, Filter, as_read, withdrawal};
use crate::rendezvous::tsig::TsigSecret;

/// A goodbye is worth this long.
const GOODBYE: Duration = Duration::from_secs(2);

/// What the rendezvous needs to know.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The account's zone.
    pub zone: ZoneName,
    /// This machine.
    pub machine: MachineName,
    /// Its secret.
    pub secret: TsigSecret,
    /// Lease to ask for (7200 s).
    pub lease: Duration,
    /// Between two looks at the zone (30 s).
    pub poll: Duration,
    /// The first registration after boot waits a random part of this (3 s; 0 in tests and after a restart).
    pub first_delay: Duration,
    /// Tests on one machine only: loopback candidates count.
    pub allow_loopback: bool,
}

impl Settings {
    /// The usual: 7200 s, every 30 s, no delay, no loopback.
    pub fn new(zone: ZoneName, machine: MachineName, secret: TsigSecret) -> Self {
        let (lease, poll) = (Duration::from_secs(ASKED.into()), Duration::from_secs(30));
        Self { zone, machine, secret, lease, poll, first_delay: Duration::ZERO, allow_loopback: false }
    }
}

/// What happened, for the run loop.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// A machine's advertisement is new or has changed, or is gone (`None`: it said goodbye or its lease ended).
    Peer {
        /// Which machine; possibly this one.
        machine: MachineName,
        /// What it says now.
        advertisement: Option<Advertisement>,
    },
    /// Our own records are in the zone.
    Published {
        /// For how long, unless refreshed (they will be).
        lease: Duration,
    },
    /// Our own records could not be put into the zone.
    PublishFailed {
        /// In words.
        cause: String,
        /// When it will be tried again.
        retry_in: Duration,
    },
    /// The zone could not be read; what is known of peers is kept.
    Unreachable {
        /// In words.
        cause: String,
    },
    /// The zone can be read again.
    Reachable,
}

enum Order {
    Advertise(Advertisement),
    LookNow(&'static str),
    NetworkChanged,
    Stop,
}

type Peers = Arc<RwLock<BTreeMap<MachineName, Advertisement>>>;

/// The one handle the run loop needs: publishes this machine, keeps every peer's advertisement fresh.
pub struct Rendezvous {
    orders: mpsc::UnboundedSender<Order>,
    peers: Peers,
    task: JoinHandle<()>,
}

impl Rendezvous {
    /// Starts the task. Events come in order.
    pub fn spawn(settings: Settings, base: Base) -> Result<(Self, mpsc::UnboundedReceiver<Event>), RendezvousError> {
        let client = DotClient::new(base, &settings.machine, &settings.zone, settings.secret.clone())?;
        let (orders, incoming) = mpsc::unbounded_channel();
        let (events, outgoing) = mpsc::unbounded_channel();
        let peers = Peers::default();
        let task = Task::new(settings, client, events, peers.clone());
        let task = tokio::spawn(task.run(incoming));
        Ok((Self { orders, peers, task }, outgoing))
    }

    /// Publishes this, instead of what was published before (merged over 1 s).
    pub fn advertise(&self, advertisement: Advertisement) {
        self.order(Order::Advertise(advertisement));
    }

    /// A peer does not answer, or an unknown name was asked for: look at the zone now. Cheap; may be called often.
    pub fn look_now(&self, why: &'static str) {
        self.order(Order::LookNow(why));
    }

    /// The machine woke, or its addresses or routes changed: connect anew, refresh our records, look at the zone.
    pub fn network_changed(&self) {
        self.order(Order::NetworkChanged);
    }

    /// What `machine` last said, while its lease lasts.
    pub fn lookup(&self, machine: &MachineName) -> Option<Advertisement> {
        self.peers.read().unwrap_or_else(PoisonError::into_inner).get(machine).cloned()
    }

    /// Everyone heard of, this machine included once published; by name.
    pub fn peers(&self) -> Vec<Advertisement> {
        self.peers.read().unwrap_or_else(PoisonError::into_inner).values().cloned().collect()
    }

    /// Takes our records out of the zone (for at most 2 s) and ends the task.
    pub async fn stop(&mut self) {
        self.order(Order::Stop);
        let _ = (&mut self.task).await; // a task that panicked has nothing left to say goodbye with
    }

    fn order(&self, order: Order) {
        let _ = self.orders.send(order); // fails only when the task is gone, and then its events have ended
    }
}

enum Outcome {
    Published(Result<Duration, RendezvousError>),
    Serial(Result<u32, RendezvousError>),
    Zone(Result<(u32, Vec<Record>), RendezvousError>),
}

struct Task {
    settings: Settings,
    client: Arc<DotClient>,
    publisher: Publisher,
    directory: Directory,
    work: FuturesUnordered<BoxFuture<'static, Outcome>>,
    events: mpsc::UnboundedSender<Event>,
    peers: Peers,
}

impl Task {
    fn new(settings: Settings, client: DotClient, events: mpsc::UnboundedSender<Event>, peers: Peers) -> Self {
        let watched = directory::Settings {
            zone: settings.zone.clone(),
            poll: settings.poll,
            horizon: settings.lease,
            filter: Filter { allow_loopback: settings.allow_loopback },
        };
        Self {
            publisher: Publisher::new(settings.first_delay, random()),
            directory: Directory::new(watched, clock::monotonic()),
            settings,
            client: Arc::new(client),
            work: FuturesUnordered::new(),
            events,
            peers,
        }
    }

    async fn run(mut self, mut orders: mpsc::UnboundedReceiver<Order>) {
        loop {
            let due = [self.publisher.poll_timeout(), self.directory.poll_timeout()].into_iter().flatten().min();
            let due = due.map(|(at, _)| Instant::from_std(at));
            tokio::select! {
                order = orders.recv() => match order {
                    Some(Order::Stop) | None => return self.goodbye().await,
                    Some(order) => self.obey(order),
                },
                Some(outcome) = self.work.next() => self.conclude(outcome),
                () = sleep_until(due.unwrap_or_else(Instant::now)), if due.is_some() => {
                    self.publish(publisher::Input::Timeout);
                    self.watch(directory::Input::Timeout);
                }
            }
        }
    }

    fn obey(&mut self, order: Order) {
        match order {
            Order::Advertise(advertisement) => self.publish(publisher::Input::Advertise(advertisement)),
            Order::LookNow(why) => {
                tracing::debug!(why, "looking at the zone now");
                self.watch(directory::Input::LookNow);
            }
            Order::NetworkChanged => {
                self.client.reset();
                self.publish(publisher::Input::Hurry);
                self.watch(directory::Input::LookNow);
            }
            Order::Stop => {}
        }
    }

    fn conclude(&mut self, outcome: Outcome) {
        match outcome {
            Outcome::Published(Ok(lease)) => {
                self.publish(publisher::Input::Granted(lease));
                self.watch(directory::Input::LookNow);
            }
            Outcome::Published(Err(error)) => self.publish(publisher::Input::Failed(error.to_string())),
            Outcome::Serial(Ok(serial)) => self.watch(directory::Input::Serial(serial)),
            Outcome::Zone(Ok((serial, records))) => self.watch(directory::Input::Zone(serial, records)),
            Outcome::Serial(Err(error)) | Outcome::Zone(Err(error)) => self.watch(directory::Input::Failed(error.to_string())),
        }
    }

    fn publish(&mut self, input: publisher::Input) {
        match self.publisher.handle(input, clock::monotonic()) {
            Some(publisher::Command::Send(advertisement)) => {
                let (client, lease, zone) = (self.client.clone(), self.settings.lease, self.settings.zone.clone());
                self.work.push(Box::pin(async move {
                    let changes = advertisement.to_update(&zone).map_err(RendezvousError::from);
                    Outcome::Published(match changes {
                        Ok(changes) => client.update(&changes, lease).await,
                        Err(error) => Err(error),
                    })
                }));
            }
            Some(publisher::Command::Published(lease)) => self.tell(Event::Published { lease }),
            Some(publisher::Command::Failed { cause, retry_in }) => self.tell(Event::PublishFailed { cause, retry_in }),
            None => {}
        }
    }

    fn watch(&mut self, input: directory::Input) {
        for command in self.directory.handle(input, clock::monotonic()) {
            let client = self.client.clone();
            match command {
                directory::Command::AskSerial => self.work.push(Box::pin(async move { Outcome::Serial(client.serial().await) })),
                directory::Command::AskZone => self.work.push(Box::pin(async move { Outcome::Zone(client.transfer().await) })),
                directory::Command::Changed(machine, advertisement) => self.changed(machine, advertisement),
                directory::Command::Read => self.compare(),
                directory::Command::Unreachable(cause) => self.tell(Event::Unreachable { cause }),
                directory::Command::Reachable => {
                    self.publish(publisher::Input::Reachable);
                    self.tell(Event::Reachable);
                }
            }
        }
    }

    /// A base restored from an older file may list us wrongly, or not at all.
    fn compare(&mut self) {
        let filter = Filter { allow_loopback: self.settings.allow_loopback };
        let Some(wanted) = self.publisher.wanted() else { return };
        if as_read(wanted, &self.settings.zone, filter).as_ref() != self.directory.lookup(&self.settings.machine) {
            self.publish(publisher::Input::Missing);
        }
    }

    fn changed(&self, machine: MachineName, advertisement: Option<Advertisement>) {
        {
            let mut peers = self.peers.write().unwrap_or_else(PoisonError::into_inner);
            match advertisement.clone() {
                Some(advertisement) => peers.insert(machine.clone(), advertisement),
                None => peers.remove(&machine),
            };
        }
        self.tell(Event::Peer { machine, advertisement });
    }

    fn tell(&self, event: Event) {
        let _ = self.events.send(event); // who does not listen does not mind
    }

    async fn goodbye(self) {
        if !self.publisher.may_be_listed() {
            return;
        }
        // An update under way must not come after the goodbye.
        drop(self.work);
        let Ok(changes) = withdrawal(&self.settings.machine, &self.settings.zone) else { return };
        match timeout(GOODBYE, self.client.update(&changes, self.settings.lease)).await {
            Ok(Ok(_)) => {}
            Ok(Err(error)) => tracing::warn!(%error, "our records stay in the zone until their lease ends"),
            Err(_) => tracing::warn!("our records stay in the zone until their lease ends: the base does not answer"),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::*;
    use crate::rendezvous::driver::SharedServer;
    use crate::rendezvous::samples::imac;

    #[tokio::test]
    async fn a_zone_that_can_be_read_again_hurries_our_own_registration() {
        let (zone, machine): (ZoneName, MachineName) = ("alice.btmm.internal".parse().unwrap(), "imac".parse().unwrap());
        let secret = TsigSecret::new(&[7; 32]).unwrap();
        let server = SharedServer::open(&zone, &machine, PathBuf::from("/nonexistent/zone")).unwrap();
        let client = DotClient::new(Base::Local(server), &machine, &zone, secret.clone()).unwrap();
        let (events, _listener) = mpsc::unbounded_channel();
        let mut task = Task::new(Settings::new(zone, machine, secret), client, events, Peers::default());
        task.publish(publisher::Input::Advertise(imac("a")));
        task.publish(publisher::Input::Timeout);
        task.conclude(Outcome::Published(Err(RendezvousError::Closed)));
        assert_eq!(task.publisher.poll_timeout().unwrap().1, "the last registration failed");
        task.conclude(Outcome::Zone(Err(RendezvousError::Closed)));
        task.conclude(Outcome::Zone(Ok((1, Vec::new()))));
        assert_eq!(task.publisher.poll_timeout().unwrap().1, "the base is back");
    }
}
