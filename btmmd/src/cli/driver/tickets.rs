//! `btmm tickets`: the caller's own credential cache, with or without a daemon.

use super::{Failure, Output, grants, now};
use crate::cli::args::{Remove, TicketAction, Tickets};
use crate::cli::tickets::{self, Listing, Removed};
use crate::control::error::ExitClass;
use crate::lkdc::ccache::place::{CachePlace, Whose};
use crate::lkdc::ccache::{self, CacheError, CredentialCache};

/// Runs `btmm tickets`.
pub(super) fn run(args: &Tickets, output: Output) -> Result<ExitClass, Failure> {
    let place = place()?;
    match args.action.as_ref().unwrap_or(&TicketAction::List) {
        TicketAction::List => list(&place, args.verbose, output),
        TicketAction::Rm(wanted) => remove(&place, wanted, output),
        TicketAction::Renew(wanted) => grants::renew(&place, wanted, output),
        TicketAction::Get(wanted) => grants::get(&place, wanted, output),
    }
}

/// The caller's cache: `KRB5CCNAME`, or what `krb5.conf` says, or the file that all programs take without both.
pub(super) fn place() -> Result<CachePlace, Failure> {
    let uid = nix::unistd::geteuid();
    let named = std::env::var_os("KRB5CCNAME").filter(|named| !named.is_empty());
    let (argument, named) = match named.map_or_else(
        || ccache::configured().map(|named| ("default_ccache_name in krb5.conf", named.into())),
        |named| Some(("KRB5CCNAME", named)),
    ) {
        None => return Ok(CachePlace::default_of(uid.as_raw())),
        Some(named) => named,
    };
    let wrong = |message: String| Failure::Value { argument, message };
    let named: String = named.into_string().map_err(|_| wrong("it is not UTF-8".to_owned()))?;
    // A name is needed only by caches that are named by it.
    let user = nix::unistd::User::from_uid(uid).ok().flatten().map(|user| user.name).unwrap_or_default();
    CachePlace::parse(&named, &Whose { uid: uid.as_raw(), user }).map_err(|error| wrong(error.to_string()))
}

fn list(place: &CachePlace, verbose: bool, output: Output) -> Result<ExitClass, Failure> {
    let caches = ccache::caches(place, |error| output.note(error))?;
    let report = |(member, cache): &(CachePlace, CredentialCache)| tickets::report(&member.to_string(), cache, now());
    let listing = Listing { caches: caches.iter().map(report).collect() };
    output.print(&listing, |paint| tickets::render(&listing, verbose, now(), paint))
}

fn remove(place: &CachePlace, wanted: &Remove, output: Output) -> Result<ExitClass, Failure> {
    let mut damaged = Vec::new();
    let caches = ccache::caches(place, |error| match error {
        // As kdestroy -A does.
        CacheError::Damaged { place, .. } if wanted.all => damaged.push(place),
        error => output.note(error),
    })?;
    damaged.iter().try_for_each(ccache::destroy)?;
    let mut removed = 0;
    for (member, there) in caches {
        if wanted.all {
            removed += there.tickets().count();
            ccache::destroy(&member)?;
            continue;
        }
        let now = now();
        removed += ccache::update(&member, |cache| {
            let whole = cache.clone();
            cache.remove(|ticket| match wanted.expired {
                true => i64::from(ticket.times.ends) <= now,
                false => wanted.tickets.iter().any(|text| tickets::is_meant(&whole, ticket, text)),
            })
        })?;
    }
    if removed == 0 && !wanted.tickets.is_empty() {
        return Err(CacheError::NoTicket { place: place.clone(), wanted: wanted.tickets.join(", ") }.into());
    }
    let done = Removed { removed };
    output.print(&done, |_| tickets::removed(&done))
}
