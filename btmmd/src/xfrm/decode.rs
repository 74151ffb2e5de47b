//! The kernel's messages as our nouns, with every length checked before the codec sees it: it panics on short input.

use std::net::{IpAddr, SocketAddr};

use netlink_packet_core::ParseableParametrized;
use netlink_packet_xfrm::constants::{
    AF_INET, AF_INET6, IPPROTO_ESP, XFRM_MODE_TUNNEL, XFRM_MSG_ACQUIRE, XFRM_MSG_EXPIRE, XFRM_MSG_MAPPING, XFRM_MSG_NEWPOLICY,
    XFRM_MSG_NEWSA, XFRM_POLICY_ALLOW, XFRM_POLICY_BLOCK, XFRM_POLICY_FWD, XFRM_POLICY_IN, XFRM_POLICY_OUT,
};
use netlink_packet_xfrm::policy::ModifyMessage as PolicyMessage;
use netlink_packet_xfrm::state::ModifyMessage as SaMessage;
use netlink_packet_xfrm::{
    Address, Selector, UserSaInfo, XFRM_USER_ACQUIRE_LEN, XFRM_USER_EXPIRE_LEN, XFRM_USER_MAPPING_LEN, XFRM_USER_POLICY_INFO_LEN,
    XFRM_USER_SA_INFO_LEN, XfrmAttrs, XfrmMessage,
};

use super::encode::{NOWHERE, wipe};
use super::policy::{Action, Flow, Hook, Policy, Prefix};
use super::port::{IF_ID, KernelEvent, SaEntry, SaId};

/// One netlink message of a datagram, undecoded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Raw<'a> {
    /// `nlmsg_type`.
    pub kind: u16,
    /// `nlmsg_flags`.
    pub flags: u16,
    /// `nlmsg_seq`.
    pub sequence: u32,
    /// What follows the header.
    pub payload: &'a [u8],
}

/// `NLMSG_ERROR`, also an acknowledgement.
pub(super) const NLMSG_ERROR: u16 = 2;
/// `NLMSG_DONE`: the end of a dump.
pub(super) const NLMSG_DONE: u16 = 3;
/// `sizeof(struct nlmsghdr)`.
const HEADER: usize = 16;
/// `NLM_F_ACK_TLVS`: attributes follow the error.
const ACK_TLVS: u16 = 0x200;
/// `NLMSGERR_ATTR_MSG`: an explanation in words.
const ERROR_MESSAGE: u16 = 1;

/// Splits a datagram into messages; stops at the first whose length is impossible.
pub(super) fn split(mut datagram: &[u8]) -> impl Iterator<Item = Raw<'_>> {
    std::iter::from_fn(move || {
        let (header, _) = datagram.split_first_chunk::<HEADER>()?;
        let length = u32_at(header, 0)? as usize;
        let payload = datagram.get(HEADER..length)?;
        let raw = Raw { kind: u16_at(header, 4)?, flags: u16_at(header, 6)?, sequence: u32_at(header, 8)?, payload };
        datagram = datagram.get(length.next_multiple_of(4)..).unwrap_or_default();
        Some(raw)
    })
}

/// The end of an answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum End {
    /// Acknowledged, or the dump is complete.
    Done,
    /// Refused: error number and the kernel's explanation, which may be empty.
    Refused(i32, String),
}

/// Whether a message ends an answer, and how.
pub(super) fn end(raw: &Raw<'_>) -> Option<End> {
    // A dump that failed half way says so in NLMSG_DONE.
    if raw.kind != NLMSG_ERROR && raw.kind != NLMSG_DONE {
        return None;
    }
    let code = u32_at(raw.payload, 0).map_or(0, u32::cast_signed);
    if code == 0 {
        return Some(End::Done);
    }
    let attributes = match raw.kind {
        _ if raw.flags & ACK_TLVS == 0 => &[],
        NLMSG_DONE => raw.payload.get(4..).unwrap_or_default(),
        // The request's header is echoed, but not its body: the socket asks for that with NETLINK_CAP_ACK.
        _ => raw.payload.get(4 + HEADER..).unwrap_or_default(),
    };
    Some(End::Refused(code.saturating_abs(), explanation(attributes).unwrap_or_default()))
}

fn explanation(mut attributes: &[u8]) -> Option<String> {
    loop {
        let length = u16_at(attributes, 0)? as usize;
        let value = attributes.get(4..length)?;
        if u16_at(attributes, 2)? == ERROR_MESSAGE {
            let text = value.split(|&byte| byte == 0).next().unwrap_or_default();
            return Some(String::from_utf8_lossy(text).into_owned());
        }
        attributes = attributes.get(length.next_multiple_of(4)..)?;
    }
}

/// Decodes a message of a kind we use; `None` for any other and for one that is too short or malformed.
fn message(raw: &Raw<'_>) -> Option<XfrmMessage> {
    let fixed = match raw.kind {
        XFRM_MSG_NEWSA => XFRM_USER_SA_INFO_LEN,
        XFRM_MSG_NEWPOLICY => XFRM_USER_POLICY_INFO_LEN,
        XFRM_MSG_ACQUIRE => XFRM_USER_ACQUIRE_LEN,
        XFRM_MSG_EXPIRE => XFRM_USER_EXPIRE_LEN,
        XFRM_MSG_MAPPING => XFRM_USER_MAPPING_LEN,
        _ => return None,
    };
    if raw.payload.len() < fixed {
        return None;
    }
    XfrmMessage::parse_with_param(raw.payload, raw.kind).ok()
}

/// A state of a dump, if it is ESP in tunnel mode for IPv6. The key in it is overwritten.
pub(super) fn sa_entry(raw: &Raw<'_>) -> Option<SaEntry> {
    let Some(XfrmMessage::AddSa(mut message)) = message(raw) else { return None };
    wipe(&mut message.nlas);
    entry(&message)
}

fn entry(message: &SaMessage) -> Option<SaEntry> {
    let info = &message.user_sa_info;
    if info.mode != XFRM_MODE_TUNNEL || info.selector.family != AF_INET6 {
        return None;
    }
    Some(SaEntry {
        id: sa_id(info)?,
        source: address(&info.saddr, info.family)?,
        reqid: info.reqid,
        if_id: if_id(&message.nlas),
        encap: message.nlas.iter().find_map(|nla| match nla {
            XfrmAttrs::EncapsulationTemplate(encap) => Some((encap.encap_sport, encap.encap_dport)),
            _ => None,
        }),
        inner: (info.selector.saddr.to_ipv6(), info.selector.daddr.to_ipv6()),
        carried: (info.lifetime_cur.bytes, info.lifetime_cur.packets),
        added: info.lifetime_cur.add_time,
        used: info.lifetime_cur.use_time,
    })
}

/// A policy of a dump, if it is of the kinds we install.
pub(super) fn policy(raw: &Raw<'_>) -> Option<Policy> {
    let Some(XfrmMessage::AddPolicy(message)) = message(raw) else { return None };
    let info = &message.user_policy_info;
    Some(Policy {
        flow: Flow {
            hook: hook(info.direction)?,
            source: prefix(&info.selector, info.selector.saddr, info.selector.prefixlen_s)?,
            destination: prefix(&info.selector, info.selector.daddr, info.selector.prefixlen_d)?,
            interface: info.selector.ifindex.cast_unsigned(),
            if_id: if_id(&message.nlas),
        },
        action: action(info.action, &message)?,
        priority: info.priority,
    })
}

fn action(action: u8, message: &PolicyMessage) -> Option<Action> {
    let template = message.nlas.iter().find_map(|nla| match nla {
        XfrmAttrs::Template(templates) => templates.first(),
        _ => None,
    });
    match (action, template) {
        (XFRM_POLICY_BLOCK, _) => Some(Action::Block),
        (XFRM_POLICY_ALLOW, None) => Some(Action::Allow),
        (XFRM_POLICY_ALLOW, Some(template)) => {
            let outer = (address(&template.saddr, template.family)?, address(&template.id.daddr, template.family)?);
            let any = (outer.0.is_unspecified() && outer.1.is_unspecified()) || outer == NOWHERE;
            Some(Action::Protect { reqid: template.reqid, outer: (!any).then_some(outer) })
        }
        _ => None,
    }
}

/// What a notification means to us. Those about states carry no interface id: compare SPI and reqid with one's own.
pub(super) fn event(raw: &Raw<'_>) -> Option<KernelEvent> {
    match message(raw)? {
        XfrmMessage::Acquire(message) if message.acquire.selector.family == AF_INET6 && if_id(&message.nlas) == IF_ID => {
            Some(KernelEvent::Acquire {
                inner_local: message.acquire.selector.saddr.to_ipv6(),
                inner_remote: message.acquire.selector.daddr.to_ipv6(),
                reqid: message.nlas.iter().find_map(|nla| match nla {
                    XfrmAttrs::Template(templates) => templates.first().map(|template| template.reqid),
                    _ => None,
                })?,
            })
        }
        XfrmMessage::Expire(message) => {
            let (id, reqid) = (sa_id(&message.expire.state)?, message.expire.state.reqid);
            // SPI 0 is the place that an acquire kept for a state which nobody installed.
            (id.spi != 0).then_some(())?;
            Some(match message.expire.hard {
                0 => KernelEvent::SoftExpired { id, reqid },
                _ => KernelEvent::HardExpired { id, reqid },
            })
        }
        XfrmMessage::Mapping(message) if message.map.id.proto == IPPROTO_ESP => {
            let map = message.map;
            let family = map.id.family;
            Some(KernelEvent::Mapping {
                id: SaId { destination: address(&map.id.daddr, family)?, spi: map.id.spi },
                reqid: map.reqid,
                old: SocketAddr::new(address(&map.old_saddr, family)?, map.old_sport),
                new: SocketAddr::new(address(&map.new_saddr, family)?, map.new_sport),
            })
        }
        _ => None,
    }
}

fn sa_id(info: &UserSaInfo) -> Option<SaId> {
    (info.id.proto == IPPROTO_ESP).then_some(())?;
    Some(SaId { destination: address(&info.id.daddr, info.family)?, spi: info.id.spi })
}

fn hook(direction: u8) -> Option<Hook> {
    match direction {
        XFRM_POLICY_IN => Some(Hook::In),
        XFRM_POLICY_OUT => Some(Hook::Out),
        XFRM_POLICY_FWD => Some(Hook::Forward),
        _ => None,
    }
}

fn prefix(selector: &Selector, address: Address, length: u8) -> Option<Prefix> {
    (selector.family == AF_INET6 && length <= 128).then(|| Prefix { address: address.to_ipv6(), length })
}

fn if_id(nlas: &[XfrmAttrs]) -> u32 {
    nlas.iter()
        .find_map(|nla| match nla {
            XfrmAttrs::IfId(id) => Some(*id),
            _ => None,
        })
        .unwrap_or(0)
}

fn address(address: &Address, family: u16) -> Option<IpAddr> {
    match family {
        AF_INET => Some(address.to_ipv4().into()),
        AF_INET6 => Some(address.to_ipv6().into()),
        _ => None,
    }
}

fn u16_at(bytes: &[u8], offset: usize) -> Option<u16> {
    bytes.get(offset..)?.first_chunk().copied().map(u16::from_ne_bytes)
}

fn u32_at(bytes: &[u8], offset: usize) -> Option<u32> {
    bytes.get(offset..)?.first_chunk().copied().map(u32::from_ne_bytes)
}

#[cfg(test)]
mod tests;
