//! Signing in at the KDC of another machine with what a person knows: a password, and a one-time code where one is asked for.

use zeroize::Zeroizing;

use super::grants::{GrantFailure, carry, failed, kdcs};
use super::{Failure, runtime_dir, secret};
use crate::cli::args::Get;
use crate::lkdc::ccache::place::CachePlace;
use crate::lkdc::ccache::{self, CredentialCache};
use crate::lkdc::client::driver::{Error, Ticketed};
use crate::lkdc::client::wish::TimestampUse;
use crate::lkdc::client::{AsExchange, Certificate, ClientError, Secrets, Wish};
use crate::lkdc::discover::Place;
use crate::lkdc::discover::linux::trust;
use crate::lkdc::full_name::FullName;
use crate::lkdc::name::Principal;

/// Signs `user` in at `machine`, and keeps the ticket with which others are got. Asks for what the KDC wants and `wanted` does not give.
pub(super) fn sign_in(place: &CachePlace, machine: &Place, user: &str, wanted: &Get) -> Result<(CachePlace, CredentialCache), Failure> {
    let client = FullName::new(Principal::user(user), machine.realm.as_str());
    // A code is good once: not for a ticket that there is no room for.
    ccache::check_room(place, |there| *there == client)?;
    let armor = armor(machine)?;
    // Armored or not, nobody shall be able to try passwords against what is sent.
    let wish = Wish { timestamp: TimestampUse::Never, ..Wish::tgt(client) };
    let mut secrets = Secrets::default();
    let got = loop {
        match carry(kdcs(machine).initial(exchange(machine, &wish, &secrets, armor.as_ref())?))? {
            Ok(got) => break got,
            Err(Error::Client(ClientError::NeedsPassword(_))) if secrets.password.is_none() => {
                secrets.password = Some(password(machine, user, wanted)?);
            }
            Err(Error::Client(ClientError::NeedsCode(_))) if secrets.code.is_none() => {
                secrets.code = Some(code(machine, user, wanted)?);
            }
            Err(error) => return Err(failed(machine, error).into()),
        }
    };
    keep(place, &got)
}

/// A ticket of nobody, from a KDC that has proven to be the machine's: what is said under its key only the two can read (RFC 6113), and
/// one-time codes are taken in no other way. Nothing where the account's CA is not known here or the KDC takes no certificates.
fn armor(machine: &Place) -> Result<Option<Ticketed>, Failure> {
    let Some(trust) = trust(&runtime_dir(), machine) else { return Ok(None) };
    let exchange = AsExchange::new(Wish::anonymous(machine.realm.as_str()), Secrets::certificate(Certificate::anonymous(&trust)));
    match carry(kdcs(machine).initial(exchange))? {
        Ok(ticket) => Ok(Some(ticket)),
        Err(Error::Client(ClientError::NoMethod { .. } | ClientError::Refused { .. })) => Ok(None),
        Err(error) => Err(failed(machine, error).into()),
    }
}

fn exchange(machine: &Place, wish: &Wish, secrets: &Secrets, armor: Option<&Ticketed>) -> Result<AsExchange, Failure> {
    let exchange = AsExchange::new(wish.clone(), secrets.clone());
    let Some(nobody) = armor else { return Ok(exchange) };
    Ok(exchange.armored(nobody.armor().map_err(|error| failed(machine, error))?).with_offset(nobody.offset))
}

fn password(machine: &Place, user: &str, wanted: &Get) -> Result<Zeroizing<String>, Failure> {
    let given = secret::given(wanted.password_file.as_deref(), wanted.password_fd);
    given.unwrap_or_else(|| typed(machine, user, "password", "--password-file or --password-fd"))
}

fn code(machine: &Place, user: &str, wanted: &Get) -> Result<Zeroizing<String>, Failure> {
    let given = secret::given(wanted.code.code_file.as_deref(), wanted.code.code_fd);
    given.unwrap_or_else(|| typed(machine, user, "one-time code", "--code-file or --code-fd"))
}

fn typed(machine: &Place, user: &str, what: &'static str, instead: &'static str) -> Result<Zeroizing<String>, Failure> {
    if !secret::can_ask() {
        return Err(GrantFailure::NobodyToAsk { host: machine.fqdn.clone(), user: user.to_owned(), what, instead }.into());
    }
    secret::ask(&format!("{what} of {user} on {}: ", machine.fqdn))
}

/// Puts the ticket, and how it was earned, beside those that the same client has, or else into a cache of its own.
fn keep(place: &CachePlace, got: &Ticketed) -> Result<(CachePlace, CredentialCache), Failure> {
    let put = |cache: &mut CredentialCache| {
        cache.time_offset = got.offset.of_cache();
        got.notes.put(cache, &got.grant.server.realm);
        cache.store(got.grant.to_credential());
    };
    for (member, there) in ccache::caches(place, drop)? {
        if there.client == got.grant.client {
            let cache = ccache::update(&member, |cache| {
                put(cache);
                cache.clone()
            })?;
            return Ok((member, cache));
        }
    }
    let mut cache = CredentialCache::new(got.grant.client.clone());
    put(&mut cache);
    let member = ccache::add(place, &cache)?;
    Ok((member, cache))
}
