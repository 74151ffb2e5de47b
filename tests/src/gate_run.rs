//! The gate on the real kernel by BPF_PROG_TEST_RUN: programs loaded in a node of their own, run over frames, compared with the host.

use std::path::Path;

use aya::programs::{Program, SchedClassifier, TestRun, TestRunOptions, Xdp};
use btmm_ebpf::layout::Config;
use btmm_ebpf::verdict::Verdict;
use btmmd::datapath::{Counters, Datapath, Settings, firewall};

use crate::frames::*;
use crate::lab::Node;

/// Where the node's pins are.
pub const PINS: &str = "/sys/fs/bpf/btmm";
/// Where the node keeps its state.
pub const STATE: &str = "/var/lib/btmm";
/// The SPI of the one inbound SA.
pub const KNOWN: u32 = 0x1234_5678;
/// An SPI of no SA.
pub const UNKNOWN: u32 = 0x8765_4321;
/// The account's prefix.
pub const PREFIX: &str = "fd12:3456:789a::";

/// Loads the programs, or fails saying what is missing and what to run.
pub fn open(settings: &Settings) -> Datapath {
    match Datapath::open(Path::new(PINS), settings) {
        Ok(datapath) => datapath,
        Err(error) => panic!("{error}"),
    }
}

/// Runs a test inside a node of its own, with the programs loaded and one SPI known.
pub fn with_gate(settings: Settings, test: impl FnOnce(&mut Datapath) + Send) {
    let node = Node::new("gate").expect("a node");
    node.enter(|| {
        let mut datapath = open(&settings);
        datapath.set_inbound_sa(KNOWN, true).expect("one SPI");
        test(&mut datapath);
    })
    .expect("entered");
}

/// No limit on IKE, and an account.
pub fn settings() -> Settings {
    Settings { ike_per_second: 1_000_000_000, ike_burst: 1_000_000, prefix: PREFIX.parse().ok(), ..Settings::new(STATE) }
}

/// The same, for the host.
pub fn tables() -> HostTables {
    let config = Config { port: 4500, prefix: 0xfd12_3456_789a_0000, ..Config::default() };
    HostTables { config, inbound: [KNOWN].into(), ..HostTables::default() }
}

/// Turns the switch, as the command does.
pub fn block(datapath: &Datapath, blocked: bool) {
    let pins = Path::new(PINS);
    let status = if blocked { firewall::block(pins, &Settings::new(STATE)) } else { firewall::allow(pins, Path::new(STATE)) };
    assert_eq!(status.expect("the switch turns").blocked, blocked);
    assert_eq!(datapath.blocked().expect("the map is read"), blocked);
}

/// Runs a program over a frame: what it returned and what it counted.
pub fn run(datapath: &Datapath, name: &str, frame: &[u8]) -> (u32, Verdict) {
    let before = datapath.counters().expect("counters");
    let options = TestRunOptions { data_in: Some(frame), ..TestRunOptions::default() };
    let result = match datapath.programs().program(name).expect("the program") {
        Program::Xdp(program) => Xdp::test_run(program, options),
        Program::SchedClassifier(program) => SchedClassifier::test_run(program, options),
        _ => panic!("{name} is of another type"),
    };
    let after = datapath.counters().expect("counters");
    (result.expect("it runs").return_value, counted(&before, &after))
}

fn counted(before: &Counters, after: &Counters) -> Verdict {
    use Verdict::*;
    let pairs = [
        (Other, after.other - before.other),
        (EspAccepted, after.esp_accepted - before.esp_accepted),
        (EspUnknown, after.esp_unknown - before.esp_unknown),
        (IkeAccepted, after.ike_accepted - before.ike_accepted),
        (IkeLimited, after.ike_limited - before.ike_limited),
        (Keepalive, after.keepalive - before.keepalive),
        (Malformed, after.malformed - before.malformed),
        (Unreadable, after.unreadable - before.unreadable),
        (BlockedIn, after.blocked_in - before.blocked_in),
        (BlockedOut, after.blocked_out - before.blocked_out),
        (BlockedFragment, after.blocked_fragment - before.blocked_fragment),
        (Guarded, after.guarded - before.guarded),
        (Out, after.out - before.out),
        (Waiting, after.waiting - before.waiting),
        (Ready, after.ready - before.ready),
        (Stray, after.stray - before.stray),
    ];
    let counted: Vec<_> = pairs.iter().filter(|(_, count)| *count > 0).collect();
    match counted.as_slice() {
        [(verdict, 1)] => *verdict,
        other => panic!("one packet is counted once: {other:?}"),
    }
}

/// The frame's verdict by `gate` and `gate_tc`, which must agree with each other, with the host, and with what they return.
pub fn gate_verdict(datapath: &Datapath, tables: &HostTables, frame: &[u8]) -> Verdict {
    let (action, verdict) = run(datapath, "gate", frame);
    assert_eq!(verdict, gate(frame, tables), "gate, host: {frame:02x?}");
    assert_eq!(action, if verdict.passes() { 2 } else { 1 }, "XDP_PASS or XDP_DROP: {verdict:?}");
    if runs_as_skb(frame) {
        let (action, verdict) = run(datapath, "gate_tc", frame);
        assert_eq!(verdict, gate_tc(frame, tables), "gate_tc, host: {frame:02x?}");
        assert_eq!(action as i32, if verdict.passes() { -1 } else { 2 }, "TC_ACT_UNSPEC or TC_ACT_SHOT: {verdict:?}");
    }
    verdict
}

/// Whether BPF_PROG_TEST_RUN makes an skb of a frame: newer kernels refuse one that ends within an untagged IP header. (Behind a tag
/// they do not look, so that those lengths are tried as well.)
pub fn runs_as_skb(frame: &[u8]) -> bool {
    let least = match frame.get(12..14) {
        Some([0x08, 0x00]) => 34,
        Some([0x86, 0xdd]) => 54,
        _ => 15,
    };
    frame.len() >= least
}

/// A UDP datagram to port 4500 in every wrapping the gate looks through.
pub fn wrapped(payload: &[u8]) -> Vec<(&'static str, Vec<u8>)> {
    let datagram = udp(4501, 4500, payload);
    let hop: &[u8] = &[0, 1, 4, 0, 0, 0, 0];
    let long: &[u8] = &[1, 1, 12, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    let routing: &[u8] = &[2, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1];
    let atomic: &[u8] = &[0, 0, 0, 0, 0, 0, 1];
    let plain = ipv4(&[], 0, UDP, &datagram);
    let six = ipv6(&[], UDP, &datagram);
    vec![
        ("IPv4", ethernet(&[], IPV4, &plain)),
        ("IPv4 with four octets of options", ethernet(&[], IPV4, &ipv4(&[1, 1, 1, 0], 0, UDP, &datagram))),
        ("IPv4 with forty octets of options", ethernet(&[], IPV4, &ipv4(&[1; 40], 0, UDP, &datagram))),
        ("IPv4, first fragment", ethernet(&[], IPV4, &ipv4(&[], MORE_FRAGMENTS, UDP, &datagram))),
        ("IPv6", ethernet(&[], IPV6, &six)),
        ("IPv6 with hop-by-hop options", ethernet(&[], IPV6, &ipv6(&[(0, hop)], UDP, &datagram))),
        ("IPv6 with a routing header", ethernet(&[], IPV6, &ipv6(&[(43, routing)], UDP, &datagram))),
        ("IPv6 with long destination options", ethernet(&[], IPV6, &ipv6(&[(60, long)], UDP, &datagram))),
        ("IPv6, atomic fragment", ethernet(&[], IPV6, &ipv6(&[(44, atomic)], UDP, &datagram))),
        (
            "IPv6 with all of them",
            ethernet(&[], IPV6, &ipv6(&[(0, hop), (60, hop), (43, routing), (44, atomic), (60, long)], UDP, &datagram)),
        ),
        ("IPv6 with eight headers", ethernet(&[], IPV6, &ipv6(&[(60, hop); 8], UDP, &datagram))),
        ("VLAN, IPv4", ethernet(&[VLAN], IPV4, &plain)),
        ("VLAN, IPv6", ethernet(&[VLAN], IPV6, &six)),
        ("QinQ, IPv4", ethernet(&[QINQ, VLAN], IPV4, &plain)),
        ("four tags, IPv6", ethernet(&[QINQ, VLAN, VLAN, 0x9100], IPV6, &six)),
    ]
}
