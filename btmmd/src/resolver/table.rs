//! The names this machine may answer for.

use std::collections::BTreeMap;
use std::net::Ipv6Addr;

use hickory_proto::rr::Name;

use crate::account::name::{MachineName, ZoneName};

/// Labels of a full IPv6 reverse name, `ip6.arpa` included.
const REVERSE_LABELS: usize = 34;

/// The machines of the account.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Table {
    /// The account's zone.
    pub zone: ZoneName,
    /// This machine.
    pub own: MachineName,
    /// The account's /48; the bits after the 48th do not matter.
    pub prefix: Ipv6Addr,
    /// Every machine's inner address, this one's too.
    pub machines: BTreeMap<MachineName, Ipv6Addr>,
}

/// What a queried name is to this account.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Place<'a> {
    /// Nothing: another server's business.
    Elsewhere,
    /// The account's zone itself.
    Apex,
    /// A machine of the roster.
    Machine(&'a MachineName, Ipv6Addr),
    /// Inside the zone, but not there.
    Nobody,
    /// The reverse zone itself.
    ReverseApex,
    /// The reverse name of a machine's inner address.
    Reverse(&'a MachineName),
    /// Inside the reverse zone with names below it.
    ReverseBranch,
    /// Inside the reverse zone, but not there.
    ReverseNobody,
}

impl Table {
    /// The reverse zone of the account's /48, without a trailing dot.
    pub fn reverse_zone(&self) -> String {
        let mut zone = String::new();
        for nibble in nibbles(self.prefix).iter().take(12).rev() {
            zone.push(char::from_digit((*nibble).into(), 16).unwrap_or('0'));
            zone.push('.');
        }
        zone + "ip6.arpa"
    }

    pub(super) fn place(&self, name: &Name) -> Place<'_> {
        let text = name.to_ascii().trim_end_matches('.').to_ascii_lowercase();
        if text == self.zone.as_str() {
            return Place::Apex;
        }
        // By labels, not by text: `x\.alice.btmm.internal` has a label `x.alice` and lies outside.
        if Name::from_ascii(format!("{}.", self.zone)).is_ok_and(|zone| zone.zone_of(name)) {
            let machine = self.zone.machine(&text).and_then(|machine| self.machines.get_key_value(&machine));
            return machine.map_or(Place::Nobody, |(machine, inner)| Place::Machine(machine, *inner));
        }
        self.reverse_place(&text)
    }

    fn reverse_place(&self, text: &str) -> Place<'_> {
        let apex = self.reverse_zone();
        if text == apex {
            return Place::ReverseApex;
        }
        if !text.strip_suffix(&apex).is_some_and(|rest| rest.ends_with('.')) {
            return Place::Elsewhere;
        }
        let full = text.split('.').count() >= REVERSE_LABELS;
        for (machine, inner) in &self.machines {
            let name = reverse_name(*inner);
            if name == text {
                return Place::Reverse(machine);
            }
            if !full && name.strip_suffix(text).is_some_and(|rest| rest.ends_with('.')) {
                return Place::ReverseBranch;
            }
        }
        Place::ReverseNobody
    }
}

fn nibbles(address: Ipv6Addr) -> Vec<u8> {
    address.octets().iter().flat_map(|octet| [octet >> 4, octet & 15]).collect()
}

fn reverse_name(address: Ipv6Addr) -> String {
    let mut name = String::new();
    for nibble in nibbles(address).iter().rev() {
        name.push(char::from_digit((*nibble).into(), 16).unwrap_or('0'));
        name.push('.');
    }
    name + "ip6.arpa"
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table() -> Table {
        Table {
            zone: "alice.btmm.internal".parse().unwrap(),
            own: "imac".parse().unwrap(),
            prefix: "fd12:3456:789a::".parse().unwrap(),
            machines: [("imac", "fd12:3456:789a::1"), ("laptop", "fd12:3456:789a::dead:beef")]
                .into_iter()
                .map(|(name, inner)| (name.parse().unwrap(), inner.parse().unwrap()))
                .collect(),
        }
    }

    fn place(name: &str) -> String {
        let table = table();
        format!("{:?}", table.place(&Name::from_ascii(name).unwrap()))
    }

    #[test]
    fn a_name_has_exactly_one_place() {
        assert_eq!(place("LAPTOP.Alice.btmm.internal."), "Machine(MachineName(\"laptop\"), fd12:3456:789a::dead:beef)");
        assert_eq!(place("alice.btmm.internal."), "Apex");
        assert_eq!(place("ghost.alice.btmm.internal."), "Nobody");
        assert_eq!(place("_ssh._tcp.alice.btmm.internal."), "Nobody");
        assert_eq!(place("malice.btmm.internal."), "Elsewhere");
        assert_eq!(place("x\\.alice.btmm.internal."), "Elsewhere");
        assert_eq!(place("example.com."), "Elsewhere");
        assert_eq!(place("."), "Elsewhere");
    }

    #[test]
    fn reverse_names_cover_the_prefix_and_nothing_else() {
        assert_eq!(table().reverse_zone(), "a.9.8.7.6.5.4.3.2.1.d.f.ip6.arpa");
        let laptop = reverse_name("fd12:3456:789a::dead:beef".parse().unwrap());
        assert_eq!(place(&laptop), "Reverse(MachineName(\"laptop\"))");
        assert_eq!(place(&laptop[8..]), "ReverseBranch");
        assert_eq!(place("a.9.8.7.6.5.4.3.2.1.d.f.ip6.arpa."), "ReverseApex");
        assert_eq!(place(&reverse_name("fd12:3456:789a::2".parse().unwrap())), "ReverseNobody");
        assert_eq!(place(&reverse_name("fd12:3456:789b::1".parse().unwrap())), "Elsewhere");
    }
}
