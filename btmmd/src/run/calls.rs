//! What people and programs ask for over the control socket.

use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use tracing::info;

use super::daemon::{Daemon, Stage};
use super::session::Session;
use super::starting::{Joining, Waiting};
use super::{metrics, switch};
use crate::account::identity::Identity;
use crate::account::name::{AccountName, MachineName, ZoneName};
use crate::clock;
use crate::config::Config;
use crate::control::error::ControlError;
use crate::control::messages::{
    AccountCreate, AccountStatus, Finding, Firewall, Invitation, Join, Machines, Metrics, Pong, Reloaded, RendezvousStatus, ResolverStatus,
    Severity, Status, Switched,
};
use crate::control::request::{Answer, Call, ControlRequest};
use crate::datapath::firewall;
use crate::engine::{self, Engine, Peer};
use crate::ike;

/// A join crosses the internet.
const JOIN: Duration = Duration::from_secs(30);

type Answered<T> = Result<T, ControlError>;

impl Daemon {
    /// Answers one call. Who may make it has been checked.
    pub(super) async fn answer(&mut self, request: ControlRequest) {
        if let (Stage::Starting(starting), Call::Machines(_) | Call::Ping(..) | Call::Invite(_) | Call::Ticket(..) | Call::Tickets(_)) =
            (&mut self.stage, &request.call)
        {
            return starting.wait(Waiting::Call(request));
        }
        // A caller who has hung up wants no answer: the sends below may fail, and nothing is lost.
        match request.call {
            Call::Status(answer) => drop(answer.send(Ok(self.status().await))),
            Call::Machines(answer) => drop(answer.send(self.machines().await)),
            Call::Ping(machine, answer) => self.ping(&machine, answer).await,
            Call::On(answer) => drop(answer.send(self.set_switch(true).await)),
            Call::Off(answer) => drop(answer.send(self.set_switch(false).await)),
            Call::AccountCreate(wanted, answer) => self.create(wanted, answer).await,
            Call::Invite(answer) => drop(answer.send(self.invite())),
            Call::Join(wanted, answer) => self.join(wanted, answer),
            Call::Passwd(wanted, answer) => self.passwd(request.caller, wanted, answer),
            Call::Keytab(wanted, answer) => self.keytab(request.caller, wanted, answer),
            Call::Services(answer) => self.services(answer),
            Call::Require(wanted, answer) => self.require(request.caller, wanted, answer),
            Call::Ticket(wanted, answer) => self.ticket(request.caller, wanted, answer),
            Call::Tickets(answer) => self.tickets(request.caller, answer),
            Call::Reload(answer) => drop(answer.send(self.reload())),
            Call::Metrics(answer) => drop(answer.send(Ok(Metrics { text: metrics::text(&self.status().await) }))),
        }
    }

    pub(super) fn session(&self) -> Answered<&Session> {
        match &self.stage {
            Stage::Member(session) => Ok(session),
            Stage::Alone => Err(ControlError::NoAccount {}),
            Stage::Starting(_) => Err(ControlError::failed("btmmd", "it is still starting")),
            Stage::Broken { cause, .. } => Err(ControlError::failed("btmmd", cause)),
        }
    }

    async fn status(&self) -> Status {
        match &self.stage {
            Stage::Member(session) => session.status().await,
            Stage::Alone => self.bare_status(Vec::new()),
            Stage::Starting(_) => self.bare_status(vec![Finding {
                severity: Severity::Warning,
                what: "btmmd is still starting".to_owned(),
                cause: "the kernel is checking the eBPF programs".to_owned(),
                next_step: "it takes a second, longer on a slow machine".to_owned(),
            }]),
            Stage::Broken { cause, .. } => self.bare_status(vec![Finding {
                severity: Severity::Error,
                what: "this machine is not in its account's network".to_owned(),
                cause: cause.clone(),
                next_step: "it is tried again every 10 s".to_owned(),
            }]),
        }
    }

    fn bare_status(&self, health: Vec<Finding>) -> Status {
        let firewall = match firewall::status(&self.paths.pins, &self.paths.state) {
            Ok(status) if status.enforced_on.is_empty() => Firewall::Absent,
            Ok(status) if status.blocked => Firewall::Block,
            Ok(_) => Firewall::Allow,
            Err(_) => Firewall::Absent,
        };
        Status {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            on: self.on,
            firewall,
            account: None,
            health,
            port_mapping: crate::control::messages::PortMapping { text: "off: no account".to_owned(), ..Default::default() },
            rendezvous: RendezvousStatus { state: "off".to_owned(), ..RendezvousStatus::default() },
            resolver: ResolverStatus { state: "off".to_owned(), ..ResolverStatus::default() },
            kdc: None,
            uplinks: Vec::new(),
            peers: Vec::new(),
            counters: Default::default(),
        }
    }

    async fn machines(&self) -> Answered<Machines> {
        Ok(self.session()?.machines().await)
    }

    async fn ping(&mut self, machine: &str, answer: Answer<Pong>) {
        if let Err(error) = self.session() {
            return drop(answer.send(Err(error)));
        }
        if !self.on {
            return drop(answer.send(Err(ControlError::SwitchedOff {})));
        }
        if let Stage::Member(session) = &mut self.stage {
            session.ping(machine, answer);
            session.settle().await;
        }
    }

    async fn set_switch(&mut self, on: bool) -> Answered<Switched> {
        let changed = self.on != on;
        if changed {
            switch::save(&self.paths.switch(), on).map_err(|error| ControlError::failed("switch", error))?;
            self.on = on;
            info!(on, "switched");
            if let Stage::Member(session) = &mut self.stage {
                session.set_switch(on).await;
            }
        }
        Ok(Switched { on, changed })
    }

    fn refuse_if_joined(&self) -> Answered<()> {
        if self.joining.is_some() {
            return Err(ControlError::failed("join", "this machine is joining an account already"));
        }
        let identity = match &self.stage {
            Stage::Alone => return Ok(()),
            Stage::Starting(starting) => &starting.identity,
            Stage::Member(session) => &session.identity,
            Stage::Broken { identity, .. } => identity,
        };
        Err(ControlError::AccountExists { account: identity.account().to_string(), machine: identity.fqdn() })
    }

    async fn create(&mut self, wanted: AccountCreate, answer: Answer<AccountStatus>) {
        match self.found(&wanted).await {
            Ok(identity) => self.enter_for(Arc::new(identity), answer).await,
            Err(error) => drop(answer.send(Err(error))),
        }
    }

    async fn found(&self, wanted: &AccountCreate) -> Answered<Identity> {
        self.refuse_if_joined()?;
        let account: AccountName = argument("name", &wanted.name)?;
        let zone: Option<ZoneName> = wanted.zone.as_deref().map(|zone| argument("zone", zone)).transpose()?;
        let machine = machine_name(wanted.machine.as_deref())?;
        if !wanted.serve {
            let message = "an account needs a home base: add --serve to make this machine one".to_owned();
            return Err(ControlError::BadArgument { argument: "serve".to_owned(), message });
        }
        let zone = zone.unwrap_or_else(|| account.default_zone());
        super::base::use_token(&self.paths, wanted.key.as_deref()).await?;
        super::base::create(&self.paths, account, zone, machine).map_err(|error| ControlError::failed("account", error))
    }

    fn invite(&mut self) -> Answered<Invitation> {
        let session = self.session()?;
        let Some(home) = &self.home else {
            return Err(ControlError::NotBase { method: "Invite".to_owned(), account: session.identity.account().to_string() });
        };
        home.invite(session.serving()).map_err(|error| ControlError::failed("invitation", error))
    }

    fn join(&mut self, wanted: Join, answer: Answer<AccountStatus>) {
        let machine = self.refuse_if_joined().and_then(|()| machine_name(wanted.machine.as_deref()));
        let machine = match machine {
            Ok(machine) => machine,
            Err(error) => return drop(answer.send(Err(error))),
        };
        let paths = self.paths.clone();
        let joined = async move {
            super::base::use_token(&paths, wanted.key.as_deref()).await?;
            let joined = super::base::join(&paths, wanted.code.reveal(), machine);
            let late = || ControlError::failed("home base", "no answer within 30 s: is it on, and reachable from here?");
            tokio::time::timeout(JOIN, joined).await.unwrap_or_else(|_| Err(late()))
        };
        self.joining = Some(Joining::new(joined, answer));
    }

    /// Reads the file again. What has changed waits for a restart.
    pub(super) fn reload(&mut self) -> Answered<Reloaded> {
        let new = Config::load(&self.paths.config).map_err(|error| ControlError::failed("configuration", error))?;
        let table = |config: &Config| toml::Table::try_from(config).unwrap_or_default();
        let (old, new) = (table(&self.config), table(&new));
        let restart_needed = new.iter().filter(|(key, value)| old.get(*key) != Some(*value)).map(|(key, _)| key.clone()).collect();
        Ok(Reloaded { applied: Vec::new(), restart_needed })
    }
}

impl Session {
    fn ping(&mut self, machine: &str, answer: Answer<Pong>) {
        let now = clock::monotonic();
        let peer = match peer_named(&self.engine, self.identity.zone(), machine) {
            Ok(peer) => peer,
            Err(error) => return drop(answer.send(Err(error))),
        };
        let (peer, up) = (peer.name().clone(), self.pings.ask(peer, answer, now));
        if up {
            self.ike.handle(ike::Input::Probe { peer: peer.in_zone(self.identity.zone()) }, now);
        } else {
            self.engine.handle(engine::Input::Want { peer }, now);
        }
    }
}

/// A machine by its name, one label or in full.
pub(super) fn peer_named<'a>(engine: &'a Engine, zone: &ZoneName, machine: &str) -> Answered<&'a Peer> {
    let name = machine.parse::<MachineName>().ok().or_else(|| zone.machine(machine));
    name.and_then(|name| engine.peer(&name)).ok_or_else(|| {
        let known = engine.peers().map(|peer| peer.name().to_string()).collect();
        ControlError::NoSuchMachine { machine: machine.to_owned(), zone: zone.to_string(), known }
    })
}

fn argument<T: FromStr>(name: &str, text: &str) -> Answered<T>
where
    T::Err: std::fmt::Display,
{
    text.parse().map_err(|error: T::Err| ControlError::BadArgument { argument: name.to_owned(), message: error.to_string() })
}

fn machine_name(wanted: Option<&str>) -> Answered<MachineName> {
    if let Some(wanted) = wanted {
        return argument("machine", wanted);
    }
    let host = nix::unistd::gethostname().map_err(|error| ControlError::failed("host name", error))?;
    let host = host.to_string_lossy();
    let label = host.split('.').next().unwrap_or_default();
    label.parse().map_err(|_| ControlError::BadArgument {
        argument: "machine".to_owned(),
        message: format!("the host name {host:?} is no machine name: give one with --machine"),
    })
}
