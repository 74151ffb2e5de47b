//! `btmm tickets`: what is in a credential cache, for people and programs. Pure.

use serde::Serialize;

use super::table::{Paint, Table, Tone};
use super::words::{counted, printable, relative, span};
use crate::lkdc::ccache::{Credential, CredentialCache};
use crate::lkdc::crypto::Etype;
use crate::lkdc::full_name::FullName;
use crate::lkdc::name::RealmName;

/// Ticket flags worth a word, by their number in RFC 4120 §5.3 (the last one: RFC 6806).
const FLAGS: [(u32, &str); 10] = [
    (1, "forwardable"),
    (2, "forwarded"),
    (3, "proxiable"),
    (4, "proxy"),
    (5, "may-postdate"),
    (6, "postdated"),
    (7, "invalid"),
    (8, "renewable"),
    (14, "anonymous"),
    (15, "canonical"),
];
const RENEWABLE: u32 = 8;
const INVALID: u32 = 7;

/// Everything that `btmm tickets` tells.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Listing {
    /// The caches of the collection, the primary one first.
    pub caches: Vec<CacheReport>,
}

/// One cache.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct CacheReport {
    /// Where it is, as `KRB5CCNAME` takes it.
    pub cache: String,
    /// Whose tickets these are.
    pub client: String,
    /// The tickets, in the order in which they were got.
    pub tickets: Vec<TicketReport>,
}

/// One ticket. Times are seconds since the epoch.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct TicketReport {
    /// What it is for, in full.
    pub principal: String,
    /// The service; `sign-in` is the one that gives tickets for all others.
    pub service: String,
    /// The machine, or the realm where no machine is known for it.
    pub peer: String,
    /// How it was earned, when known: `certificate`, `otp`, `password`, `anonymous`.
    pub strength: Option<&'static str>,
    /// `good`, `ended`, `not-yet`, `invalid`.
    pub state: &'static str,
    /// When it begins.
    pub starts: i64,
    /// When it ends.
    pub ends: i64,
    /// Until when it can be renewed, when it can.
    pub renew_till: Option<i64>,
    /// The session key's encryption type.
    pub etype: String,
    /// The flags that are set.
    pub flags: Vec<&'static str>,
}

/// What there is to tell of a cache.
pub fn report(place: &str, cache: &CredentialCache, now: i64) -> CacheReport {
    let tickets = cache.tickets().map(|ticket| ticket_report(cache, ticket, now)).collect();
    CacheReport { cache: place.to_owned(), client: cache.client.to_string(), tickets }
}

/// What there is to tell of a ticket that is, or will be, in `cache`.
pub fn ticket_report(cache: &CredentialCache, ticket: &Credential, now: i64) -> TicketReport {
    let times = ticket.times;
    let starts = if times.starts == 0 { times.authenticated } else { times.starts };
    let (starts, ends) = (i64::from(starts), i64::from(times.ends));
    let state = match () {
        () if ends <= now => "ended",
        () if ticket.has_flag(INVALID) => "invalid",
        () if starts > now => "not-yet",
        () => "good",
    };
    let etype = ticket.key.etype;
    TicketReport {
        principal: ticket.server.to_string(),
        service: service(&ticket.server),
        peer: peer(cache, &ticket.server),
        strength: strength(cache, ticket),
        state,
        starts,
        ends,
        renew_till: ticket.has_flag(RENEWABLE).then(|| i64::from(times.renew_till)),
        etype: Etype::from_number(etype).map_or_else(|| format!("etype {etype}"), |known| known.name().to_owned()),
        flags: FLAGS.iter().filter(|(number, _)| ticket.has_flag(*number)).map(|(_, word)| *word).collect(),
    }
}

fn service(server: &FullName) -> String {
    if server.is_krbtgt() {
        return "sign-in".to_owned();
    }
    server.principal.components.first().cloned().unwrap_or_default()
}

/// The machine that a ticket is for. Where the name holds only the realm, another ticket for that realm may know the machine.
fn peer(cache: &CredentialCache, server: &FullName) -> String {
    let realm = server.principal.tgs_realm().unwrap_or(&server.realm);
    let host = |name: &FullName| {
        let host = name.principal.components.get(1).filter(|host| !name.is_krbtgt() && **host != name.realm);
        host.cloned()
    };
    let others = || {
        let known = cache.tickets().filter(|ticket| ticket.server.realm == realm).filter_map(|ticket| host(&ticket.server));
        known.max_by_key(|host| host.contains('.'))
    };
    let friendly = || realm.parse::<RealmName>().map_or_else(|_| realm.to_owned(), |realm| realm.friendly());
    host(server).or_else(others).unwrap_or_else(friendly)
}

/// How the client proved itself, which MIT's library and btmm note beside the ticket that all others follow from.
fn strength(cache: &CredentialCache, ticket: &Credential) -> Option<&'static str> {
    if ticket.client.principal.is_anonymous() {
        return Some("anonymous");
    }
    let noted = cache.config("pa_type", Some(&FullName::krbtgt(&ticket.server.realm)));
    let noted = noted.or_else(|| cache.config("pa_type", Some(&FullName::krbtgt(&cache.client.realm))))?;
    // Numbers of pre-authentication data (IANA): PKINIT, OTP, then encrypted timestamp, encrypted challenge and SPAKE.
    match std::str::from_utf8(noted).ok()?.trim().parse::<u32>().ok()? {
        16 | 17 => Some("certificate"),
        141 | 142 => Some("otp"),
        2 | 138 | 151 => Some("password"),
        _ => None,
    }
}

/// Whether `text` means this ticket: a principal with or without realm, `SERVICE@HOST`, or a host or its first label.
pub fn is_meant(cache: &CredentialCache, ticket: &Credential, text: &str) -> bool {
    if ticket.server.to_string() == text || ticket.server.principal.to_string() == text {
        return true;
    }
    let peer = peer(cache, &ticket.server);
    let is_peer =
        |host: &str| peer.eq_ignore_ascii_case(host) || peer.split('.').next().is_some_and(|label| label.eq_ignore_ascii_case(host));
    match text.split_once('@') {
        Some((wanted, host)) => {
            let named =
                service(&ticket.server) == wanted || ticket.server.principal.components.first().is_some_and(|first| first == wanted);
            named && is_peer(host)
        }
        None => is_peer(text),
    }
}

/// The list for people.
pub fn render(listing: &Listing, verbose: bool, now: i64, paint: Paint) -> String {
    if listing.caches.iter().all(|cache| cache.tickets.is_empty()) {
        return "no tickets\n".to_owned();
    }
    let mut text = String::new();
    for cache in listing.caches.iter().filter(|cache| !cache.tickets.is_empty()) {
        if !text.is_empty() {
            text.push('\n');
        }
        let client = if verbose { cache.client.clone() } else { friendly_client(&cache.client) };
        let count = counted(cache.tickets.len(), "ticket");
        text.push_str(&format!("{}: {count} of {}\n", printable(&cache.cache), printable(&client)));
        text.push_str(&if verbose { long(cache, now, paint) } else { short(cache, now, paint) });
    }
    text
}

fn friendly_client(client: &str) -> String {
    client.parse::<FullName>().map_or_else(|_| client.to_owned(), |full| full.principal.to_string())
}

fn short(cache: &CacheReport, now: i64, paint: Paint) -> String {
    let mut table = Table::new(["SERVICE", "MACHINE", "STRENGTH", "TIME LEFT", "RENEWABLE"]);
    for ticket in &cache.tickets {
        let strength = ticket.strength.unwrap_or("-").to_owned();
        table.row([ticket.service.clone(), ticket.peer.clone(), strength, left(ticket, now), renewable(ticket, now)]);
    }
    toned(&table.render(paint), cache, paint)
}

fn long(cache: &CacheReport, now: i64, paint: Paint) -> String {
    let mut table = Table::new(["MACHINE", "STRENGTH", "TIME LEFT", "RENEWABLE", "ENCRYPTION", "FLAGS", "PRINCIPAL"]);
    for ticket in &cache.tickets {
        table.row([
            ticket.peer.clone(),
            ticket.strength.unwrap_or("-").to_owned(),
            left(ticket, now),
            renewable(ticket, now),
            ticket.etype.clone(),
            if ticket.flags.is_empty() { "-".to_owned() } else { ticket.flags.join(",") },
            ticket.principal.clone(),
        ]);
    }
    toned(&table.render(paint), cache, paint)
}

/// The table with the lines of tickets that have ended marked.
fn toned(table: &str, cache: &CacheReport, paint: Paint) -> String {
    let mut lines = table.lines();
    let mut text = lines.next().map(|heading| format!("{heading}\n")).unwrap_or_default();
    for (line, ticket) in lines.zip(&cache.tickets) {
        let line = if ticket.state == "good" { line.to_owned() } else { paint.tone(Tone::Doubtful, line) };
        text.push_str(&line);
        text.push('\n');
    }
    text
}

fn left(ticket: &TicketReport, now: i64) -> String {
    match ticket.state {
        "ended" => format!("ended {}", relative(ticket.ends, now)),
        "not-yet" => format!("begins {}", relative(ticket.starts, now)),
        "invalid" => "not valid".to_owned(),
        _ => span(u64::try_from(ticket.ends.saturating_sub(now)).unwrap_or_default()),
    }
}

fn renewable(ticket: &TicketReport, now: i64) -> String {
    match ticket.renew_till {
        // A ticket that has ended cannot be renewed.
        Some(till) if till > now && ticket.state != "ended" => span(u64::try_from(till - now).unwrap_or_default()),
        _ => "-".to_owned(),
    }
}

/// Whether a ticket can be renewed at `now`.
pub fn is_renewable(ticket: &Credential, now: i64) -> bool {
    ticket.has_flag(RENEWABLE) && i64::from(ticket.times.ends) > now && i64::from(ticket.times.renew_till) > now
}

/// What `btmm tickets get` and `renew` got.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Granted {
    /// The tickets.
    pub tickets: Vec<TicketReport>,
}

/// What was got, for people.
pub fn granted(done: &Granted, now: i64) -> String {
    let line =
        |ticket: &TicketReport| format!("{} on {}: good for {}\n", printable(&ticket.service), printable(&ticket.peer), left(ticket, now));
    done.tickets.iter().map(line).collect()
}

/// What `btmm tickets rm` did.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Removed {
    /// How many tickets.
    pub removed: usize,
}

/// What was removed, for people.
pub fn removed(done: &Removed) -> String {
    format!("{} removed\n", counted(done.removed, "ticket"))
}

#[cfg(test)]
#[path = "tickets_tests.rs"]
mod tests;
