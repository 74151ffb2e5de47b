//! `btmm tickets get` and `renew`: asks the KDCs of the account's machines, which the table of realms knows.

use std::future::Future;
use std::net::{IpAddr, SocketAddr};
use std::time::SystemTime;

use super::{Failure, Output, now, runtime_dir, secret};
use crate::cli::args::{Get, Renew};
use crate::cli::tickets::{self, Granted};
use crate::control::error::ExitClass;
use crate::lkdc::ccache::place::CachePlace;
use crate::lkdc::ccache::{self, Credential, CredentialCache};
use crate::lkdc::client::driver::{Error, Kdcs};
use crate::lkdc::client::{AsExchange, ClientError, ClockOffset, Grant, Secrets, TgsExchange, TgsWish, Wish};
use crate::lkdc::discover::{Place, Realms};
use crate::lkdc::full_name::FullName;
use crate::lkdc::name::Principal;

/// Where KDCs answer.
const PORT: u16 = 88;

/// Why a ticket was not got.
#[derive(Debug, thiserror::Error)]
pub enum GrantFailure {
    /// A machine that the account does not have, or a daemon that does not run.
    #[error("no machine {0:?} is known on this one: see \"btmm machines\"")]
    NoMachine(String),
    /// A realm of somebody else.
    #[error("{0} is not a realm of this account: use kinit -R")]
    NoRealm(String),
    /// Nothing fits.
    #[error("{place}: no ticket that can be renewed{}", of(.wanted))]
    NotRenewable {
        /// Where.
        place: CachePlace,
        /// What was asked for.
        wanted: String,
    },
    /// The KDC.
    #[error("{host}: {error}")]
    Kdc {
        /// The machine.
        host: String,
        /// What came of it.
        #[source]
        error: Box<Error>,
    },
}

fn of(wanted: &str) -> String {
    if wanted.is_empty() { String::new() } else { format!(" for {wanted}") }
}

impl GrantFailure {
    pub(super) fn exit_class(&self) -> ExitClass {
        match self {
            Self::NoMachine(_) => ExitClass::Usage,
            Self::Kdc { error, .. } if matches!(**error, Error::Unreachable(_) | Error::NoAddress) => ExitClass::Unreachable,
            Self::NoRealm(_) | Self::NotRenewable { .. } | Self::Kdc { .. } => ExitClass::Failed,
        }
    }
}

/// Runs `btmm tickets renew`: of tickets that give others by default, of those that are named otherwise.
pub(super) fn renew(place: &CachePlace, wanted: &Renew, output: Output) -> Result<ExitClass, Failure> {
    let realms = realms();
    let mut renewed = Vec::new();
    for member in ccache::members(place)? {
        let Some(cache) = ccache::load(&member)? else { continue };
        for ticket in cache.tickets().filter(|ticket| tickets::is_renewable(ticket, now()) && is_wanted(&cache, ticket, &wanted.tickets)) {
            let known = ticket.server.realm.parse().ok();
            let machine = known.and_then(|realm| realms.of_realm(&realm)).ok_or(GrantFailure::NoRealm(ticket.server.realm.clone()))?;
            let old = Grant::from_credential(ticket).map_err(|error| failed(machine, ClientError::from(error).into()))?;
            let exchange = TgsExchange::new(TgsWish::renewal(&old), old, ClockOffset::from_cache(cache.time_offset));
            let got = carry(kdcs(machine).ticket(exchange))?.map_err(|error| failed(machine, error))?;
            let credential = got.grant.to_credential();
            ccache::update(&member, |cache| cache.store(credential.clone()))?;
            renewed.push(tickets::ticket_report(&cache, &credential, now()));
        }
    }
    if renewed.is_empty() {
        return Err(GrantFailure::NotRenewable { place: place.clone(), wanted: wanted.tickets.join(", ") }.into());
    }
    let done = Granted { tickets: renewed };
    output.print(&done, |_| tickets::granted(&done, now()))
}

fn is_wanted(cache: &CredentialCache, ticket: &Credential, wanted: &[String]) -> bool {
    if wanted.is_empty() { ticket.server.is_krbtgt() } else { wanted.iter().any(|text| tickets::is_meant(cache, ticket, text)) }
}

/// Runs `btmm tickets get`.
pub(super) fn get(place: &CachePlace, wanted: &Get, output: Output) -> Result<ExitClass, Failure> {
    let realms = realms();
    let machine = realms.of_host(&wanted.ticket.host).ok_or_else(|| GrantFailure::NoMachine(wanted.ticket.host.clone()))?;
    let (member, cache) = signed_in(place, machine, wanted.user.as_deref())?;
    let server = FullName::new(Principal::service(&wanted.ticket.service, &machine.fqdn), machine.realm.as_str());
    let credential = match cache.find(&server, seconds()) {
        Some(held) => held.clone(),
        None => {
            let granting = cache.find(&FullName::krbtgt(machine.realm.as_str()), seconds());
            let granting = granting.ok_or_else(|| ClientError::NeedsPassword(machine.realm.to_string()));
            let granting = granting.and_then(|held| Ok(Grant::from_credential(held)?)).map_err(|error| failed(machine, error.into()))?;
            let exchange = TgsExchange::new(TgsWish::service(server, &granting), granting, ClockOffset::from_cache(cache.time_offset));
            let got = carry(kdcs(machine).ticket(exchange))?.map_err(|error| failed(machine, error))?;
            let credential = got.grant.to_credential();
            ccache::update(&member, |cache| cache.store(credential.clone()))?;
            credential
        }
    };
    let done = Granted { tickets: vec![tickets::ticket_report(&cache, &credential, now())] };
    output.print(&done, |_| tickets::granted(&done, now()))
}

/// The cache with a ticket for the machine's ticket granting service: one that is there, or one got now with a password.
fn signed_in(place: &CachePlace, machine: &Place, user: Option<&str>) -> Result<(CachePlace, CredentialCache), Failure> {
    let granting = FullName::krbtgt(machine.realm.as_str());
    for member in ccache::members(place)? {
        if let Some(cache) = ccache::load(&member)?
            && cache.find(&granting, seconds()).is_some()
            && user.is_none_or(|user| cache.client.principal == Principal::user(user))
        {
            return Ok((member, cache));
        }
    }
    let user = user.map_or_else(own_name, |user| Ok(user.to_owned()))?;
    let client = FullName::new(Principal::user(&user), machine.realm.as_str());
    let mut secrets = Secrets::default();
    let got = loop {
        let exchange = AsExchange::new(Wish::tgt(client.clone()), secrets.clone());
        match carry(kdcs(machine).initial(exchange))? {
            Ok(got) => break got,
            Err(Error::Client(ClientError::NeedsPassword(_))) if secrets.password.is_none() && secret::can_ask() => {
                secrets.password = Some(secret::ask(&format!("password of {user} on {}: ", machine.fqdn))?);
            }
            Err(Error::Client(ClientError::NeedsCode(_))) if secrets.code.is_none() && secret::can_ask() => {
                secrets.code = Some(secret::ask(&format!("one-time code of {user} on {}: ", machine.fqdn))?);
            }
            Err(error) => return Err(failed(machine, error).into()),
        }
    };
    let mut cache = CredentialCache::new(got.grant.client.clone());
    cache.time_offset = got.offset.of_cache();
    cache.store(got.grant.to_credential());
    let member = ccache::add(place, &cache)?;
    Ok((member, cache))
}

fn own_name() -> Result<String, Failure> {
    let user = nix::unistd::User::from_uid(nix::unistd::geteuid()).ok().flatten();
    let nameless = || Failure::Value { argument: "--user", message: "your user has no name here: give one".to_owned() };
    user.map(|user| user.name).ok_or_else(nameless)
}

fn realms() -> Realms {
    // Without a daemon there is no table, and no machine is known.
    std::fs::read_to_string(runtime_dir().join("realms")).map(|table| Realms::of_table(&table)).unwrap_or_default()
}

fn kdcs(machine: &Place) -> Kdcs {
    Kdcs::at(vec![SocketAddr::new(IpAddr::V6(machine.inner), PORT)])
}

fn failed(machine: &Place, error: Error) -> GrantFailure {
    GrantFailure::Kdc { host: machine.fqdn.clone(), error: Box::new(error) }
}

fn carry<T>(work: impl Future<Output = T>) -> Result<T, Failure> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    Ok(runtime.map_err(|cause| Failure::File { path: "the network".into(), cause })?.block_on(work))
}

fn seconds() -> u32 {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    u32::try_from(since.as_secs()).unwrap_or(u32::MAX)
}
