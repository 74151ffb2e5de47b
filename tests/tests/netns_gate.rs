//! `gate` and its TC twin: every verdict, for every shape a packet can come in, cut off at every length, and the same as the host
//! computes over the same bytes. Ring 2: root, namespaces of its own, the eBPF object.

use btmm_ebpf::verdict::Verdict;
use btmm_tests::frames::*;
use btmm_tests::gate_run::*;
use btmmd::datapath::Settings;

#[test]
fn every_wrapping_of_a_datagram_gets_the_verdict_of_its_payload() {
    with_gate(settings(), |datapath| {
        let tables = tables();
        let rows: [(&str, Vec<u8>, Verdict); 8] = [
            ("known SPI", esp(KNOWN), Verdict::EspAccepted),
            ("unknown SPI", esp(UNKNOWN), Verdict::EspUnknown),
            ("known SPI in the other byte order", esp(KNOWN.swap_bytes()), Verdict::EspUnknown),
            ("IKE", ike(), Verdict::IkeAccepted),
            ("keepalive", vec![0xff], Verdict::Keepalive),
            ("one octet that is no keepalive", vec![0xfe], Verdict::Malformed),
            ("nothing", vec![], Verdict::Malformed),
            ("three octets", vec![0; 3], Verdict::Malformed),
        ];
        for (name, payload, expected) in &rows {
            for (wrapping, frame) in wrapped(payload) {
                assert_eq!(gate_verdict(datapath, &tables, &frame), *expected, "{name} in {wrapping}");
            }
        }
    });
}

#[test]
fn the_switch_stops_every_wrapping_both_ways() {
    with_gate(settings(), |datapath| {
        let mut tables = tables();
        block(datapath, true);
        tables.blocked = true;
        for payload in [esp(KNOWN), esp(UNKNOWN), ike(), vec![0xff], vec![]] {
            for (wrapping, frame) in wrapped(&payload) {
                assert_eq!(gate_verdict(datapath, &tables, &frame), Verdict::BlockedIn, "in {wrapping}");
                assert_eq!(run(datapath, "gate_egress", &frame), (2, Verdict::BlockedOut), "out {wrapping}");
            }
        }
        block(datapath, false);
        for (wrapping, frame) in wrapped(&esp(KNOWN)) {
            assert_eq!(run(datapath, "gate", &frame), (2, Verdict::EspAccepted), "{wrapping} passes again");
            assert_eq!(run(datapath, "gate_egress", &frame), (u32::MAX, Verdict::Out), "{wrapping} leaves again");
        }
    });
}

#[test]
fn a_packet_cut_off_at_any_length_gets_the_verdict_the_host_computes() {
    with_gate(settings(), |datapath| {
        for blocked in [false, true] {
            let tables = HostTables { blocked, ..tables() };
            block(datapath, blocked);
            for payload in [esp(KNOWN), vec![0xff]] {
                for (_, frame) in wrapped(&payload) {
                    for length in 14..=frame.len() {
                        let cut = &frame[..length];
                        gate_verdict(datapath, &tables, cut);
                        if runs_as_skb(cut) {
                            let (action, verdict) = run(datapath, "gate_egress", cut);
                            assert_eq!(verdict, gate_egress(cut, &tables), "gate_egress, host: {cut:02x?}");
                            assert_eq!(action as i32, if verdict.passes() { -1 } else { 2 }, "{verdict:?}");
                        }
                    }
                }
            }
        }
    });
}

#[test]
fn padding_is_never_taken_for_what_a_datagram_says() {
    with_gate(settings(), |datapath| {
        let tables = tables();
        let header_only = &udp(4501, 4500, &esp(UNKNOWN))[..8];
        let four = ipv4(&[], MORE_FRAGMENTS, UDP, header_only);
        let six = ipv6(&[(44, &[0, 0, 1, 0, 0, 0, 1])], UDP, header_only);
        // A first fragment that ends with its options, so that its ports come in the next; padding offers others.
        let portless = ipv6(&[(44, &[0, 0, 1, 0, 0, 0, 1])], 60, &[UDP, 0, 1, 4, 0, 0, 0, 0]);
        let rows = [
            ("IPv4, the UDP header alone", ethernet(&[], IPV4, &four), Verdict::Malformed),
            ("IPv4 in a VLAN, the UDP header alone", ethernet(&[VLAN], IPV4, &four), Verdict::Malformed),
            ("IPv6, the UDP header alone", ethernet(&[], IPV6, &six), Verdict::Malformed),
            ("IPv6, no UDP header", ethernet(&[], IPV6, &portless), Verdict::Unreadable),
            ("nothing", to_4500(&[]), Verdict::Malformed),
            ("three octets", to_4500(&[0; 3]), Verdict::Malformed),
            ("keepalive", to_4500(&[0xff]), Verdict::Keepalive),
            ("four octets", to_4500(&KNOWN.to_be_bytes()), Verdict::EspAccepted),
        ];
        for (name, frame, expected) in &rows {
            for padding in [vec![0; 4], esp(KNOWN), vec![0xff], udp(1, 2, &[0; 8])] {
                assert_eq!(gate_verdict(datapath, &tables, &padded(frame, &padding)), *expected, "{name}, padded with {padding:02x?}");
            }
        }
    });
}

#[test]
fn a_packet_that_ends_before_its_port_never_passes_for_another() {
    let tables = tables();
    for (wrapping, frame) in wrapped(&esp(KNOWN)) {
        let whole = gate(&frame, &tables);
        assert_eq!(whole, Verdict::EspAccepted);
        let port_ends = frame.len() - esp(KNOWN).len() - 2;
        for length in 14..frame.len() {
            let verdict = gate(&frame[..length], &tables);
            let hidden = length < port_ends;
            let expected = if hidden { Verdict::Unreadable } else { Verdict::Malformed };
            let readable = length >= frame.len() - esp(KNOWN).len() + 4;
            assert_eq!(verdict, if readable { Verdict::EspAccepted } else { expected }, "{wrapping} cut to {length}");
        }
    }
}

#[test]
fn later_fragments_pass_until_the_switch_blocks_and_then_only_if_they_cannot_be_udp() {
    with_gate(settings(), |datapath| {
        let later4 = |protocol| ethernet(&[], IPV4, &ipv4(&[], 0x00b9, protocol, &[0xee; 64]));
        let later6 = |next| ethernet(&[], IPV6, &ipv6(&[(44, &[0, 0x05, 0xc8, 0, 0, 0, 1])], next, &[0xee; 64]));
        let could_be_ours = [later4(UDP), later6(UDP), later6(60), later6(51)];
        let never_ours = [later4(6), later6(6), later6(58)];
        let mut tables = tables();
        for frame in could_be_ours.iter().chain(&never_ours) {
            assert_eq!(gate_verdict(datapath, &tables, frame), Verdict::Other);
        }
        block(datapath, true);
        tables.blocked = true;
        for frame in &could_be_ours {
            assert_eq!(gate_verdict(datapath, &tables, frame), Verdict::BlockedFragment);
            assert_eq!(run(datapath, "gate_egress", frame), (2, Verdict::BlockedFragment));
        }
        for frame in &never_ours {
            assert_eq!(gate_verdict(datapath, &tables, frame), Verdict::Other);
            assert_eq!(run(datapath, "gate_egress", frame), (u32::MAX, Verdict::Out));
        }
    });
}

#[test]
fn nesting_beyond_what_is_looked_through_is_dropped() {
    with_gate(settings(), |datapath| {
        let tables = tables();
        let datagram = udp(1, 2, b"other traffic");
        let five_tags = ethernet(&[QINQ, VLAN, VLAN, VLAN, VLAN], IPV4, &ipv4(&[], 0, UDP, &datagram));
        let nine_headers = ethernet(&[], IPV6, &ipv6(&[(60, &[0, 1, 4, 0, 0, 0, 0][..]); 9], UDP, &datagram));
        for frame in [five_tags, nine_headers] {
            assert_eq!(gate_verdict(datapath, &tables, &frame), Verdict::Unreadable);
        }
    });
}

#[test]
fn what_is_not_udp_for_the_port_passes_untouched_blocked_or_not() {
    with_gate(settings(), |datapath| {
        let four = |protocol, content: &[u8]| ethernet(&[], IPV4, &ipv4(&[], 0, protocol, content));
        let frames = [
            ("TCP 4500", four(6, &udp(4500, 4500, &esp(UNKNOWN)))),
            ("UDP-Lite 4500", four(136, &udp(4500, 4500, &esp(UNKNOWN)))),
            ("ESP without UDP", four(50, &esp(KNOWN))),
            ("ICMP", four(1, &[8, 0, 0, 0, 0, 0, 0, 0])),
            ("DNS", four(UDP, &udp(53, 5353, &esp(UNKNOWN)))),
            ("UDP 500", four(UDP, &udp(500, 500, &ike()))),
            ("TCP behind IPv6 options", ethernet(&[], IPV6, &ipv6(&[(0, &[0, 1, 4, 0, 0, 0, 0])], 6, &udp(4500, 4500, &[])))),
            ("ARP", ethernet(&[], 0x0806, &[0; 28])),
            ("ARP in a VLAN", ethernet(&[VLAN], 0x0806, &[0; 28])),
        ];
        for blocked in [false, true] {
            block(datapath, blocked);
            let tables = HostTables { blocked, ..tables() };
            for (name, frame) in &frames {
                assert_eq!(gate_verdict(datapath, &tables, frame), Verdict::Other, "{name}");
                assert_eq!(run(datapath, "gate_egress", frame), (u32::MAX, Verdict::Out), "{name}");
            }
        }
    });
}

#[test]
fn a_source_that_floods_ike_is_limited_alone_and_only_for_ike() {
    let settings = Settings { ike_per_second: 1, ike_burst: 5, ..settings() };
    with_gate(settings, |datapath| {
        let four = |last: u8| {
            let mut frame = to_4500(&ike());
            frame[29] = last;
            frame
        };
        let six = |subnet: u8, last: u8| {
            let mut frame = ethernet(&[], IPV6, &ipv6(&[], UDP, &udp(4501, 4500, &ike())));
            (frame[29], frame[37]) = (subnet, last);
            frame
        };
        for (flooding, same_source, another) in [(four(1), four(1), four(2)), (six(1, 1), six(1, 9), six(2, 1))] {
            let mut tables = tables();
            for message in 0..5 {
                assert_eq!(run(datapath, "gate", &flooding).1, Verdict::IkeAccepted, "message {message}");
            }
            tables.limited = true;
            assert_eq!(gate_verdict(datapath, &tables, &same_source), Verdict::IkeLimited);
            assert_eq!(run(datapath, "gate", &another).1, Verdict::IkeAccepted, "another source has its own bucket");
            assert_eq!(run(datapath, "gate", &to_4500(&esp(KNOWN))).1, Verdict::EspAccepted, "tunnels go on");
        }
        std::thread::sleep(std::time::Duration::from_millis(1100));
        assert_eq!(run(datapath, "gate", &four(1)).1, Verdict::IkeAccepted, "a second later there is a token again");
        assert_eq!(run(datapath, "gate", &four(1)).1, Verdict::IkeLimited, "and only one");
    });
}

#[test]
fn the_port_is_the_configured_one_from_the_next_packet_on() {
    with_gate(settings(), |datapath| {
        let to = |port| ethernet(&[], IPV4, &ipv4(&[], 0, UDP, &udp(1, port, &esp(UNKNOWN))));
        datapath.set_config(&Settings { port: 4600, ..settings() }).expect("configured");
        assert_eq!(run(datapath, "gate", &to(4500)).1, Verdict::Other);
        assert_eq!(run(datapath, "gate", &to(4600)).1, Verdict::EspUnknown);
    });
}

#[test]
fn removed_spis_are_unknown_at_the_next_packet() {
    with_gate(settings(), |datapath| {
        let frame = to_4500(&esp(KNOWN));
        assert_eq!(run(datapath, "gate", &frame).1, Verdict::EspAccepted);
        datapath.set_inbound_sa(KNOWN, false).expect("removed");
        datapath.set_inbound_sa(KNOWN, false).expect("removing what is not there is no error");
        assert_eq!(run(datapath, "gate", &frame).1, Verdict::EspUnknown);
        for spi in [KNOWN, KNOWN + 1] {
            datapath.set_inbound_sa(spi, true).expect("added");
        }
        datapath.clear_inbound_sas().expect("cleared");
        assert_eq!(run(datapath, "gate", &frame).1, Verdict::EspUnknown);
    });
}

#[test]
fn every_verdict_is_the_same_with_the_programs_log_on() {
    let settings = Settings { program_log: true, ..settings() };
    with_gate(settings, |datapath| {
        let tables = tables();
        assert!(datapath.take_log().is_some());
        for (_, frame) in wrapped(&esp(UNKNOWN)) {
            assert_eq!(gate_verdict(datapath, &tables, &frame), Verdict::EspUnknown);
        }
    });
}
