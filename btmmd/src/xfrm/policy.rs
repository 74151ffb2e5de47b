//! Policies as plain values: which flow, and what becomes of it.

use std::net::{IpAddr, Ipv6Addr};

use super::port::{IF_ID, InnerNetwork, PolicyId, PolicySpec};

/// Where in the kernel a policy is consulted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Hook {
    /// Packets delivered to this machine.
    In,
    /// Packets this machine sends.
    Out,
    /// Packets this machine forwards.
    Forward,
}

/// What becomes of the packets of a flow.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Action {
    /// Dropped.
    Block,
    /// Left alone.
    Allow,
    /// Only by ESP in tunnel mode of this reqid. `outer` is source and destination of the tunnel, or any.
    Protect {
        /// The peer's number.
        reqid: u32,
        /// Outer source and destination.
        outer: Option<(IpAddr, IpAddr)>,
    },
}

/// A prefix of inner addresses.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Prefix {
    /// The address; bits past `length` are zero.
    pub address: Ipv6Addr,
    /// Length in bits, at most 128.
    pub length: u8,
}

impl Prefix {
    /// Every address.
    pub const ANY: Self = Self { address: Ipv6Addr::UNSPECIFIED, length: 0 };

    /// One address.
    pub fn host(address: Ipv6Addr) -> Self {
        Self { address, length: 128 }
    }

    /// The account's /48 around an address.
    pub fn account(address: Ipv6Addr) -> Self {
        Self { address: Ipv6Addr::from(u128::from(address) & !(u128::MAX >> 48)), length: 48 }
    }
}

/// What the kernel tells policies apart by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Flow {
    /// Where consulted.
    pub hook: Hook,
    /// Inner source.
    pub source: Prefix,
    /// Inner destination.
    pub destination: Prefix,
    /// Only packets of this interface; 0 for any.
    pub interface: u32,
    /// Only packets of the XFRM interfaces with this id; 0 for those of none.
    pub if_id: u32,
}

/// A policy.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Policy {
    /// Which packets.
    pub flow: Flow,
    /// What becomes of them.
    pub action: Action,
    /// Smaller wins.
    pub priority: u32,
}

/// Priority of peers' policies.
pub const PEER_PRIORITY: u32 = 1000;
/// Priority of the guard's exception for this machine talking to itself.
pub const GUARD_ALLOW_PRIORITY: u32 = 450;
/// Priority of the guard's refusals.
pub const GUARD_BLOCK_PRIORITY: u32 = 451;
/// `lo` has this index in every network namespace.
const LOOPBACK_INDEX: u32 = 1;

impl Policy {
    /// Out and in of one peer. There is none for forwarding: what comes out of a tunnel for another host meets no policy, and the kernel drops it.
    pub fn of_peer(spec: &PolicySpec) -> [Self; 2] {
        let flow = |hook, source, destination| Flow {
            hook,
            source: Prefix::host(source),
            destination: Prefix::host(destination),
            interface: 0,
            if_id: IF_ID,
        };
        let PolicyId { inner_local, inner_remote } = spec.id;
        let protect = |flow, outer| Self { flow, action: Action::Protect { reqid: spec.reqid, outer }, priority: PEER_PRIORITY };
        [
            protect(flow(Hook::Out, inner_local, inner_remote), spec.outer),
            // Inbound any outer address will do, which reqid and state already pin: so a peer may move without a policy change.
            protect(flow(Hook::In, inner_remote, inner_local), None),
        ]
    }

    /// The guard's policies: see [`super::guard`].
    pub fn of_guard(network: &InnerNetwork) -> [Self; 4] {
        let (own, account) = (Prefix::host(network.address), Prefix::account(network.prefix));
        let policy = |hook, source, destination, interface, action, priority| Self {
            flow: Flow { hook, source, destination, interface, if_id: 0 },
            action,
            priority,
        };
        [
            policy(Hook::In, own, own, LOOPBACK_INDEX, Action::Allow, GUARD_ALLOW_PRIORITY),
            policy(Hook::In, Prefix::ANY, own, 0, Action::Block, GUARD_BLOCK_PRIORITY),
            policy(Hook::Forward, Prefix::ANY, account, 0, Action::Block, GUARD_BLOCK_PRIORITY),
            policy(Hook::Forward, account, Prefix::ANY, 0, Action::Block, GUARD_BLOCK_PRIORITY),
        ]
    }

    /// Whether this is one of a peer's, ours to change.
    pub fn is_of_peer(&self) -> bool {
        self.flow.if_id == IF_ID
    }

    /// Whether this is one of the guard's, of whichever account: its priorities, no template, and a unique local prefix of the guard's lengths.
    pub fn is_of_guard(&self) -> bool {
        let ours = |prefix: Prefix| matches!(prefix.length, 48 | 128) && prefix.address.segments()[0] & 0xfe00 == 0xfc00;
        let action = match self.action {
            Action::Allow => self.priority == GUARD_ALLOW_PRIORITY,
            Action::Block => self.priority == GUARD_BLOCK_PRIORITY,
            Action::Protect { .. } => false,
        };
        self.flow.if_id == 0 && action && self.flow.hook != Hook::Out && (ours(self.flow.source) || ours(self.flow.destination))
    }
}

/// What turns the policies that are there into those that are wanted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PolicyChanges {
    /// To remove, by flow.
    pub remove: Vec<Flow>,
    /// To install or replace.
    pub set: Vec<Policy>,
}

/// Compares: `ours` says which of the present ones may be removed at all.
pub fn policy_changes(present: &[Policy], wanted: &[Policy], ours: impl Fn(&Policy) -> bool) -> PolicyChanges {
    PolicyChanges {
        remove: present
            .iter()
            .filter(|policy| ours(policy) && !wanted.iter().any(|wanted| wanted.flow == policy.flow))
            .map(|policy| policy.flow)
            .collect(),
        set: wanted.iter().filter(|policy| !present.contains(policy)).copied().collect(),
    }
}

/// Those of `wanted` whose flow has no policy, whoever removed it.
pub fn missing(present: &[Policy], wanted: &[Policy]) -> Vec<Policy> {
    wanted.iter().filter(|wanted| !present.iter().any(|policy| policy.flow == wanted.flow)).copied().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(last: u16) -> Ipv6Addr {
        Ipv6Addr::new(0xfd00, 1, 2, 0, 0, 0, 0, last)
    }

    fn spec(last: u16) -> PolicySpec {
        PolicySpec { id: PolicyId { inner_local: address(1), inner_remote: address(last) }, reqid: u32::from(last), outer: None }
    }

    fn guard() -> [Policy; 4] {
        Policy::of_guard(&InnerNetwork { address: address(1), prefix: address(0), mtu: 1400 })
    }

    #[test]
    fn an_unwanted_peer_is_removed_and_everything_else_left() {
        let foreign = Policy {
            flow: Flow { hook: Hook::Out, source: Prefix::ANY, destination: Prefix::host(address(9)), interface: 0, if_id: 0 },
            action: Action::Block,
            priority: GUARD_BLOCK_PRIORITY,
        };
        let mut present: Vec<_> = Policy::of_peer(&spec(2)).into_iter().chain(Policy::of_peer(&spec(3))).chain(guard()).collect();
        present.push(foreign);
        let changes = policy_changes(&present, &Policy::of_peer(&spec(3)), Policy::is_of_peer);
        assert_eq!(changes.set, []);
        assert_eq!(changes.remove, Policy::of_peer(&spec(2)).map(|policy| policy.flow));
    }

    #[test]
    fn a_peer_whose_outer_addresses_changed_is_set_and_not_removed() {
        let moved = PolicySpec { outer: Some(([192, 0, 2, 1].into(), [192, 0, 2, 2].into())), ..spec(2) };
        let changes = policy_changes(&Policy::of_peer(&spec(2)), &Policy::of_peer(&moved), Policy::is_of_peer);
        assert_eq!(changes, PolicyChanges { remove: vec![], set: vec![Policy::of_peer(&moved)[0]] });
    }

    #[test]
    fn what_somebody_removed_is_missing_and_what_has_changed_is_not() {
        let wanted: Vec<_> = guard().into_iter().chain(Policy::of_peer(&spec(2))).collect();
        let moved = PolicySpec { outer: Some(([192, 0, 2, 1].into(), [192, 0, 2, 2].into())), ..spec(2) };
        assert_eq!(missing(&Policy::of_peer(&moved), &wanted), guard());
        assert_eq!(missing(&[], &wanted), wanted);
    }

    #[test]
    fn every_guard_policy_is_known_again_and_no_peer_policy_is() {
        assert!(guard().iter().all(Policy::is_of_guard));
        assert!(!guard().iter().any(Policy::is_of_peer));
        assert!(!Policy::of_peer(&spec(2)).iter().any(Policy::is_of_guard));
    }

    #[test]
    fn the_guard_of_another_account_is_replaced() {
        let other = Policy::of_guard(&InnerNetwork {
            address: "fd99::1".parse().expect("literal"),
            prefix: "fd99::".parse().expect("literal"),
            mtu: 1400,
        });
        let changes = policy_changes(&other, &guard(), Policy::is_of_guard);
        assert_eq!(changes.remove.len(), 4);
        assert_eq!(changes.set, guard());
    }

    #[test]
    fn the_account_prefix_ends_at_bit_48() {
        let found = Prefix::account("fd01:203:405:607:809:a0b:c0d:e0f".parse().expect("literal"));
        assert_eq!(found, Prefix { address: "fd01:203:405::".parse().expect("literal"), length: 48 });
    }
}
