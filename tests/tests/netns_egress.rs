//! What leaves: the never-in-clear guard on uplinks and the waiting room's program on `btmm0`. Ring 2.

use btmm_ebpf::layout::Config;
use btmm_ebpf::verdict::Verdict;
use btmm_tests::frames::*;
use btmm_tests::gate_run::*;
use btmmd::datapath::Settings;

/// An IPv6 frame between two addresses.
fn between(source: &str, destination: &str, tags: &[u16]) -> Vec<u8> {
    let mut packet = ipv6(&[], 6, &udp(1, 2, &[]));
    let octets = |text: &str| text.parse::<std::net::Ipv6Addr>().expect("an address").octets();
    packet[8..24].copy_from_slice(&octets(source));
    packet[24..40].copy_from_slice(&octets(destination));
    ethernet(tags, IPV6, &packet)
}

#[test]
fn no_inner_address_leaves_an_uplink_in_clear() {
    with_gate(settings(), |datapath| {
        let inside = ["fd12:3456:789a::1", "fd12:3456:789a:0:ffff:ffff:ffff:ffff", "fd12:3456:789a:ffff::"];
        for blocked in [false, true] {
            block(datapath, blocked);
            for inner in inside {
                for tags in [&[][..], &[VLAN], &[QINQ, VLAN]] {
                    assert_eq!(run(datapath, "gate_egress", &between(inner, "2001:db8::1", tags)), (2, Verdict::Guarded));
                    assert_eq!(run(datapath, "gate_egress", &between("2001:db8::1", inner, tags)), (2, Verdict::Guarded));
                }
            }
            for outside in ["fd12:3456:789b::1", "fd12:3456:7899:ffff::", "2001:db8::1", "ff02::1"] {
                assert_eq!(run(datapath, "gate_egress", &between("fe80::1", outside, &[])), (u32::MAX, Verdict::Out), "{outside}");
            }
        }
        datapath.set_config(&Settings { prefix: None, ..settings() }).expect("no account");
        assert_eq!(run(datapath, "gate_egress", &between(inside[0], "::", &[])).1, Verdict::Out, "without an account nothing is inner");
    });
}

#[test]
fn packets_leave_btmm0_only_for_ready_peers_and_wait_otherwise() {
    const REDIRECT: u32 = 7;
    with_gate(settings(), |datapath| {
        let peer = "fd12:3456:789a::2";
        let frame = between("fd12:3456:789a::1", peer, &[]);
        assert_eq!(run(datapath, "wait_egress", &frame), (2, Verdict::Stray), "no waiting room yet");
        let lo = nix::net::if_::if_nametoindex("lo").expect("lo");
        datapath.attach_waiting_room(lo, lo).expect("attached");
        assert_eq!(run(datapath, "wait_egress", &frame), (REDIRECT, Verdict::Waiting));
        datapath.set_peer_ready(peer.parse().expect("an address"), true).expect("ready");
        assert_eq!(run(datapath, "wait_egress", &frame), (u32::MAX, Verdict::Ready));
        let another = between("fd12:3456:789a::1", "fd12:3456:789a::3", &[]);
        assert_eq!(run(datapath, "wait_egress", &another), (REDIRECT, Verdict::Waiting));
        datapath.set_peer_ready(peer.parse().expect("an address"), false).expect("no longer");
        assert_eq!(run(datapath, "wait_egress", &frame), (REDIRECT, Verdict::Waiting));
        for stray in ["2001:db8::1", "ff02::2", "fe80::1"] {
            assert_eq!(run(datapath, "wait_egress", &between("fd12:3456:789a::1", stray, &[])), (2, Verdict::Stray), "{stray}");
        }
        assert_eq!(run(datapath, "wait_egress", &to_4500(&esp(KNOWN))), (2, Verdict::Stray), "IPv4 has no business there");
        let tables = HostTables { config: Config { wait_index: 1, ..tables().config }, ..tables() };
        let tagged = between("fd12:3456:789a::1", peer, &[VLAN]); // the kernel does not look behind a tag for a whole header
        for length in 15..tagged.len() {
            let cut = &tagged[..length];
            assert_eq!(run(datapath, "wait_egress", cut).1, wait_egress(cut, &tables), "cut to {length}");
        }
    });
}
