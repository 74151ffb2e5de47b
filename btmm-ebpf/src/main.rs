//! The eBPF programs. Each only finds its packet, asks [`btmm_ebpf::verdict`] and turns the verdict into what its hook understands.
#![no_std]
#![no_main]

mod kernel;

use aya_ebpf::bindings::{TC_ACT_SHOT, xdp_action};
use aya_ebpf::macros::{classifier, xdp};
use aya_ebpf::programs::{TcContext, XdpContext};
use btmm_ebpf::packet::{self, Network};
use btmm_ebpf::verdict::{self, Verdict};
use kernel::{Frame, Skb, maps};

/// Uplinks, coming in, where XDP attaches.
#[xdp(frags)]
fn gate(context: XdpContext) -> u32 {
    let Some(tables) = maps::Maps::open() else { return xdp_action::XDP_DROP };
    let frame = Frame(&context);
    let (network, verdict) = match frame.head().and_then(|head| verdict::gate_fast(head, &tables)) {
        Some(verdict) => (packet::FAST_NETWORK, verdict),
        None => {
            let network = packet::ethernet(&frame);
            (network, verdict::gate(&frame, network, &tables))
        }
    };
    maps::count(verdict);
    kernel::log::dropped(&context, &frame, network, verdict);
    if verdict.passes() { xdp_action::XDP_PASS } else { xdp_action::XDP_DROP }
}

/// Uplinks, coming in, where XDP will not attach or the link has no Ethernet header.
#[classifier]
fn gate_tc(context: TcContext) -> i32 {
    let Some(tables) = maps::Maps::open() else { return TC_ACT_SHOT };
    let skb = Skb(&context);
    let network = skb.network();
    let verdict = verdict::gate(&skb, network, &tables);
    conclude(&context, &skb, network, verdict)
}

/// Uplinks, going out.
#[classifier]
fn gate_egress(context: TcContext) -> i32 {
    let Some(tables) = maps::Maps::open() else { return TC_ACT_SHOT };
    let skb = Skb(&context);
    let network = skb.network();
    let verdict = verdict::gate_egress(&skb, network, &tables);
    conclude(&context, &skb, network, verdict)
}

/// `btmm0`, going out, before encryption.
#[classifier]
fn wait_egress(context: TcContext) -> i32 {
    let Some(tables) = maps::Maps::open() else { return TC_ACT_SHOT };
    let skb = Skb(&context);
    let network = skb.network();
    let verdict = verdict::wait_egress(&skb, network, &tables);
    if verdict == Verdict::Waiting {
        maps::count(verdict);
        return kernel::redirect(tables.wait_index());
    }
    conclude(&context, &skb, network, verdict)
}

/// Nothing: what `cargo xtask bench gate` measures the others against. Never attached.
#[xdp(frags)]
fn empty(_context: XdpContext) -> u32 {
    xdp_action::XDP_PASS
}

/// Passing leaves the say to filters behind ours (`TC_ACT_UNSPEC`).
#[inline(always)]
fn conclude(context: &TcContext, skb: &Skb<'_>, network: Network, verdict: Verdict) -> i32 {
    maps::count(verdict);
    kernel::log::dropped(context, skb, network, verdict);
    if verdict.passes() { kernel::NEXT } else { TC_ACT_SHOT }
}

/// What the helpers used here ask for (`gpl_only` in the kernel's helper table).
#[unsafe(link_section = "license")]
#[unsafe(no_mangle)]
static LICENSE: [u8; 13] = *b"Dual MIT/GPL\0";

#[panic_handler]
fn panic(_info: &core::panic::PanicInfo<'_>) -> ! {
    // The verifier refuses a program that can get here.
    loop {}
}
