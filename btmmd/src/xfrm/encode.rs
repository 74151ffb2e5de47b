//! Our nouns as messages to the kernel.

use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use netlink_packet_xfrm::constants::{
    AF_INET, AF_INET6, IPPROTO_ESP, UDP_ENCAP_ESPINUDP, XFRM_MODE_TUNNEL, XFRM_POLICY_ALLOW, XFRM_POLICY_BLOCK, XFRM_POLICY_FWD,
    XFRM_POLICY_IN, XFRM_POLICY_OUT, XFRM_STATE_AF_UNSPEC, XFRM_STATE_ESN,
};
use netlink_packet_xfrm::policy::{DelGetMessage as PolicyNameMessage, ModifyMessage as PolicyMessage};
use netlink_packet_xfrm::state::{DelGetMessage as SaNameMessage, ModifyMessage as SaMessage};
use netlink_packet_xfrm::{
    Address, AlgAead, EncapTmpl, Id, LifetimeConfig, ReplayEsn, Selector, UserPolicyId, UserPolicyInfo, UserSaId, UserSaInfo, UserTemplate,
    XfrmAttrs,
};

use super::policy::{Action, Flow, Hook, Policy, Prefix};
use super::port::{IF_ID, SaId, SaSpec};
use crate::esp::Direction;

/// The name of AES-GCM with an explicit IV, as ESP uses it (RFC 4106).
const AEAD_NAME: &[u8] = b"rfc4106(gcm(aes))";
/// Bits of the integrity check value.
const ICV_BITS: u32 = 128;
/// Packets that may arrive out of order: a gigabit of full packets over 12 ms.
pub(super) const REPLAY_WINDOW: u32 = 1024;

/// Outer addresses that no state has, for the out policy of a peer without a tunnel.
pub(super) const NOWHERE: (IpAddr, IpAddr) = (IpAddr::V4(Ipv4Addr::LOCALHOST), IpAddr::V4(Ipv4Addr::LOCALHOST));

/// A state to install. The message holds the key: wipe it with [`wipe`] once it is sent.
pub(super) fn sa(spec: &SaSpec) -> SaMessage {
    let (source, destination) = match spec.direction {
        Direction::In => (spec.remote, spec.local),
        Direction::Out => (spec.local, spec.remote),
    };
    let (inner_source, inner_destination) = match spec.direction {
        Direction::In => (spec.inner_remote, spec.inner_local),
        Direction::Out => (spec.inner_local, spec.inner_remote),
    };
    let info = UserSaInfo {
        selector: selector(&Flow {
            hook: Hook::In,
            source: Prefix::host(inner_source),
            destination: Prefix::host(inner_destination),
            interface: 0,
            if_id: 0,
        }),
        id: Id { daddr: Address::from_ip(&destination.ip()), spi: spec.spi, proto: IPPROTO_ESP },
        saddr: Address::from_ip(&source.ip()),
        lifetime_cfg: LifetimeConfig {
            soft_add_expires_seconds: whole_seconds(spec.soft_lifetime),
            hard_add_expires_seconds: whole_seconds(spec.hard_lifetime),
            ..LifetimeConfig::default()
        },
        reqid: spec.reqid,
        family: family(source.ip()),
        mode: XFRM_MODE_TUNNEL,
        // Inner IPv6 in outer IPv4 needs AF_UNSPEC. With ESN the window travels in its own attribute.
        flags: XFRM_STATE_AF_UNSPEC | XFRM_STATE_ESN,
        ..UserSaInfo::default()
    };
    let nlas = vec![
        XfrmAttrs::EncryptionAlgAead(aead(spec)),
        XfrmAttrs::EncapsulationTemplate(EncapTmpl {
            encap_type: UDP_ENCAP_ESPINUDP,
            encap_sport: source.port(),
            encap_dport: destination.port(),
            ..EncapTmpl::default()
        }),
        XfrmAttrs::ReplayStateEsn(ReplayEsn {
            bmp_len: REPLAY_WINDOW / u32::BITS,
            replay_window: REPLAY_WINDOW,
            bmp: vec![0; (REPLAY_WINDOW / u32::BITS) as usize],
            ..ReplayEsn::default()
        }),
        XfrmAttrs::IfId(IF_ID),
    ];
    SaMessage { user_sa_info: info, nlas }
}

/// Overwrites every key in the attributes.
pub(super) fn wipe(nlas: &mut [XfrmAttrs]) {
    use zeroize::Zeroize;
    for nla in nlas {
        match nla {
            XfrmAttrs::EncryptionAlgAead(alg) => alg.alg_key.zeroize(),
            XfrmAttrs::EncryptionAlg(alg) | XfrmAttrs::AuthenticationAlg(alg) => alg.alg_key.zeroize(),
            XfrmAttrs::AuthenticationAlgTrunc(alg) => alg.alg_key.zeroize(),
            _ => (),
        }
    }
}

/// The name of a state, to remove or ask for it.
pub(super) fn sa_name(id: SaId) -> SaNameMessage {
    let name = UserSaId { daddr: Address::from_ip(&id.destination), spi: id.spi, family: family(id.destination), proto: IPPROTO_ESP };
    SaNameMessage { user_sa_id: name, nlas: vec![] }
}

/// A policy to install.
pub(super) fn policy(policy: &Policy) -> PolicyMessage {
    let info = UserPolicyInfo {
        selector: selector(&policy.flow),
        priority: policy.priority,
        direction: direction(policy.flow.hook),
        action: if policy.action == Action::Block { XFRM_POLICY_BLOCK } else { XFRM_POLICY_ALLOW },
        ..UserPolicyInfo::default()
    };
    let mut nlas = if_id(&policy.flow);
    if let Action::Protect { reqid, outer } = policy.action {
        // Sending needs definite addresses: with a wildcard the kernel first looks for a route to it, and without one there is no ACQUIRE.
        let outer = if policy.flow.hook == Hook::Out { outer.or(Some(NOWHERE)) } else { outer };
        nlas.push(XfrmAttrs::Template(vec![template(reqid, outer)]));
    }
    PolicyMessage { user_policy_info: info, nlas }
}

/// The name of a policy, to remove it.
pub(super) fn policy_name(flow: &Flow) -> PolicyNameMessage {
    let name = UserPolicyId { selector: selector(flow), index: 0, direction: direction(flow.hook) };
    PolicyNameMessage { user_policy_id: name, nlas: if_id(flow) }
}

fn if_id(flow: &Flow) -> Vec<XfrmAttrs> {
    if flow.if_id == 0 { vec![] } else { vec![XfrmAttrs::IfId(flow.if_id)] }
}

fn selector(flow: &Flow) -> Selector {
    Selector {
        saddr: Address::from_ipv6(&flow.source.address),
        daddr: Address::from_ipv6(&flow.destination.address),
        prefixlen_s: flow.source.length,
        prefixlen_d: flow.destination.length,
        family: AF_INET6,
        ifindex: flow.interface.cast_signed(),
        ..Selector::default()
    }
}

fn template(reqid: u32, outer: Option<(IpAddr, IpAddr)>) -> UserTemplate {
    let mut template = UserTemplate { reqid, mode: XFRM_MODE_TUNNEL, family: AF_INET6, ..UserTemplate::default() };
    template.id.proto = IPPROTO_ESP;
    if let Some((source, destination)) = outer {
        template.source(&source);
        template.destination(&destination);
    }
    template
}

fn aead(spec: &SaSpec) -> AlgAead {
    let mut alg_name = [0; 64];
    alg_name[..AEAD_NAME.len()].copy_from_slice(AEAD_NAME);
    let key = spec.key.0.to_vec();
    AlgAead { alg_name, alg_key_len: key.len() as u32 * u8::BITS, alg_icv_len: ICV_BITS, alg_key: key }
}

fn direction(hook: Hook) -> u8 {
    match hook {
        Hook::In => XFRM_POLICY_IN,
        Hook::Out => XFRM_POLICY_OUT,
        Hook::Forward => XFRM_POLICY_FWD,
    }
}

fn family(address: IpAddr) -> u16 {
    match address {
        IpAddr::V4(_) => AF_INET,
        IpAddr::V6(_) => AF_INET6,
    }
}

/// The kernel counts in seconds and takes 0 for "never": round up.
fn whole_seconds(lifetime: Duration) -> u64 {
    (lifetime.as_secs() + u64::from(lifetime.subsec_nanos() > 0)).max(1)
}
