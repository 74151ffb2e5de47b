//! The programs' own log (aya-log): what was dropped, from whom, with which SPI. For the day when a tunnel is up and nothing comes
//! through it. `AYA_LOG_LEVEL` is a constant to the verifier: with the log off, which is how btmmd loads the programs, all of this is
//! dead code and removed.

use aya_ebpf::EbpfContext;
use aya_log_ebpf::{macro_support::Level, macro_support::level_enabled, trace};
use btmm_ebpf::bytes::Bytes;
use btmm_ebpf::layout::Source;
use btmm_ebpf::packet::{self, Network, Packet};
use btmm_ebpf::verdict::Verdict;

/// Below btmmd's own name, so that its log level covers it.
const TARGET: &str = "btmmd::gate";

/// Logs a drop.
#[inline(always)]
pub fn dropped<C: EbpfContext, B: Bytes>(context: &C, bytes: &B, network: Network, verdict: Verdict) {
    if verdict.passes() || !level_enabled(Level::Trace) {
        return;
    }
    say(context, bytes, network, verdict);
}

#[inline(always)]
fn say<C: EbpfContext, B: Bytes>(context: &C, bytes: &B, network: Network, verdict: Verdict) {
    let first = match packet::transport(bytes, network) {
        Packet::Udp(datagram) => datagram.first(bytes).unwrap_or([0; 4]),
        _ => [0; 4],
    };
    let spi = u32::from_be_bytes(first);
    match packet::source(bytes, network) {
        Some(Source { network: [a, b, c, d, ..], family: 4 }) => {
            let from = u32::from_be_bytes([a, b, c, d]);
            trace!(context, target: TARGET, "dropped, verdict {}, from {:i}, SPI {:x}", verdict as u32, from, spi);
        }
        Some(Source { network, .. }) => {
            let from = u64::from_be_bytes(network);
            trace!(context, target: TARGET, "dropped, verdict {}, from IPv6 network {:x}, SPI {:x}", verdict as u32, from, spi);
        }
        None => trace!(context, target: TARGET, "dropped, verdict {}", verdict as u32),
    }
}
