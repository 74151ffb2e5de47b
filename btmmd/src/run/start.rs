//! Brings up a session: the kernel first, then every part, from identity and configuration.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

use tokio::sync::{mpsc, watch};
use tracing::warn;

use super::error::RunError;
use super::event::Doors;
use super::kdc::Kerberos;
use super::paths::Paths;
use super::ping::Pings;
use super::resume::Resume;
use super::roster::Rosters;
use super::session::{Session, Told, encapsulation_port};
use super::tickets::Tickets;
use super::usage::Usage;
use crate::account::credentials::IdentityCredentials;
use crate::account::driver::Member;
use crate::account::identity::Identity;
use crate::account::roster::Roster;
use crate::account::tls::OwnCertificate;
use crate::clock::{self, Jumps};
use crate::config::Config;
use crate::config::value::{LogLevel, Resolved};
use crate::datapath::holding::{Holding, Limits};
use crate::datapath::waiting_room::WaitingRoom;
use crate::datapath::{self, Datapath};
use crate::engine::{self, Engine};
use crate::entropy::SystemEntropy;
use crate::ike::driver::EncapSockets;
use crate::ike::{self, Ike, IkeConfig};
use crate::lkdc::principals::SharedRegister;
use crate::netwatch::{self, Snapshot};
use crate::portmap::{self, Mapper, Port, Transport};
use crate::rendezvous::driver::{self as zone, Base, Rendezvous};
use crate::rendezvous::tsig::TsigSecret;
use crate::resolver::{self, Stub};
use crate::xfrm::Xfrm;
use crate::xfrm::port::{DEFAULT_MTU, InnerNetwork};

impl Session {
    /// Brings the kernel to what this machine's account needs and starts every part. The guard comes first. `roster` is the newest one
    /// kept, or why it cannot be read: whoever judges certificates has it before anybody can ask.
    pub async fn start(
        identity: Arc<Identity>,
        roster: Result<Roster, String>,
        config: Arc<Config>,
        paths: Paths,
        base: Base,
        on: bool,
        register: Option<SharedRegister>,
    ) -> Result<Self, RunError> {
        identity.key().attend();
        let xfrm = Xfrm::open()?;
        let kernel = Xfrm::monitor()?;
        let inner = InnerNetwork { address: identity.inner(), prefix: identity.prefix().network(), mtu: DEFAULT_MTU };
        let inner_index = xfrm.raise(&inner).await?;
        xfrm.reconcile(&[]).await?;
        xfrm.warm_up().await?;
        let mut datapath = load(paths.pins.clone(), gate_settings(&config, &identity, &paths)).await?;
        if let Some(warning) = datapath.warning() {
            warn!("{warning}");
        }
        if let Some(log) = datapath.take_log() {
            tokio::spawn(log.run());
        }
        datapath.clear_inbound_sas()?;
        datapath.clear_ready_peers()?;
        let waiting_room = WaitingRoom::open().await?;
        datapath.attach_waiting_room(inner_index, waiting_room.index())?;
        let sockets = EncapSockets::bind(config.port.get())?;
        let network = netwatch::linux::watch().await.map_err(|error| RunError::of("network interfaces", error))?;
        let mut told = Told::default();
        let stub_driver = open_stub(&config, &mut told).await;
        let (rendezvous, zone) = Rendezvous::spawn(zone_settings(&config, &identity)?, base)?;
        let member =
            Member::new((*identity).clone(), OwnCertificate::new(&identity), &paths.state).map_err(|error| RunError::of("TLS", error))?;
        let (told_roster, roster_now) = watch::channel(roster.as_ref().ok().cloned());
        let credentials = IdentityCredentials::new((*identity).clone(), roster_now, clock::wall);
        let (inbox_in, inbox) = mpsc::channel(16);
        let first = network.borrow().clone();
        let mut session = Self {
            engine: Engine::new(engine::Settings { idle: config.idle_timeout.duration(), ..engine::Settings::default() }, on),
            ike: Ike::new(ike_config(&config), Box::new(credentials), Box::new(SystemEntropy)),
            stub: Stub::new(resolver::Config::default()),
            mapper: Mapper::new(portmap::Config::new(ports(&config, &identity))),
            holding: Holding::new(Limits::default()),
            doors: Doors {
                sockets,
                waiting_room,
                stub: stub_driver,
                resolved: None,
                router: portmap::driver::Driver::new(),
                jumps: Jumps::watch().inspect_err(|error| warn!(%error, "sleep will not be noticed")).ok(),
                kernel,
                network,
                zone,
                inbox,
                key: identity.key().clone(),
            },
            xfrm,
            datapath,
            rendezvous,
            inner_index,
            mtu: DEFAULT_MTU,
            network: Arc::new(Snapshot::default()),
            states: BTreeMap::new(),
            usage: Usage::default(),
            pings: Pings::default(),
            resume: Resume::load(paths.tunnels()),
            told,
            released: false,
            roster: Rosters::new(inbox_in.clone(), told_roster, roster.as_ref().err().cloned()),
            member: Arc::new(member),
            mdns: None,
            tickets: Tickets::new(&identity, &config, inbox_in.clone()),
            inbox: inbox_in,
            kerberos: register.map(|register| Kerberos::new(&identity, register, roster.as_ref().ok(), &config)),
            identity,
            config,
            runtime: paths.runtime.clone(),
        };
        session.network_changed(first);
        session.fit_mtu().await;
        if let Ok(roster) = roster {
            session.set_roster(roster);
        }
        session.stub.handle(resolver::Input::Switch(on), clock::monotonic());
        session.ike.handle(ike::Input::Admit(on), clock::monotonic());
        session.resume();
        session.settle().await;
        session.tend_tickets();
        session.point_resolved();
        session.ask_roster();
        Ok(session)
    }

    /// Has systemd-resolved told where the account's names are answered, where it runs; on its own from then on.
    pub(super) fn point_resolved(&mut self) {
        let (None, Some(stub), Some(table)) = (&self.doors.resolved, &self.doors.stub, self.table()) else { return };
        let Ok(address) = stub.address() else { return };
        match self.config.resolver.resolved {
            Resolved::Auto => {
                let link = resolver::Link::new(self.inner_index, address, &table);
                self.doors.resolved = Some(resolver::linux::Registration::start(link));
            }
            Resolved::Off => {
                let zone = self.identity.zone().to_string();
                self.told.integration = Some(resolver::Integration::Manual { stub: address, zone });
            }
        }
    }

    /// systemd-resolved was told, or could not be.
    pub(super) fn registered(&mut self, integration: resolver::Integration) {
        if let resolver::Integration::Refused(reason) = &integration {
            warn!(%reason, "systemd-resolved does not ask btmmd; it is told again soon");
        }
        self.told.integration = Some(integration);
    }
}

/// Loading waits for the kernel's verifier, without yielding to anybody else: in a thread of its own.
async fn load(pins: PathBuf, settings: datapath::Settings) -> Result<Datapath, RunError> {
    let loaded = tokio::task::spawn_blocking(move || Datapath::open(&pins, &settings)).await;
    Ok(loaded.map_err(|error| RunError::of("loading the eBPF programs", error))??)
}

async fn open_stub(config: &Config, told: &mut Told) -> Option<resolver::driver::Driver> {
    if !config.resolver.enabled {
        return None;
    }
    match resolver::driver::Driver::bind(SocketAddr::new(config.resolver.stub.address(), 53)).await {
        Ok(driver) => Some(driver),
        Err(error) => {
            warn!(%error, "names are not resolved");
            told.stub_error = Some(error.to_string());
            None
        }
    }
}

fn zone_settings(config: &Config, identity: &Identity) -> Result<zone::Settings, RunError> {
    let secret = TsigSecret::new(identity.tsig().secret()).map_err(|error| RunError::of(identity.tsig().name(), error))?;
    Ok(zone::Settings {
        zone: identity.zone().clone(),
        machine: identity.name().clone(),
        secret,
        lease: std::time::Duration::from_secs(7200),
        poll: config.poll_interval.duration(),
        first_delay: std::time::Duration::ZERO,
        allow_loopback: false,
    })
}

fn ports(config: &Config, identity: &Identity) -> Vec<Port> {
    let mut ports = vec![encapsulation_port(config)];
    if identity.is_base() {
        ports.extend(config.serve.listen.first().map(|listen| Port { transport: Transport::Tcp, number: listen.port() }));
    }
    ports
}

fn gate_settings(config: &Config, identity: &Identity, paths: &Paths) -> datapath::Settings {
    datapath::Settings {
        port: config.port.get(),
        prefix: Some(identity.prefix().network()),
        ike_per_second: config.ike.rate.get(),
        ike_burst: config.ike.burst.get(),
        program_log: config.log_level == LogLevel::Trace,
        ..datapath::Settings::new(&paths.state)
    }
}

fn ike_config(config: &Config) -> IkeConfig {
    let child = config.ike.child_lifetime.duration();
    IkeConfig {
        child_lifetime: child,
        child_hard_lifetime: child + child / 6,
        ike_lifetime: config.ike.ike_lifetime.duration(),
        ..IkeConfig::default()
    }
}
