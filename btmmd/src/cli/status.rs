//! `btmm status`.

use super::machines;
use super::table::{Paint, Tone, pairs};
use super::words::{self, printable, relative};
use crate::control::messages::{
    AccountStatus, Finding, Firewall, KdcStatus, PortMapping, RendezvousStatus, ResolverStatus, Severity, Status, Tunnel, Uplink,
};
use crate::lkdc::name::RealmName;

/// The whole page for people.
pub fn render(status: &Status, now: i64, paint: Paint) -> String {
    let mut text = headline(status, paint);
    text.push_str(&pairs(&facts(status, now, paint)));
    if !status.peers.is_empty() {
        text.push('\n');
        text.push_str(&machines::table(&status.peers, now, paint));
        text.push_str(&last_causes(status));
    }
    for finding in &status.health {
        text.push('\n');
        text.push_str(&self::finding(finding, paint));
    }
    text
}

fn headline(status: &Status, paint: Paint) -> String {
    let switch = if status.on { paint.tone(Tone::Good, "on") } else { paint.tone(Tone::Doubtful, "off") };
    match &status.account {
        Some(account) => format!("{}.{} is {switch}\n", printable(&account.machine), printable(&account.zone)),
        None => {
            format!("btmm is {switch}, and this machine is in no account: \"btmm join CODE\", or \"btmm account create NAME --serve\"\n")
        }
    }
}

fn facts(status: &Status, now: i64, paint: Paint) -> Vec<(&'static str, String)> {
    let mut facts = Vec::new();
    if let Some(account) = &status.account {
        facts.extend(account_facts(account, now));
    }
    facts.push(("port", port(&status.port_mapping, now)));
    if status.account.is_some() {
        facts.push(("zone", rendezvous(&status.rendezvous, now)));
        facts.push(("names", resolver(&status.resolver)));
    }
    facts.extend(status.kdc.as_ref().map(|kdc| ("tickets", self::kdc(kdc))));
    facts.push(("uplinks", uplinks(&status.uplinks)));
    facts.push(("firewall", firewall(status.firewall, paint)));
    facts
}

/// What `btmm account show` tells as well.
pub fn account_facts(account: &AccountStatus, now: i64) -> Vec<(&'static str, String)> {
    let role = if account.base { ", this machine is its home base" } else { "" };
    vec![
        ("account", format!("{}{role}", printable(&account.account))),
        ("address", account.inner.to_string()),
        ("certificate", format!("ends {}", relative(account.certificate_expires, now))),
    ]
}

fn port(mapping: &PortMapping, now: i64) -> String {
    let mut text = printable(&mapping.text);
    if let Some(external) = mapping.external {
        text = format!("{external}, {text}");
    }
    if let Some(expires) = mapping.expires {
        text.push_str(&format!(", renewed or gone {}", relative(expires, now)));
    }
    text
}

fn rendezvous(state: &RendezvousStatus, now: i64) -> String {
    let mut text = printable(&state.state);
    if let Some(server) = &state.server {
        text.push_str(&format!(", server {}", printable(server)));
    }
    if let Some(then) = state.last_success {
        text.push_str(&format!(", last success {}", relative(then, now)));
    }
    if let Some(error) = &state.error {
        text.push_str(&format!(": {}", printable(error)));
    }
    text
}

fn resolver(state: &ResolverStatus) -> String {
    let mut text = match (state.state.as_str(), state.listen) {
        ("resolved", Some(listen)) => format!("systemd-resolved asks {listen}"),
        (_, Some(listen)) => format!("{} at {listen}", printable(&state.state)),
        _ => printable(&state.state),
    };
    if let Some(hint) = &state.hint {
        text.push_str(&format!(": {}", printable(hint)));
    }
    text
}

fn kdc(kdc: &KdcStatus) -> String {
    let realm = kdc.realm.parse::<RealmName>().map_or_else(|_| printable(&kdc.realm), |realm| realm.friendly());
    let listen: Vec<String> = kdc.listen.iter().map(ToString::to_string).collect();
    let at = if listen.is_empty() { "listens nowhere".to_owned() } else { format!("at {}", listen.join(" ")) };
    format!("{realm} {at}, {} principals, {} given, {} refused", kdc.principals, kdc.given, kdc.refused)
}

fn uplinks(uplinks: &[Uplink]) -> String {
    if uplinks.is_empty() {
        return "none".to_owned();
    }
    let one = |uplink: &Uplink| {
        let addresses: Vec<String> = uplink.addresses.iter().map(ToString::to_string).collect();
        let gate = uplink.gate.as_deref().unwrap_or("no gate");
        format!("{} {} ({})", printable(&uplink.name), addresses.join(" "), printable(gate))
    };
    uplinks.iter().map(one).collect::<Vec<_>>().join(", ")
}

fn firewall(state: Firewall, paint: Paint) -> String {
    match state {
        Firewall::Allow => "allow".to_owned(),
        Firewall::Block => paint.tone(Tone::Bad, "block") + ": nothing passes until \"btmm firewall allow\"",
        Firewall::Absent => paint.tone(Tone::Bad, "absent") + ": the gate is attached to no uplink",
    }
}

fn last_causes(status: &Status) -> String {
    let cause = |tunnel: &Tunnel| match tunnel {
        Tunnel::Down { cause } => cause.clone(),
        _ => None,
    };
    let told = status.peers.iter().filter_map(|peer| Some(format!("{}: {}\n", printable(&peer.name), printable(&cause(&peer.tunnel)?))));
    told.collect()
}

fn finding(finding: &Finding, paint: Paint) -> String {
    let word = match finding.severity {
        Severity::Note => "note".to_owned(),
        Severity::Warning => paint.tone(Tone::Doubtful, "warning"),
        Severity::Error => paint.tone(Tone::Bad, "error"),
    };
    let mut text = format!("{word}: {}\n", printable(&finding.what));
    for (name, line) in [("because", &finding.cause), ("do", &finding.next_step)] {
        if !line.is_empty() {
            text.push_str(&format!("  {name}: {}\n", printable(line)));
        }
    }
    text
}

/// One line for `btmm on` and `btmm off`.
pub fn switched(on: bool, changed: bool) -> String {
    let state = if on { "on" } else { "off" };
    if changed { format!("btmm is {state}\n") } else { format!("btmm was {state} already\n") }
}

/// The certificate's end and the like for one account.
pub fn account(account: &AccountStatus, now: i64) -> String {
    let mut facts = vec![("machine", format!("{}.{}", printable(&account.machine), printable(&account.zone)))];
    facts.extend(account_facts(account, now));
    pairs(&facts)
}

/// How `btmm version` puts it.
pub fn versions(btmmd: Option<&str>) -> String {
    format!("btmm {}\nbtmmd {}\n", env!("CARGO_PKG_VERSION"), btmmd.map_or_else(|| "is not running".to_owned(), words::printable))
}

#[cfg(test)]
#[path = "status_tests.rs"]
mod tests;
