//! `btmm tickets get` and `renew`: asks the KDCs of the account's machines, which the table of realms knows.

use std::future::Future;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::time::SystemTime;

use super::{Failure, Output, certified, now, prompt, runtime_dir};
use crate::cli::agent::is_ours;
use crate::cli::args::{Get, Renew};
use crate::cli::tickets::{self, Granted, TicketReport};
use crate::control::client::ClientError;
use crate::control::error::{ControlError, ExitClass};
use crate::lkdc::ccache::place::CachePlace;
use crate::lkdc::ccache::{self, Credential, CredentialCache};
use crate::lkdc::client::driver::{Error, Kdcs};
use crate::lkdc::client::{ClientError as KdcError, ClockOffset, Grant, TgsExchange, TgsWish};
use crate::lkdc::discover::linux::TABLE;
use crate::lkdc::discover::{Place, Realms};
use crate::lkdc::full_name::FullName;
use crate::lkdc::name::Principal;
use crate::lkdc::principals::strength::{Strength, listed};

/// Where KDCs answer.
const PORT: u16 = 88;

/// Why a ticket was not got.
#[derive(Debug, thiserror::Error)]
pub enum GrantFailure {
    /// A machine that the account does not have.
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
    /// A secret is wanted, and nobody is there to type it.
    #[error("{host} wants the {what} of {user}, and there is no terminal to ask at: give it with {instead}")]
    NobodyToAsk {
        /// The machine.
        host: String,
        /// Whose.
        user: String,
        /// Password or code.
        what: &'static str,
        /// The options that give it.
        instead: &'static str,
    },
    /// The service asks for more than the ticket has.
    #[error(transparent)]
    TooWeak(#[from] TooWeak),
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

/// A service asks for more than the ticket has.
#[derive(Debug, thiserror::Error)]
#[error("{service} on {host} asks for {}, and the ticket was earned by {}{}", listed(.wanted), .strength.unwrap_or("something else"), self.advice())]
pub struct TooWeak {
    host: String,
    service: String,
    wanted: Vec<Strength>,
    strength: Option<&'static str>,
}

impl TooWeak {
    /// Whether a password, with or without a code, can be what is missing.
    fn can_be_mended(&self) -> bool {
        self.wanted.iter().any(|wanted| Strength::Otp.satisfies(*wanted))
    }

    fn advice(&self) -> &'static str {
        match self.strength {
            Some("password") if self.can_be_mended() => ": a second factor is made there with \"btmm passwd --totp\"",
            _ => "",
        }
    }
}

fn of(wanted: &str) -> String {
    if wanted.is_empty() { String::new() } else { format!(" for {wanted}") }
}

impl GrantFailure {
    pub(super) fn exit_class(&self) -> ExitClass {
        match self {
            Self::NoMachine(_) => ExitClass::Usage,
            Self::Kdc { error, .. } if matches!(**error, Error::Unreachable(_) | Error::NoAddress) => ExitClass::Unreachable,
            Self::NoRealm(_) | Self::NotRenewable { .. } | Self::NobodyToAsk { .. } | Self::TooWeak(_) | Self::Kdc { .. } => {
                ExitClass::Failed
            }
        }
    }
}

/// Runs `btmm tickets renew`: of tickets that give others by default, of those that are named otherwise. What cannot be renewed keeps no other
/// from it.
pub(super) fn renew(place: &CachePlace, wanted: &Renew, output: Output) -> Result<ExitClass, Failure> {
    let realms = realms()?;
    let (mut renewed, mut failures) = (Vec::new(), Vec::new());
    for (member, cache) in ccache::caches(place, |error| output.note(error))? {
        for outcome in renew_in(place, &member, &cache, &realms, &wanted.tickets, output) {
            match outcome {
                Ok(report) => renewed.push(report),
                Err(failure) => failures.push(failure),
            }
        }
    }
    if renewed.is_empty() && failures.is_empty() {
        return Err(GrantFailure::NotRenewable { place: place.clone(), wanted: wanted.tickets.join(", ") }.into());
    }
    failures.iter().for_each(|failure| output.tell(failure));
    if !renewed.is_empty() {
        let done = Granted { tickets: renewed };
        output.print(&done, |_| tickets::granted(&done, now()))?;
    }
    Ok(failures.iter().map(Failure::exit_class).max().unwrap_or(ExitClass::Done))
}

/// Renews what is wanted of one cache. A ticket that btmm keeps there and that cannot be renewed, because it has ended or lives no longer, is
/// got anew.
fn renew_in(
    place: &CachePlace,
    member: &CachePlace,
    cache: &CredentialCache,
    realms: &Realms,
    wanted: &[String],
    output: Output,
) -> Vec<Result<TicketReport, Failure>> {
    let known = |realm: &str| realm.parse().ok().and_then(|realm| realms.of_realm(&realm));
    // Of others' realms only what is named.
    let is_meant = |ticket: &&Credential| {
        tickets::is_renewable(ticket, now())
            && is_wanted(cache, ticket, wanted)
            && (!wanted.is_empty() || known(&ticket.server.realm).is_some())
    };
    let outcomes: Vec<_> =
        cache.tickets().filter(is_meant).map(|ticket| renew_one(member, cache, ticket, known(&ticket.server.realm))).collect();
    match known(&cache.client.realm) {
        Some(machine) if outcomes.is_empty() && wanted.is_empty() && is_ours(cache) => {
            certified::anew(place, machine, now(), output).transpose().into_iter().collect()
        }
        _ => outcomes,
    }
}

fn renew_one(member: &CachePlace, cache: &CredentialCache, ticket: &Credential, machine: Option<&Place>) -> Result<TicketReport, Failure> {
    let machine = machine.ok_or_else(|| GrantFailure::NoRealm(ticket.server.realm.clone()))?;
    let old = Grant::from_credential(ticket).map_err(|error| failed(machine, KdcError::from(error).into()))?;
    let exchange = TgsExchange::new(TgsWish::renewal(&old), old, ClockOffset::from_cache(cache.time_offset));
    let got = carry(kdcs(machine).ticket(exchange))?.map_err(|error| failed(machine, error))?;
    let credential = got.grant.to_credential();
    ccache::update(member, |cache| cache.store(credential.clone()))?;
    Ok(tickets::ticket_report(cache, &credential, now()))
}

fn is_wanted(cache: &CredentialCache, ticket: &Credential, wanted: &[String]) -> bool {
    if wanted.is_empty() { ticket.server.is_krbtgt() } else { wanted.iter().any(|text| tickets::is_meant(cache, ticket, text)) }
}

/// Runs `btmm tickets get`.
pub(super) fn get(place: &CachePlace, wanted: &Get, output: Output) -> Result<ExitClass, Failure> {
    let realms = realms()?;
    let machine = realms.of_host(&wanted.ticket.host).ok_or_else(|| GrantFailure::NoMachine(wanted.ticket.host.clone()))?;
    let server = FullName::new(Principal::service(&wanted.ticket.service, &machine.fqdn), machine.realm.as_str());
    let user = || wanted.user.clone().map_or_else(own_name, Ok);
    let held = match is_given(wanted) {
        // Whoever gives a secret wants to be known by it, whatever is held.
        true => None,
        false => match signed_in(place, machine, wanted.user.as_deref(), output)? {
            None => certified::sign_in(place, machine, Some(&wanted.ticket.service), wanted.user.as_deref(), output)?,
            held => held,
        },
    };
    let (cache, credential) = match held {
        None => by_person(place, machine, &user()?, wanted, &server)?,
        Some((member, cache)) => match held_or_got(&member, &cache, machine, &server)? {
            Ok(credential) => (cache, credential),
            Err(weak) if weak.can_be_mended() => {
                output.note(weak);
                let user = match cache.client.principal.components.as_slice() {
                    [own] => own.clone(),
                    _ => user()?,
                };
                by_person(place, machine, &user, wanted, &server)?
            }
            Err(weak) => return Err(GrantFailure::from(weak).into()),
        },
    };
    let done = Granted { tickets: vec![tickets::ticket_report(&cache, &credential, now())] };
    output.print(&done, |_| tickets::granted(&done, now()))
}

/// Signs in with what a person knows, and gets the ticket for `server` with that; not one that was there before, which was earned otherwise.
fn by_person(
    place: &CachePlace,
    machine: &Place,
    user: &str,
    wanted: &Get,
    server: &FullName,
) -> Result<(CredentialCache, Credential), Failure> {
    let (member, cache) = prompt::sign_in(place, machine, user, wanted)?;
    let credential = service_ticket(&member, &cache, machine, server)?.map_err(GrantFailure::from)?;
    Ok((cache, credential))
}

/// Whether the user wants to be known by what only a person has.
fn is_given(wanted: &Get) -> bool {
    let Get { password_file, password_fd, code, .. } = wanted;
    password_file.is_some() || password_fd.is_some() || code.code_file.is_some() || code.code_fd.is_some()
}

/// The ticket for `server` that the cache has, or one that its ticket-granting ticket is good for. The inner error is for one that is not
/// strong enough.
fn held_or_got(
    member: &CachePlace,
    cache: &CredentialCache,
    machine: &Place,
    server: &FullName,
) -> Result<Result<Credential, TooWeak>, Failure> {
    match cache.find(server, seconds()) {
        Some(held) => Ok(Ok(held.clone())),
        None => service_ticket(member, cache, machine, server),
    }
}

/// A ticket for `server`, got with the cache's ticket-granting ticket.
fn service_ticket(
    member: &CachePlace,
    cache: &CredentialCache,
    machine: &Place,
    server: &FullName,
) -> Result<Result<Credential, TooWeak>, Failure> {
    let granting = cache.find(&FullName::krbtgt(machine.realm.as_str()), seconds());
    let granting = granting.ok_or_else(|| failed(machine, KdcError::NeedsPassword(machine.realm.to_string()).into()))?;
    let strength = tickets::ticket_report(cache, granting, now()).strength;
    let granting = Grant::from_credential(granting).map_err(|error| failed(machine, KdcError::from(error).into()))?;
    let exchange = TgsExchange::new(TgsWish::service(server.clone(), &granting), granting, ClockOffset::from_cache(cache.time_offset));
    match carry(kdcs(machine).ticket(exchange))? {
        Ok(got) => {
            let credential = got.grant.to_credential();
            ccache::update(member, |cache| cache.store(credential.clone()))?;
            Ok(Ok(credential))
        }
        Err(Error::Client(KdcError::Refused { refusal, .. })) if !refusal.demands().is_empty() => {
            let service = server.principal.components.first().cloned().unwrap_or_default();
            Ok(Err(TooWeak { host: machine.fqdn.clone(), service, wanted: refusal.demands(), strength }))
        }
        Err(error) => Err(failed(machine, error).into()),
    }
}

/// The cache with a ticket for the machine's ticket granting service, if there is one.
fn signed_in(
    place: &CachePlace,
    machine: &Place,
    user: Option<&str>,
    output: Output,
) -> Result<Option<(CachePlace, CredentialCache)>, Failure> {
    let granting = FullName::krbtgt(machine.realm.as_str());
    let is_it = |cache: &CredentialCache| {
        cache.find(&granting, seconds()).is_some() && user.is_none_or(|user| cache.client.principal == Principal::user(user))
    };
    Ok(ccache::caches(place, |error| output.note(error))?.into_iter().find(|(_, cache)| is_it(cache)))
}

fn own_name() -> Result<String, Failure> {
    let user = nix::unistd::User::from_uid(nix::unistd::geteuid()).ok().flatten();
    let nameless = || Failure::Value { argument: "--user", message: "your user has no name here: give one".to_owned() };
    user.map(|user| user.name).ok_or_else(nameless)
}

/// The account's machines. Their table is there while the daemon runs; it is empty where there is no account.
fn realms() -> Result<Realms, Failure> {
    let path = runtime_dir().join(TABLE);
    match std::fs::read_to_string(&path) {
        Ok(table) if table.is_empty() => Err(ClientError::Refused(ControlError::NoAccount {}).into()),
        Ok(table) => Ok(Realms::of_table(&table)),
        Err(cause) if cause.kind() == io::ErrorKind::NotFound => Err(ClientError::NotRunning.into()),
        Err(cause) => Err(Failure::File { path, cause }),
    }
}

pub(super) fn kdcs(machine: &Place) -> Kdcs {
    Kdcs::at(vec![SocketAddr::new(IpAddr::V6(machine.inner), PORT)])
}

pub(super) fn failed(machine: &Place, error: Error) -> GrantFailure {
    GrantFailure::Kdc { host: machine.fqdn.clone(), error: Box::new(error) }
}

pub(super) fn carry<T>(work: impl Future<Output = T>) -> Result<T, Failure> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    Ok(runtime.map_err(|cause| Failure::File { path: "the network".into(), cause })?.block_on(work))
}

fn seconds() -> u32 {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    u32::try_from(since.as_secs()).unwrap_or(u32::MAX)
}
