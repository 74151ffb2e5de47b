//! What only the kernel can give: packets behind its two kinds of context, maps, redirection, the log.

pub mod log;
pub mod maps;

use aya_ebpf::bindings::{TC_ACT_SHOT, TC_ACT_UNSPEC};
use aya_ebpf::helpers::generated::{bpf_redirect, bpf_skb_load_bytes_relative, bpf_xdp_load_bytes};
use aya_ebpf::programs::{TcContext, XdpContext};
use btmm_ebpf::bytes::Bytes;
use btmm_ebpf::packet::{self, FAST_LENGTH, Network};

/// No opinion: go on to the next filter, and pass when there is none.
pub const NEXT: i32 = TC_ACT_UNSPEC;

/// `BPF_HDR_START_NET` of `enum bpf_hdr_start_off`.
const FROM_NETWORK_HEADER: u32 = 1;

/// An Ethernet frame at an XDP hook, over all its fragments.
pub struct Frame<'a>(pub &'a XdpContext);

impl Frame<'_> {
    /// The first octets, when they lie in the linear part.
    #[inline(always)]
    pub fn head(&self) -> Option<&[u8; FAST_LENGTH]> {
        let (start, end) = (self.0.data(), self.0.data_end());
        if start + FAST_LENGTH > end {
            return None;
        }
        // SAFETY: the bounds were compared in the form the verifier recognises; octets have no alignment nor invalid values.
        Some(unsafe { &*(start as *const [u8; FAST_LENGTH]) })
    }
}

impl Bytes for Frame<'_> {
    #[inline(always)]
    fn read<const N: usize>(&self, at: u32) -> Option<[u8; N]> {
        let mut octets = [0u8; N];
        // SAFETY: the helper writes N octets or fails, and checks the offset against the whole packet itself.
        let result = unsafe { bpf_xdp_load_bytes(self.0.ctx, at, octets.as_mut_ptr().cast(), N as u32) };
        if result == 0 { Some(octets) } else { None }
    }
}

/// A packet at a TC hook, from its network header on: the same over Ethernet, bare IP links and `btmm0`, whose packets begin with
/// whatever the link below left there.
pub struct Skb<'a>(pub &'a TcContext);

impl Skb<'_> {
    /// The network header, behind any VLAN tags the kernel has left in the packet.
    #[inline(always)]
    pub fn network(&self) -> Network {
        packet::network(self, u16::from_be(self.0.skb.protocol() as u16), 0)
    }
}

impl Bytes for Skb<'_> {
    #[inline(always)]
    fn read<const N: usize>(&self, at: u32) -> Option<[u8; N]> {
        let mut octets = [0u8; N];
        let to = octets.as_mut_ptr().cast();
        // SAFETY: as for frames.
        let result = unsafe { bpf_skb_load_bytes_relative(self.0.skb.skb.cast(), at, to, N as u32, FROM_NETWORK_HEADER) };
        if result == 0 { Some(octets) } else { None }
    }
}

/// Sends the packet out of another interface.
#[inline(always)]
pub fn redirect(index: u32) -> i32 {
    // SAFETY: takes plain numbers.
    let action = unsafe { bpf_redirect(index, 0) };
    if action < 0 { TC_ACT_SHOT } else { action as i32 }
}
