//! A machine in its account: owns every part of it and lets them talk.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr, SocketAddrV4};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use tokio::sync::mpsc;
use tracing::{debug, info, trace, warn};

use super::error::RunError;
use super::event::{Doors, Event};
use super::kdc::Kerberos;
use super::ping::Pings;
use super::resume::Resume;
use super::roster::Rosters;
use super::tickets::Tickets;
use super::usage::Usage;
use crate::account::driver::Member;
use crate::account::identity::Identity;
use crate::account::name::MachineName;
use crate::clock;
use crate::config::Config;
use crate::config::value::Uplinks;
use crate::control::messages::Counters;
use crate::datapath::Datapath;
use crate::datapath::holding::{Held, Holding};
use crate::engine::{self, Engine, Own};
use crate::esp::Direction;
use crate::ike::{self, Ike};
use crate::lkdc::discover::mdns::driver::{Mdns, Network};
use crate::netwatch::Snapshot;
use crate::portmap::{self, Gateway, Mapper, Mapping, Port, Transport};
use crate::rendezvous::driver::{self as zone, Rendezvous};
use crate::rendezvous::records::Advertisement;
use crate::resolver::{self, Stub};
use crate::xfrm::Xfrm;
use crate::xfrm::port::{KernelEvent, SaEntry, SaId, SaSpec, inner_mtu};

/// Sleep that is shorter leaves nothing behind.
const NAP: Duration = Duration::from_secs(1);

/// What is told of the session and kept by no part of it.
#[derive(Default)]
pub(super) struct Told {
    pub integration: Option<resolver::Integration>,
    pub stub_error: Option<String>,
    pub zone_error: Option<String>,
    pub publish_error: Option<String>,
    /// Why the base gave no new certificate when it was asked last.
    pub renewal_error: Option<String>,
    pub published: Option<(SystemTime, Duration)>,
    /// Our address at the router.
    pub external: Option<SocketAddrV4>,
    pub gate_errors: BTreeMap<String, String>,
    pub counters: Counters,
}

/// A machine in its account.
pub(super) struct Session {
    pub identity: Arc<Identity>,
    pub config: Arc<Config>,
    /// The daemon's runtime folder.
    pub runtime: PathBuf,
    pub engine: Engine,
    pub ike: Ike,
    pub stub: Stub,
    pub mapper: Mapper,
    pub holding: Holding,
    pub xfrm: Xfrm,
    pub datapath: Datapath,
    pub rendezvous: Rendezvous,
    pub doors: Doors,
    pub inner_index: u32,
    /// Of `btmm0`.
    pub mtu: u32,
    pub network: Arc<Snapshot>,
    /// Installed states. An SPI alone does not name one: each end chooses its own.
    pub states: BTreeMap<SaId, SaSpec>,
    pub usage: Usage,
    pub pings: Pings,
    pub resume: Resume,
    pub told: Told,
    /// The router has confirmed that our mappings are given back.
    pub released: bool,
    pub roster: Rosters,
    /// This machine's realm; absent when switched off.
    pub kerberos: Option<Kerberos>,
    /// Tickets of the other machines' services; absent when the certificate cannot be used.
    pub tickets: Option<Tickets>,
    /// For what is done beside the event loop.
    pub inbox: mpsc::Sender<Event>,
    /// What the home network is told, and on which networks.
    pub mdns: Option<(Vec<Network>, Mdns)>,
    /// The way to the base for what is not DNS.
    pub member: Arc<Member>,
}

impl Session {
    /// Waits for the next event. Cancel safe.
    pub async fn next(&mut self) -> Event {
        let timers = [
            self.engine.poll_timeout(),
            self.ike.poll_timeout(),
            self.stub.poll_timeout(),
            self.mapper.poll_timeout(),
            self.holding.poll_timeout(),
            self.roster.poll_timeout(),
            self.tickets.as_ref().and_then(Tickets::poll_timeout),
        ];
        let timeout = timers.into_iter().flatten().map(|(at, _)| at).min();
        self.doors.next(timeout).await
    }

    /// Takes an event in and does all that follows from it.
    pub async fn handle(&mut self, event: Event) -> Result<(), RunError> {
        let now = clock::monotonic();
        match event {
            Event::Datagram(datagram) => {
                self.told.counters.ike_received += 1;
                trace!(local = %datagram.local, remote = %datagram.remote, octets = datagram.bytes.len(), "IKE received");
                let input = ike::Input::Datagram { local: datagram.local, remote: datagram.remote, bytes: datagram.bytes };
                self.ike.handle(input, now);
            }
            Event::SocketsFailed(error) => return Err(RunError::of(format!("UDP port {}", self.doors.sockets.port()), error)),
            Event::WaitingRoomFailed(error) => return Err(error.into()),
            Event::Kernel(Some(event)) => self.kernel_says(event, now).await,
            Event::Kernel(None) => return Err(RunError::of("the kernel's IPsec monitor", "it has ended")),
            Event::Network(snapshot) => {
                self.network_changed(snapshot);
                self.fit_mtu().await;
            }
            Event::Held(packet, at) => self.hold(packet, at),
            Event::Rendezvous(event) => self.zone_says(event, now),
            Event::Query(input) => self.stub.handle(input, now),
            Event::Registered(integration) => self.registered(integration),
            Event::Router(input) => self.mapper.handle(input, now),
            Event::Roster(roster) => self.roster_came(*roster),
            Event::Ticket(done) => self.ticket_came(done.0, done.1),
            Event::TicketWanted(caller, wanted, answer) => self.ticket_wanted(caller, wanted, answer),
            Event::Signed => self.ike.handle(ike::Input::Signed, now),
            Event::ClockJumped(slept) => self.clock_jumped(slept, now),
            Event::Timeout => self.timeout(now),
        }
        self.settle().await;
        self.tend_tickets();
        Ok(())
    }

    fn timeout(&mut self, now: Instant) {
        self.engine.handle(engine::Input::Timeout, now);
        self.ike.handle(ike::Input::Timeout, now);
        self.stub.handle(resolver::Input::Timeout, now);
        self.mapper.handle(portmap::Input::Timeout, now);
        self.holding.handle_timeout(now);
        self.fetch_roster_if_due(now);
        self.renew_tickets();
    }

    async fn kernel_says(&mut self, event: KernelEvent, now: Instant) {
        match event {
            KernelEvent::Acquire { inner_remote, .. } => self.engine.handle(engine::Input::Packet { destination: inner_remote }, now),
            KernelEvent::SoftExpired { id, .. } => {
                if let Some(spi_in) = self.inbound_of(id) {
                    self.ike.handle(ike::Input::RekeyChild { spi_in }, now);
                }
            }
            KernelEvent::HardExpired { id, .. } => {
                if let Some(spi_in) = self.inbound_of(id) {
                    self.ike.handle(ike::Input::ChildExpired { spi_in }, now);
                }
            }
            KernelEvent::Mapping { id, new, .. } => self.ike.handle(ike::Input::Moved { spi_in: id.spi, remote: new }, now),
            KernelEvent::Resync => self.resync(now).await,
        }
    }

    /// SPI of the inbound state of the pair that a state belongs to.
    fn inbound_of(&self, id: SaId) -> Option<u32> {
        let spec = self.states.get(&id)?;
        if spec.direction == Direction::In {
            return Some(spec.spi);
        }
        self.states
            .values()
            .filter(|other| other.direction == Direction::In && other.reqid == spec.reqid)
            .map(|other| other.spi)
            .next_back()
    }

    /// Events were lost.
    async fn resync(&mut self, now: Instant) {
        match self.xfrm.states().await {
            Ok(states) => self.compare(&states, now),
            Err(error) => warn!(%error, "states not compared with the kernel's"),
        }
    }

    /// What the kernel has no more is expired, or somebody else removed it.
    pub(super) fn compare(&mut self, states: &[SaEntry], now: Instant) {
        let gone: Vec<SaId> = self.states.keys().copied().filter(|id| !states.iter().any(|state| state.id == *id)).collect();
        for id in gone {
            if let Some(spi_in) = self.inbound_of(id) {
                self.ike.handle(ike::Input::ChildExpired { spi_in }, now);
            }
        }
    }

    fn hold(&mut self, packet: Vec<u8>, at: Instant) {
        match self.holding.hold(packet, at) {
            Held::First(destination) | Held::Behind(destination) => self.engine.handle(engine::Input::Packet { destination }, at),
            Held::Dropped => self.told.counters.packets_dropped += 1,
        }
    }

    fn zone_says(&mut self, event: zone::Event, now: Instant) {
        match event {
            zone::Event::Peer { machine, advertisement } if machine != *self.identity.name() => {
                if self.engine.peer(&machine).is_none() {
                    debug!(%machine, "not on the roster yet");
                    self.ask_roster();
                }
                self.engine.handle(engine::Input::Advertised { peer: machine, candidates: addresses(advertisement) }, now);
            }
            zone::Event::Peer { .. } => {}
            zone::Event::Published { lease } => {
                self.told.publish_error = None;
                self.told.published = Some((clock::wall(), lease));
            }
            zone::Event::PublishFailed { cause, .. } => {
                warn!(%cause, "not published");
                self.told.publish_error = Some(cause);
            }
            zone::Event::Unreachable { cause } => self.told.zone_error = Some(cause),
            zone::Event::Reachable => {
                self.told.zone_error = None;
                self.ask_roster();
            }
        }
    }

    pub(super) fn network_changed(&mut self, snapshot: Arc<Snapshot>) {
        let now = clock::monotonic();
        let before = std::mem::replace(&mut self.network, snapshot);
        let changes = before.changes(&self.network);
        self.attach_gate();
        self.serve_kerberos();
        self.announce_realm();
        let gateway = self.network.gateway_v4().and_then(|(address, _)| {
            let local = ike::driver::local_for(SocketAddr::from((address, self.config.port.get())));
            match local {
                Ok(IpAddr::V4(local)) => Some(Gateway { address, local }),
                _ => None,
            }
        });
        if self.config.port_mapping.enabled {
            self.mapper.handle(portmap::Input::Gateway(gateway), now);
        }
        self.advertise();
        let ours = self.network.candidates().into_iter().map(|address| SocketAddr::new(address, self.config.port.get())).collect();
        self.ike.handle(ike::Input::Addresses(ours), now);
        if before.interfaces.is_empty() || changes.is_empty() {
            return;
        }
        info!("the network changed");
        self.doubt_all_paths(now);
    }

    /// Nothing that was known of the world outside may be true any more: all of it is asked again.
    fn doubt_all_paths(&mut self, now: Instant) {
        self.rendezvous.network_changed();
        // Which of a peer's addresses can be tried depends on ours.
        let peers: Vec<MachineName> = self.engine.peers().map(|peer| peer.name().clone()).collect();
        peers.iter().for_each(|peer| self.tell_places(peer));
        self.ike.handle(ike::Input::NetworkChanged, now);
        self.mapper.handle(portmap::Input::Refresh, now);
    }

    /// A machine that slept does not know by its timers that its peers have given it up.
    fn clock_jumped(&mut self, slept: std::io::Result<Duration>, now: Instant) {
        match slept {
            Ok(slept) if slept >= NAP => {
                info!(seconds = slept.as_secs(), "awake again");
                self.doubt_all_paths(now);
            }
            Ok(_) => debug!("the clock was set"),
            Err(error) => {
                warn!(%error, "sleep will not be noticed");
                self.doors.jumps = None;
            }
        }
    }

    /// Tells IKE where else a peer may be, if it is up.
    pub(super) fn tell_places(&mut self, peer: &MachineName) {
        let Some(known) = self.engine.peer(peer) else { return };
        let places = engine::order(&self.own(), known.candidates());
        self.ike.handle(ike::Input::Places { peer: peer.in_zone(self.identity.zone()), places }, clock::monotonic());
    }

    /// Gives `btmm0` the MTU that fits inside the narrowest way out. An outer IPv6 header must fit where we could be reached by one.
    pub(super) async fn fit_mtu(&mut self) {
        let ipv6 = self.network.candidates().iter().any(IpAddr::is_ipv6);
        let Some(mtu) = self.network.path_mtu().map(|path| inner_mtu(path, ipv6)) else { return };
        if self.mtu != mtu {
            match self.xfrm.set_mtu(mtu).await {
                Ok(()) => self.mtu = mtu,
                Err(error) => warn!(mtu, %error, "the MTU of btmm0 is not what fits"),
            }
        }
    }

    fn attach_gate(&mut self) {
        let wanted: Vec<String> = match &self.config.uplinks {
            Uplinks::Auto => self.network.uplinks().map(|interface| interface.name.clone()).collect(),
            Uplinks::List(names) => names.iter().map(|name| name.as_str().to_owned()).collect(),
        };
        self.told.gate_errors.clear();
        for name in wanted {
            if let Err(error) = self.datapath.attach_uplink(&name) {
                warn!(interface = %name, %error, "no gate");
                self.told.gate_errors.insert(name, error.to_string());
            }
        }
    }

    /// Publishes where this machine is now; nothing while switched off.
    pub(super) fn advertise(&mut self) {
        let candidates = if self.engine.is_on() {
            engine::candidates(&self.network.candidates(), self.config.port.get(), self.mapping().external())
        } else {
            Vec::new()
        };
        let nat = match self.mapping() {
            Mapping::Public(_) => "public",
            Mapping::Mapped { .. } => "mapped",
            Mapping::None(_) => "unmapped",
        };
        self.rendezvous.advertise(Advertisement {
            machine: self.identity.name().clone(),
            inner: self.identity.inner(),
            candidates,
            nat: nat.to_owned(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            realm: self.published_realm(),
        });
    }

    /// What the router grants for the encapsulation port.
    pub(super) fn mapping(&self) -> Mapping {
        self.mapper.mapping(encapsulation_port(&self.config))
    }

    /// Where we are, for choosing a peer's addresses.
    pub(super) fn own(&self) -> Own {
        Own { addresses: self.network.candidates(), external: self.mapping().external().map(|external| *external.ip()) }
    }

    /// `btmm on`, `btmm off`.
    pub(super) async fn set_switch(&mut self, on: bool) {
        let now = clock::monotonic();
        self.ike.handle(ike::Input::Admit(on), now);
        self.engine.handle(engine::Input::Switch(on), now);
        self.stub.handle(resolver::Input::Switch(on), now);
        self.advertise();
        self.settle().await;
    }

    /// Where a base can be reached by machines that want to join: mapped, public, and on the home network.
    pub(super) fn serving(&self) -> Vec<SocketAddr> {
        let Some(port) = self.config.serve.listen.first().map(SocketAddr::port) else { return Vec::new() };
        let mapped = self.mapper.mapping(Port { transport: Transport::Tcp, number: port }).external();
        engine::candidates(&self.network.candidates(), port, mapped).iter().map(|candidate| candidate.address).collect()
    }

    /// Takes tunnels, mappings and records down and tells everybody, until `end` at the latest.
    pub(super) async fn say_goodbye(&mut self, end: Instant) {
        let now = clock::monotonic();
        self.ike.handle(ike::Input::Admit(false), now);
        self.engine.handle(engine::Input::Switch(false), now);
        self.mapper.handle(portmap::Input::Stop, now);
        self.settle().await;
        self.rendezvous.stop().await;
        while !(self.released && self.ike.farewells() == 0) {
            match tokio::time::timeout_at(end.into(), self.next()).await {
                Ok(event) => {
                    if let Err(error) = self.handle(event).await {
                        return warn!(%error, "goodbyes cut short");
                    }
                }
                Err(_) => return debug!("not everybody confirmed the goodbye"),
            }
        }
    }
}

pub(super) fn addresses(advertisement: Option<Advertisement>) -> Vec<SocketAddr> {
    advertisement.map(|said| said.candidates.iter().map(|candidate| candidate.address).collect()).unwrap_or_default()
}

pub(super) fn encapsulation_port(config: &Config) -> Port {
    Port { transport: Transport::Udp, number: config.port.get() }
}
