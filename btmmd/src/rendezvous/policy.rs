//! Which key may do what. A key is named after its machine: `<host>.<zone>`.
//!
//! - A message without a right signature: nothing, neither read nor write (the server refuses it before it gets here).
//! - Any key of the account: read everything, transfer the zone.
//! - The key of `<host>`: change `<host>` and the names below it, records of [`WRITABLE`] types only. Not the apex, not another machine.

use hickory_proto::rr::{Name, RecordType};

use crate::account::name::MachineName;

/// The types a machine may publish. No NS, SOA, CNAME or DNAME: the zone neither delegates nor redirects.
pub const WRITABLE: [RecordType; 7] =
    [RecordType::A, RecordType::AAAA, RecordType::SRV, RecordType::TXT, RecordType::PTR, RecordType::HINFO, RecordType::SSHFP];

/// The label directly below `zone` under which `name` lies, folded; `None` at the apex and outside.
pub fn owner(zone: &Name, name: &Name) -> Option<String> {
    let (above, labels) = (zone.iter().count(), name.iter().count());
    if !zone.zone_of(name) || labels <= above {
        return None;
    }
    let label = name.iter().nth(labels - above - 1)?;
    String::from_utf8(label.to_ascii_lowercase()).ok()
}

/// May the key of `machine` add, change or delete records at `name`?
pub fn may_write(zone: &Name, machine: &MachineName, name: &Name) -> bool {
    owner(zone, name).as_deref() == Some(machine.as_str())
}

/// May anyone publish records of this type? ANY stands for a deletion of all of a name's records.
pub fn is_writable(kind: RecordType) -> bool {
    kind == RecordType::ANY || WRITABLE.contains(&kind)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(text: &str) -> Name {
        Name::from_ascii(text).unwrap()
    }

    #[test]
    fn a_machine_writes_at_and_below_its_own_name_only() {
        let zone = name("alice.btmm.internal.");
        let imac = "imac".parse().unwrap();
        for own in ["imac.alice.btmm.internal.", "_autotunnel._udp.IMAC.Alice.btmm.internal.", "*.imac.alice.btmm.internal."] {
            assert!(may_write(&zone, &imac, &name(own)), "{own}");
        }
        for other in [
            "alice.btmm.internal.",
            "laptop.alice.btmm.internal.",
            "imac.laptop.alice.btmm.internal.",
            "ximac.alice.btmm.internal.",
            "imac.bob.btmm.internal.",
            "imac.",
            ".",
        ] {
            assert!(!may_write(&zone, &imac, &name(other)), "{other}");
        }
    }
}
