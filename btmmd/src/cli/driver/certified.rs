//! Tickets that the daemon gets with the machine's certificate, and that cost their user no word.

use super::{Failure, Output, runtime_dir};
use crate::cli::agent;
use crate::cli::tickets::{TicketReport, ticket_report};
use crate::control::client::ClientError;
use crate::control::driver::connect;
use crate::control::error::ControlError;
use crate::control::secrets::{RealmTickets, TicketWanted};
use crate::lkdc::ccache::place::CachePlace;
use crate::lkdc::ccache::{self, CredentialCache, format};
use crate::lkdc::discover::Place;
use crate::lkdc::full_name::FullName;

/// Asks the daemon for a ticket of `machine` and puts it into the user's cache. `None` when it has to be earned in another way: there is no
/// daemon, it is not for this user, or the KDC wants another proof than the certificate. For a service that is refused the ticket-granting
/// ticket comes alone: who asks the KDC with that learns whether another proof would help.
pub(super) fn sign_in(
    place: &CachePlace,
    machine: &Place,
    service: Option<&str>,
    user: Option<&str>,
    output: Output,
) -> Result<Option<(CachePlace, CredentialCache)>, Failure> {
    // Before a tunnel is raised for it. Whose ticket it will be is for the daemon to say.
    ccache::check_room(place, |there| there.realm == machine.realm.as_str())?;
    let wanted = |service: Option<&str>| TicketWanted {
        service: service.map(str::to_owned),
        machine: machine.machine.to_string(),
        user: user.map(str::to_owned),
    };
    let ask = |service| connect(&runtime_dir()).and_then(|mut daemon| daemon.ticket(&wanted(service)));
    let granted = match ask(service) {
        Err(error) if service.is_some() && is_refused(&error) => ask(None),
        granted => granted,
    };
    let granted = match granted {
        Ok(granted) => granted,
        Err(error) if is_final(&error) => return Err(error.into()),
        Err(error) => {
            // Why something else is asked for now.
            if !is_nobody_s_fault(&error) {
                output.note(error);
            }
            return Ok(None);
        }
    };
    let mut cache = opened(&granted)?;
    agent::mark(&mut cache);
    let member = ccache::add(place, &cache)?;
    Ok(Some((member, cache)))
}

/// Gets the ticket-granting ticket of `machine` anew.
pub(super) fn anew(place: &CachePlace, machine: &Place, now: i64, output: Output) -> Result<Option<TicketReport>, Failure> {
    let granting = FullName::krbtgt(machine.realm.as_str());
    let Some((_, cache)) = sign_in(place, machine, None, None, output)? else { return Ok(None) };
    let ticket = cache.tickets().find(|ticket| ticket.server == granting);
    Ok(ticket.map(|ticket| ticket_report(&cache, ticket, now)))
}

/// Whether no password would do better.
fn is_final(error: &ClientError) -> bool {
    matches!(
        error,
        ClientError::Refused(ControlError::Unreachable { .. } | ControlError::SwitchedOff {} | ControlError::BadArgument { .. })
    )
}

fn is_refused(error: &ClientError) -> bool {
    matches!(error, ClientError::Refused(ControlError::TicketRefused { .. }))
}

/// Whether certificates are simply not for this user, or not now.
fn is_nobody_s_fault(error: &ClientError) -> bool {
    matches!(error, ClientError::NotRunning | ClientError::MayNotConnect { .. } | ClientError::Refused(ControlError::NotPermitted { .. }))
}

/// The cache that the daemon tells of.
pub(super) fn opened(tickets: &RealmTickets) -> Result<CredentialCache, Failure> {
    let foreign = || ClientError::Refused(ControlError::failed("tickets", "btmmd's answer is not understood: is it of the same version?"));
    let octets = data_encoding::BASE64.decode(tickets.cache.reveal().as_bytes()).map(zeroize::Zeroizing::new).map_err(|_| foreign())?;
    Ok(format::parse(&octets).map_err(|_| foreign())?)
}
