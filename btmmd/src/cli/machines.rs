//! `btmm machines`, and the table of machines in `btmm status`.

use super::table::{Paint, Table};
use super::words;
use crate::control::messages::{MachineStatus, Machines, Tunnel};

/// The list for people.
pub fn render(reply: &Machines, now: i64, paint: Paint) -> String {
    if reply.machines.is_empty() {
        return format!(
            "{} is the only machine in {}: make a code for another with \"btmm invite\" on the home base\n",
            words::printable(&reply.this),
            words::printable(&reply.zone)
        );
    }
    table(&reply.machines, now, paint)
}

/// One row per machine.
pub fn table(machines: &[MachineStatus], now: i64, paint: Paint) -> String {
    let mut table = Table::new(["MACHINE", "INNER ADDRESS", "ONLINE", "TUNNEL", "THROUGH", "RTT", "IN", "OUT", "LAST SEEN"]);
    for machine in machines {
        let [tunnel, through, rtt, bytes_in, bytes_out] = tunnel(&machine.tunnel, now);
        let seen = machine.last_seen.map_or_else(|| "never".to_owned(), |then| words::relative(then, now));
        let online = if machine.online { "yes" } else { "no" };
        table.row([machine.name.clone(), machine.inner.to_string(), online.to_owned(), tunnel, through, rtt, bytes_in, bytes_out, seen]);
    }
    table.render(paint)
}

fn tunnel(tunnel: &Tunnel, now: i64) -> [String; 5] {
    let dash = || "-".to_owned();
    let lasted = |since: i64| words::span(u64::try_from(now.saturating_sub(since)).unwrap_or(0));
    match tunnel {
        Tunnel::Down { .. } => ["down".to_owned(), dash(), dash(), dash(), dash()],
        Tunnel::Connecting { since } => [format!("connecting {}", lasted(*since)), dash(), dash(), dash(), dash()],
        Tunnel::Up(up) => [
            format!("up {}", lasted(up.since)),
            format!("{} {}", up.remote, up.via),
            up.rtt_us.map_or_else(dash, words::round_trip),
            words::bytes(up.bytes_in),
            words::bytes(up.bytes_out),
        ],
    }
}
