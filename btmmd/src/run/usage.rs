//! What the kernel's counters tell: is a tunnel used, and does its peer still send?

use std::collections::BTreeMap;

use crate::xfrm::port::{SaEntry, SaId};

/// Packets carried by each inbound state when last looked at.
#[derive(Debug, Default)]
pub(super) struct Usage {
    inbound: BTreeMap<SaId, u64>,
}

/// What changed since the last look.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Measured {
    /// Packets carried by all states of the peer, both ways.
    pub packets: u64,
    /// Inbound states that carried something since.
    pub heard: Vec<u32>,
}

impl Usage {
    /// Looks at the states of peer `number`, of which `inbound` says whether they carry towards us.
    pub fn look(&mut self, states: &[SaEntry], number: u32, inbound: impl Fn(SaId) -> bool) -> Measured {
        let mut measured = Measured { packets: 0, heard: Vec::new() };
        for state in states.iter().filter(|state| state.reqid == number) {
            measured.packets += state.carried.1;
            if inbound(state.id) && self.inbound.insert(state.id, state.carried.1).unwrap_or(0) < state.carried.1 {
                measured.heard.push(state.id.spi);
            }
        }
        measured
    }

    /// Forgets a state.
    pub fn forget(&mut self, id: SaId) {
        self.inbound.remove(&id);
    }
}

#[cfg(test)]
mod tests {
    use std::net::{IpAddr, Ipv6Addr};

    use super::*;

    fn state(spi: u32, reqid: u32, packets: u64) -> SaEntry {
        let outer = IpAddr::from([203, 0, 113, 1]);
        let inner = (Ipv6Addr::LOCALHOST, Ipv6Addr::LOCALHOST);
        let id = SaId { destination: outer, spi };
        SaEntry { id, source: outer, reqid, if_id: 1, encap: None, inner, carried: (packets * 100, packets), added: 0, used: 0 }
    }

    #[test]
    fn only_what_arrived_since_the_last_look_is_a_sign_of_life() {
        let mut usage = Usage::default();
        let look = |usage: &mut Usage, states: &[SaEntry]| usage.look(states, 1, |id| id.spi == 0x10);
        assert_eq!(look(&mut usage, &[state(0x10, 1, 5), state(0x20, 1, 7)]), Measured { packets: 12, heard: vec![0x10] });
        assert_eq!(look(&mut usage, &[state(0x10, 1, 5), state(0x20, 1, 9)]), Measured { packets: 14, heard: vec![] });
        assert_eq!(look(&mut usage, &[state(0x10, 1, 6), state(0x30, 2, 9)]), Measured { packets: 6, heard: vec![0x10] });
        usage.forget(state(0x10, 1, 0).id);
        assert_eq!(look(&mut usage, &[state(0x10, 1, 6)]).heard, [0x10]);
    }
}
