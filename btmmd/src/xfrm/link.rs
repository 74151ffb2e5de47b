//! `btmm0`, its routes and rules, as a plan: what is there and what is wanted, compared.

use std::collections::BTreeSet;
use std::net::Ipv6Addr;

use super::policy::Prefix;
use super::port::{IF_ID, InnerNetwork, RULE_PRIORITY};

/// Metric of the route that stands behind `btmm0`'s: the worst there is.
pub const UNREACHABLE_METRIC: u32 = u32::MAX;
/// Priority of the rule that refuses what [`RULE_PRIORITY`]'s did not route.
pub const REFUSE_PRIORITY: u32 = RULE_PRIORITY + 1;

/// `btmm0` as the kernel has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Link {
    /// The kernel's number.
    pub index: u32,
    /// Interface id, if it is an XFRM interface.
    pub if_id: Option<u32>,
    /// MTU.
    pub mtu: u32,
    /// Administratively up.
    pub up: bool,
    /// Its IPv6 addresses other than link-local ones.
    pub addresses: BTreeSet<Ipv6Addr>,
}

/// A step towards the wanted interface.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LinkStep {
    /// Make it, without link-local addresses.
    Create,
    /// Set the MTU.
    Mtu(u32),
    /// Take an address away.
    RemoveAddress(Ipv6Addr),
    /// Give it its /128, usable at once.
    AddAddress(Ipv6Addr),
    /// Bring it up.
    Up,
}

/// Someone else's interface has our name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NotOurs;

/// The steps to the wanted interface, in order; none when it is as it should be.
pub fn link_steps(present: Option<&Link>, wanted: &InnerNetwork) -> Result<Vec<LinkStep>, NotOurs> {
    let Some(link) = present else {
        return Ok(vec![LinkStep::Create, LinkStep::Mtu(wanted.mtu), LinkStep::AddAddress(wanted.address), LinkStep::Up]);
    };
    if link.if_id != Some(IF_ID) {
        return Err(NotOurs);
    }
    let mut steps = vec![];
    if link.mtu != wanted.mtu {
        steps.push(LinkStep::Mtu(wanted.mtu));
    }
    steps.extend(link.addresses.iter().filter(|&&address| address != wanted.address).map(|&address| LinkStep::RemoveAddress(address)));
    if !link.addresses.contains(&wanted.address) {
        steps.push(LinkStep::AddAddress(wanted.address));
    }
    if !link.up {
        steps.push(LinkStep::Up);
    }
    Ok(steps)
}

/// A route of our table.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Route {
    /// To `btmm0`, with our inner address as the preferred source.
    Device {
        /// Where to.
        prefix: Prefix,
        /// Index of `btmm0`.
        index: u32,
        /// Preferred source.
        source: Option<Ipv6Addr>,
    },
    /// Refused.
    Unreachable(Prefix),
}

/// A routing rule of ours.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Rule {
    /// The prefix is looked up in our table, and nowhere else if that has a route.
    Lookup(Prefix),
    /// The prefix is refused, whatever interface a socket is bound to.
    Refuse(Prefix),
}

/// The routes of our table while `btmm0` has this index.
pub fn routes(network: &InnerNetwork, index: u32) -> [Route; 2] {
    let prefix = Prefix::account(network.prefix);
    [Route::Unreachable(prefix), Route::Device { prefix, index, source: Some(network.address) }]
}

/// The rules, the guard's first.
pub fn rules(network: &InnerNetwork) -> [Rule; 2] {
    let prefix = Prefix::account(network.prefix);
    [Rule::Refuse(prefix), Rule::Lookup(prefix)]
}

/// What turns the present set into the wanted one: additions first, so that there is no gap between an old guard and a new one.
pub fn differences<T: PartialEq + Copy>(present: &[T], wanted: &[T]) -> (Vec<T>, Vec<T>) {
    let absent = |from: &[T], of: &[T]| of.iter().filter(|item| !from.contains(item)).copied().collect();
    (absent(present, wanted), absent(wanted, present))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn network() -> InnerNetwork {
        InnerNetwork { address: "fd00:1:2::a".parse().expect("literal"), prefix: "fd00:1:2::".parse().expect("literal"), mtu: 1418 }
    }

    fn link() -> Link {
        Link { index: 7, if_id: Some(IF_ID), mtu: 1418, up: true, addresses: [network().address].into() }
    }

    #[test]
    fn a_new_interface_is_complete_before_it_comes_up() {
        let steps = link_steps(None, &network()).expect("nothing is in the way");
        assert_eq!(steps, [LinkStep::Create, LinkStep::Mtu(1418), LinkStep::AddAddress(network().address), LinkStep::Up]);
    }

    #[test]
    fn an_interface_as_it_should_be_needs_nothing() {
        assert_eq!(link_steps(Some(&link()), &network()), Ok(vec![]));
    }

    #[test]
    fn another_account_s_address_goes_and_the_interface_stays() {
        let old: Ipv6Addr = "fd99::1".parse().expect("literal");
        let present = Link { addresses: [old].into(), up: false, mtu: 1500, ..link() };
        let steps = link_steps(Some(&present), &network()).expect("ours");
        assert_eq!(steps, [LinkStep::Mtu(1418), LinkStep::RemoveAddress(old), LinkStep::AddAddress(network().address), LinkStep::Up]);
    }

    #[test]
    fn someone_else_s_interface_of_our_name_is_not_touched() {
        for if_id in [None, Some(0), Some(1)] {
            assert_eq!(link_steps(Some(&Link { if_id, ..link() }), &network()), Err(NotOurs));
        }
    }

    #[test]
    fn the_refusal_is_wanted_before_the_way_through() {
        assert_eq!(rules(&network())[0], Rule::Refuse(Prefix::account(network().prefix)));
        assert_eq!(routes(&network(), 7)[0], Route::Unreachable(Prefix::account(network().prefix)));
    }

    #[test]
    fn a_changed_prefix_adds_the_new_rules_and_removes_the_old() {
        let old = rules(&InnerNetwork { prefix: "fd99::".parse().expect("literal"), ..network() });
        assert_eq!(differences(&old, &rules(&network())), (rules(&network()).to_vec(), old.to_vec()));
        assert_eq!(differences(&old, &old), (vec![], vec![]));
    }
}
