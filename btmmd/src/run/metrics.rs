//! Prometheus text format 0.0.4. A dozen counters read at once from what is kept anyway: no registry is worth its weight here.

use std::fmt::Write;

use crate::control::messages::{Firewall, Status, Tunnel};

/// The status as metrics.
pub(super) fn text(status: &Status) -> String {
    let counters = &status.counters;
    let up = status.peers.iter().filter(|peer| matches!(peer.tunnel, Tunnel::Up(_))).count();
    let gauges = [
        ("btmm_on", "Whether tunnels are allowed.", u64::from(status.on)),
        ("btmm_firewall_blocked", "Whether the port-4500 switch blocks.", u64::from(status.firewall == Firewall::Block)),
        ("btmm_peers", "Machines of the account but this one.", status.peers.len() as u64),
        ("btmm_tunnels", "Tunnels that are up.", up as u64),
        ("btmm_findings", "Things that are not as they should be.", status.health.len() as u64),
    ];
    let totals = [
        ("btmm_tunnels_up_total", "Tunnels brought up.", counters.tunnels_up),
        ("btmm_tunnels_failed_total", "Attempts that failed.", counters.tunnels_failed),
        ("btmm_packets_held_total", "Packets held in the waiting room and sent on.", counters.packets_held),
        ("btmm_packets_dropped_total", "Packets given up in the waiting room.", counters.packets_dropped),
        ("btmm_ike_received_total", "IKE datagrams received.", counters.ike_received),
        ("btmm_ike_sent_total", "IKE datagrams sent.", counters.ike_sent),
        ("btmm_gate_passed_total", "Packets the gate let through.", counters.gate_passed),
        ("btmm_gate_dropped_total", "Packets the gate dropped.", counters.gate_dropped),
    ];
    let kdc = status.kdc.as_ref();
    let kdc = [
        ("btmm_tickets_given_total", "Tickets given by this machine's KDC.", kdc.map_or(0, |kdc| kdc.given)),
        ("btmm_tickets_refused_total", "Tickets refused by this machine's KDC.", kdc.map_or(0, |kdc| kdc.refused)),
    ];
    let mut text = String::new();
    for (kind, values) in [("gauge", gauges.as_slice()), ("counter", totals.as_slice()), ("counter", kdc.as_slice())] {
        for (name, help, value) in values {
            // Writing to a String cannot fail.
            let _ = write!(text, "# HELP {name} {help}\n# TYPE {name} {kind}\n{name} {value}\n");
        }
    }
    text
}
