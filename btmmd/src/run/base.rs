//! What a home base serves, and how other machines come to it.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::SystemTime;

use nix::sys::socket::{setsockopt, sockopt};
use rustls::pki_types::ServerName;
use tokio::net::{TcpListener, TcpSocket};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tracing::info;

use super::error::RunError;
use super::paths::Paths;
use crate::account::identity::Identity;
use crate::account::invite::{CODE_LIFE, InvitationCode, MAX_ADDRESSES};
use crate::account::name::{AccountName, MachineName, ZoneName};
use crate::account::roster::Roster;
use crate::account::tls::{ALPN_DOT, OwnCertificate, base_config, member_config};
use crate::account::token::UriError;
use crate::account::{self, AccountOptions, SharedBase};
use crate::clock;
use crate::config::Config;
use crate::control::error::ControlError;
use crate::control::messages::{Invitation, InvitationCode as ShownCode};
use crate::rendezvous::driver::{Base, SharedServer};
use crate::rendezvous::tsig::TsigSecret;

/// A home base at work: enrolment and the zone, over TLS on one TCP port. Dropping it ends every connection.
pub(super) struct Home {
    base: SharedBase,
    server: SharedServer,
    serial: watch::Receiver<u64>,
    /// Machines that have a key to the zone.
    keyed: BTreeSet<MachineName>,
    _tasks: JoinSet<()>,
}

impl Home {
    /// Takes up the base kept on disk and listens.
    pub async fn open(identity: &Identity, config: &Config, paths: &Paths) -> Result<Self, RunError> {
        let base = account::Base::open(&paths.state).map_err(|error| RunError::of("home base", error))?;
        let serial = base.watch_serial();
        let base = SharedBase::new(base);
        let server = SharedServer::open(identity.zone(), identity.name(), paths.zone())?;
        let tls = base_config(identity, OwnCertificate::new(identity)).map_err(|error| RunError::of("TLS of the home base", error))?;
        let mut tasks = JoinSet::new();
        tasks.spawn(server.clone().run());
        for address in &config.serve.listen {
            let listener = listen(*address).map_err(|error| RunError::of(format!("TCP {address}"), error))?;
            let zone = server.clone();
            let dot = move |connection: account::driver::DotConnection| {
                let zone = zone.clone();
                async move { zone.serve_dot(connection.stream, connection.peer.as_ref().map(|peer| &peer.name)).await }
            };
            tasks.spawn(account::serve_base(listener, Arc::clone(&tls), base.clone(), dot));
        }
        let mut home = Self { base, server, serial, keyed: BTreeSet::new(), _tasks: tasks };
        home.set_keys()?;
        Ok(home)
    }

    /// Waits until a machine has joined or left, and lets it into the zone. Cancel safe.
    pub async fn changed(&mut self) {
        if self.serial.changed().await.is_err() {
            std::future::pending::<()>().await;
        }
        if let Err(error) = self.set_keys() {
            tracing::error!(%error, "a machine cannot use the zone");
        }
    }

    fn set_keys(&mut self) -> Result<(), RunError> {
        let base = self.base.lock();
        for (machine, key) in base.tsig_keys() {
            let secret = TsigSecret::new(key.secret()).map_err(|error| RunError::of(key.name(), error))?;
            self.server.set_key(machine, secret);
        }
        let keyed: BTreeSet<MachineName> = base.tsig_keys().map(|(machine, _)| machine.clone()).collect();
        self.keyed.difference(&keyed).for_each(|gone| self.server.remove_key(gone));
        self.keyed = keyed;
        Ok(())
    }

    /// The zone, for this machine's own records.
    pub fn server(&self) -> SharedServer {
        self.server.clone()
    }

    /// The account's machines.
    pub fn roster(&self) -> Roster {
        self.base.lock().roster()
    }

    /// Renews the certificate of the base's own machine, on disk.
    pub fn renew_own(&self, identity: &Identity) -> Result<(), RunError> {
        self.base.lock().renew_own(identity, clock::wall()).map(drop).map_err(|error| RunError::of("home base", error))
    }

    /// Admits one machine for an hour. `addresses` are where this base can be reached, best first.
    pub fn invite(&self, addresses: Vec<SocketAddr>) -> Result<Invitation, RunError> {
        let addresses: Vec<SocketAddr> = addresses.into_iter().take(MAX_ADDRESSES).collect();
        if addresses.is_empty() {
            return Err(RunError::of("invitation", "this machine has no address that another one could come to"));
        }
        let now = clock::wall();
        let code = self.base.lock().invite(&addresses, now).map_err(|error| RunError::of("invitation", error))?;
        info!("invitation given out");
        let expires = (now + CODE_LIFE).duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_secs();
        Ok(Invitation { code: ShownCode::from(code.reveal().to_string()), expires: i64::try_from(expires).unwrap_or(i64::MAX) })
    }
}

fn listen(address: SocketAddr) -> std::io::Result<TcpListener> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
    if address.is_ipv6() {
        setsockopt(&socket, sockopt::Ipv6V6Only, &true)?;
    }
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    socket.listen(128)
}

/// Has this machine use a key on a token, in a thread that may wait for it.
pub(super) async fn use_token(paths: &Paths, key: Option<&str>) -> Result<(), ControlError> {
    let Some(key) = key else { return Ok(()) };
    let wrong = |error: UriError| ControlError::BadArgument { argument: "key".to_owned(), message: error.to_string() };
    let (uri, state) = (key.parse().map_err(wrong)?, paths.state.clone());
    let used = tokio::task::spawn_blocking(move || account::use_token(&state, &uri)).await;
    used.map_err(|error| ControlError::failed("key", error))?.map_err(|error| ControlError::failed("key", error))
}

/// Founds an account of which this machine is the home base.
pub(super) fn create(paths: &Paths, account: AccountName, zone: ZoneName, machine: MachineName) -> Result<Identity, RunError> {
    let options = AccountOptions { account, zone: Some(zone), machine };
    let (identity, _base) = account::create(&paths.state, options, clock::wall()).map_err(|error| RunError::of("account", error))?;
    Ok(identity)
}

/// Joins the account that a code invites to.
pub(super) async fn join(paths: &Paths, code: &str, machine: MachineName) -> Result<Identity, ControlError> {
    let code: InvitationCode =
        code.parse().map_err(|error| ControlError::BadArgument { argument: "invitation code".to_owned(), message: format!("{error}") })?;
    account::join(&code, machine, &paths.state).await.map_err(|error| ControlError::failed("join", error))
}

/// How this machine reaches its base's zone.
pub(super) fn contact(identity: &Identity) -> Result<Base, RunError> {
    let contact = identity.base();
    let name = contact.name.in_zone(identity.zone());
    let server_name = ServerName::try_from(name.clone()).map_err(|error| RunError::of(&name, error))?;
    let tls = member_config(identity, OwnCertificate::new(identity), ALPN_DOT).map_err(|error| RunError::of("TLS", error))?;
    Ok(Base::Tls { addresses: contact.addresses.iter().map(ToString::to_string).collect(), server_name, tls })
}

/// The newest roster kept on disk, or why it cannot be read: a new one is fetched.
pub(super) fn known_roster(state: &Path, identity: &Identity) -> Result<Roster, String> {
    let read = account::known_roster(state, identity.trust()).map_err(|error| error.to_string());
    read.and_then(|roster| roster.ok_or_else(|| format!("there is none in {}", state.display())))
        .inspect_err(|cause| tracing::warn!(%cause, "no kept list of machines"))
}
