//! Which machine has which realm and where its KDC is, told to whoever asks in the way that he asks.
//!
//! | who asks | where it stands |
//! |---|---|
//! | stock programs, by the locate plugin | `/run/btmm/realms`: [`Realms::table`] |
//! | stock programs, by configuration | `/run/btmm/krb5.conf`: [`krb5_conf`] |
//! | machines of the account | TXT `_kerberos.<host>` in the zone |
//! | machines on the home network | TXT `_kerberos.<host>.local` by multicast DNS |
//!
//! The first two come from the signed roster, so that nobody on the way can name another key. The last two are hints: whoever follows one
//! must check that the KDC has the key that the realm names.
mod conf;
pub mod linux;
pub mod mdns;

use std::fmt::Write as _;
use std::net::Ipv6Addr;

use super::name::RealmName;
use crate::account::name::{MachineName, ZoneName};
use crate::account::roster::{Machine, Roster};

mod table;

pub use conf::{Conf, krb5_conf};

/// The KDC of one machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// The machine.
    pub machine: MachineName,
    /// Its name in the zone.
    pub fqdn: String,
    /// Where its KDC answers.
    pub inner: Ipv6Addr,
    /// The realm that its key names.
    pub realm: RealmName,
}

/// The KDCs of the account, in the order in which the machines joined.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Realms {
    places: Vec<Place>,
}

impl Realms {
    /// Those of the machines on the roster.
    pub fn of_roster(roster: &Roster, zone: &ZoneName) -> Self {
        let place = |machine: &Machine| Place {
            fqdn: machine.name.in_zone(zone),
            machine: machine.name.clone(),
            inner: machine.inner,
            realm: RealmName::of_hash(machine.key),
        };
        Self { places: roster.machines().iter().map(place).collect() }
    }

    /// With this machine, which may not be on the roster yet.
    #[must_use]
    pub fn with(mut self, place: Place) -> Self {
        if self.of_host(&place.fqdn).is_none() {
            self.places.push(place);
        }
        self
    }

    /// All of them.
    pub fn places(&self) -> &[Place] {
        &self.places
    }

    /// By the host's name in the zone, or the machine's name alone. Case and a trailing dot do not matter.
    pub fn of_host(&self, host: &str) -> Option<&Place> {
        let host = host.strip_suffix('.').unwrap_or(host);
        self.places.iter().find(|place| place.fqdn.eq_ignore_ascii_case(host) || place.machine.as_str().eq_ignore_ascii_case(host))
    }

    /// By the realm.
    pub fn of_realm(&self, realm: &RealmName) -> Option<&Place> {
        self.places.iter().find(|place| place.realm == *realm)
    }

    /// The table that the locate plugin reads: a line `REALM ADDRESS HOST` for each machine.
    pub fn table(&self) -> String {
        self.places.iter().fold(String::new(), |mut table, place| {
            // A String takes everything.
            let _ = writeln!(table, "{} {} {}", place.realm, place.inner, place.fqdn);
            table
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    pub(super) fn realms() -> Realms {
        let zone: ZoneName = "alice.btmm.internal".parse().expect("a zone");
        let place = |name: &str, last: u16| {
            let machine: MachineName = name.parse().expect("a name");
            let inner = Ipv6Addr::new(0xfd12, 0x3456, 0x789a, 0, 0, 0, 0, last);
            Place { fqdn: machine.in_zone(&zone), machine, inner, realm: RealmName::of_key(&[u8::try_from(last).expect("small")]) }
        };
        Realms { places: vec![place("imac", 1), place("laptop", 2)] }
    }

    #[test]
    fn a_host_is_found_by_any_of_its_names_and_a_realm_by_its_own_only() {
        let realms = realms();
        for name in ["imac", "IMAC", "imac.alice.btmm.internal", "iMac.Alice.btmm.internal."] {
            assert_eq!(realms.of_host(name).map(|place| place.machine.as_str()), Some("imac"), "{name}");
        }
        for name in ["", ".", "imac.", "imac..", "ima", "imac.alice", "imac.alice.btmm.internal.example"] {
            assert_eq!(realms.of_host(name).map(|place| place.machine.as_str()), (name == "imac.").then_some("imac"), "{name}");
        }
        assert_eq!(realms.of_realm(&RealmName::of_key(&[2])).map(|place| place.machine.as_str()), Some("laptop"));
        assert_eq!(realms.of_realm(&RealmName::of_key(&[3])), None);
    }

    #[test]
    fn the_table_has_a_line_for_each_machine_in_the_form_the_plugin_reads() {
        let (realms, table) = (realms(), realms().table());
        for place in realms.places() {
            let line = format!("{} {} {}", place.realm, place.inner, place.fqdn);
            assert!(table.ends_with('\n') && table.lines().any(|other| other == line), "{line} is not in\n{table}");
        }
        assert_eq!(table.lines().count(), 2);
    }
}
