//! `btmm firewall`: how the switch reads. The switch itself is [`crate::datapath::firewall`], which needs no daemon.

use serde::Serialize;

use super::table::{Paint, Tone, pairs};
use super::words::printable;
use crate::control::messages::{Firewall, Status};
use crate::datapath::Counters;
use crate::datapath::firewall::FirewallStatus;

/// What `btmm firewall` prints with `--json`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Report {
    /// Whether the switch blocks; `None` when there is no gate to ask.
    pub blocked: Option<bool>,
    /// Interfaces on which the switch is in force.
    pub enforced_on: Vec<String>,
    /// Interfaces that it does not reach.
    pub not_enforced_on: Vec<String>,
    /// Counted by the gate; only root can read them.
    pub counters: Option<Counters>,
    /// What is doubtful about this.
    pub warning: Option<String>,
}

impl From<FirewallStatus> for Report {
    fn from(status: FirewallStatus) -> Self {
        Self {
            blocked: Some(status.blocked),
            enforced_on: status.enforced_on,
            not_enforced_on: status.not_enforced_on,
            counters: Some(status.counters),
            warning: status.warning,
        }
    }
}

impl From<&Status> for Report {
    /// As far as the daemon tells those who may not look themselves.
    fn from(status: &Status) -> Self {
        let (gated, open): (Vec<_>, Vec<_>) = status.uplinks.iter().partition(|uplink| uplink.gate.is_some());
        let names = |uplinks: Vec<&crate::control::messages::Uplink>| uplinks.into_iter().map(|uplink| uplink.name.clone()).collect();
        let blocked = match status.firewall {
            Firewall::Block => Some(true),
            Firewall::Allow => Some(false),
            Firewall::Absent => None,
        };
        Self { blocked, enforced_on: names(gated), not_enforced_on: names(open), counters: None, warning: None }
    }
}

/// The report for people.
pub fn render(report: &Report, paint: Paint) -> String {
    let state = match report.blocked {
        Some(true) => paint.tone(Tone::Bad, "block") + ": nothing passes on the tunnel port",
        Some(false) => paint.tone(Tone::Good, "allow"),
        None => paint.tone(Tone::Bad, "absent") + ": the gate is attached to no uplink",
    };
    let list = |names: &[String]| if names.is_empty() { "no interface".to_owned() } else { printable(&names.join(", ")) };
    let mut facts = vec![("firewall", state), ("in force on", list(&report.enforced_on))];
    if !report.not_enforced_on.is_empty() {
        facts.push(("NOT in force on", list(&report.not_enforced_on)));
    }
    if let Some(counters) = &report.counters {
        facts.extend(counted(counters));
    }
    if let Some(warning) = &report.warning {
        facts.push(("warning", printable(warning)));
    }
    pairs(&facts)
}

fn counted(counters: &Counters) -> [(&'static str, String); 2] {
    let dropped = [
        ("switched off in", counters.blocked_in),
        ("switched off out", counters.blocked_out),
        ("switched off fragments", counters.blocked_fragment),
        ("unknown SPI", counters.esp_unknown),
        ("IKE over its rate", counters.ike_limited),
        ("malformed", counters.malformed),
        ("unreadable", counters.unreadable),
        ("inner in clear", counters.guarded),
        ("stray", counters.stray),
    ];
    let passed = [("ESP", counters.esp_accepted), ("IKE", counters.ike_accepted), ("keepalives", counters.keepalive)];
    [("passed", amounts(&passed)), ("dropped", amounts(&dropped))]
}

fn amounts(amounts: &[(&str, u64)]) -> String {
    let told: Vec<String> = amounts.iter().filter(|(_, count)| *count > 0).map(|(name, count)| format!("{count} {name}")).collect();
    if told.is_empty() { "nothing".to_owned() } else { told.join(", ") }
}
