//! Hostile bytes, and the properties the verdicts rest on. The shapes of real packets are tested with the kernel, in `tests/`.

extern crate std;

use std::vec::Vec;

use proptest::prelude::*;

use crate::bytes::Bytes;
use crate::layout::{Config, DEFAULT_PORT, Source};
use crate::packet::{self, FAST_LENGTH, Network, Packet};
use crate::rate;
use crate::verdict::{self, Tables, Verdict};

#[derive(Clone, Debug)]
struct Fixed {
    config: Config,
    blocked: bool,
    known: bool,
    token: bool,
}

impl Tables for Fixed {
    fn config(&self) -> &Config {
        &self.config
    }

    fn blocked(&self) -> bool {
        self.blocked
    }

    fn is_inbound(&self, _spi: [u8; 4]) -> bool {
        self.known
    }

    fn take_token(&self, _source: Source) -> bool {
        self.token
    }

    fn is_ready(&self, _peer: &[u8; 16]) -> bool {
        self.known
    }
}

prop_compose! {
    fn any_tables()(port in prop_oneof![Just(0u16), Just(4500)], prefix in prop_oneof![Just(0), Just(0xfd12_3456_789a_0000u64)],
                    wait_index in 0u32..2, blocked: bool, known: bool, token: bool) -> Fixed {
        Fixed { config: Config { port, prefix, wait_index, ..Config::default() }, blocked, known, token }
    }
}

/// Bytes that get past the first few tests often enough to try the later ones.
fn plausible() -> impl Strategy<Value = Vec<u8>> {
    let byte =
        prop_oneof![3 => any::<u8>(), 1 => Just(0u8), 1 => prop::sample::select(std::vec![17u8, 43, 44, 51, 60, 0x45, 0x46, 0x60, 0xff])];
    (prop::collection::vec(byte, 0..200), 0..6usize, any::<bool>(), any::<bool>(), 0u16..80).prop_map(
        |(mut bytes, kind, ours, short, length)| {
            let ethertypes = [[0x08, 0x00], [0x86, 0xdd], [0x81, 0x00], [0x88, 0xa8], [0x91, 0x00]];
            if let (Some(field), Some(ethertype)) = (bytes.get_mut(12..14), ethertypes.get(kind)) {
                field.copy_from_slice(ethertype);
            }
            if let (Some(first), 0..=1) = (bytes.get_mut(14), kind) {
                *first = if kind == 0 { 0x45 } else { 0x60 };
            }
            if let (Some(fields), 0, true) = (bytes.get_mut(20..38), kind, ours) {
                fields[..2].copy_from_slice(&[0, 0]);
                fields[3] = 17;
                fields[16..].copy_from_slice(&DEFAULT_PORT.to_be_bytes());
            }
            if let (Some(fields), 0..=1, true) = (bytes.get_mut(16..20), kind, short) {
                fields[kind * 2..][..2].copy_from_slice(&length.to_be_bytes());
            }
            bytes
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1_000))]

    #[test]
    fn no_bytes_make_a_program_panic_or_run_on(bytes in plausible(), tables in any_tables(), ethertype: u16, at in 0u32..64) {
        let bytes = bytes.as_slice();
        for network in [packet::ethernet(bytes), packet::network(bytes, ethertype, at)] {
            let _any = verdict::gate(bytes, network, &tables);
            let _any = verdict::gate_egress(bytes, network, &tables);
            let _any = verdict::wait_egress(bytes, network, &tables);
        }
    }

    #[test]
    fn the_fast_path_says_what_the_slow_path_says(bytes in plausible(), tables in any_tables()) {
        if let Some(head) = bytes.first_chunk::<FAST_LENGTH>()
            && let Some(fast) = verdict::gate_fast(head, &tables) {
            prop_assert_eq!(fast, verdict::gate(bytes.as_slice(), packet::ethernet(bytes.as_slice()), &tables));
        }
    }

    #[test]
    fn what_a_frame_is_padded_with_changes_no_verdict(six: bool, length in 0u8..16, payload: [u8; 8], padding: [u8; 8], tables in any_tables()) {
        let datagram: Vec<u8> = [0, 1, 0x11, 0x94, 0, 48, 0, 0].into_iter().chain(payload).take(length.into()).collect();
        let mut frame = std::vec![0; 12];
        if six {
            frame.extend([0x86, 0xdd, 0x60, 0, 0, 0, 0, length, 17, 64]);
            frame.resize(14 + 40, 0);
        } else {
            frame.extend([0x08, 0, 0x45, 0, 0, 20 + length, 0, 0, 0x20, 0, 64, 17]);
            frame.resize(14 + 20, 0);
        }
        frame.extend(datagram);
        let [bare, padded] = [frame.clone(), [frame, padding.repeat(4)].concat()];
        let [bare, padded] = [bare.as_slice(), padded.as_slice()].map(|bytes| verdict::gate(bytes, packet::ethernet(bytes), &tables));
        prop_assert_eq!(bare, padded);
    }

    #[test]
    fn while_blocked_nothing_passes_that_has_our_port(bytes in plausible(), tables in any_tables()) {
        let tables = Fixed { blocked: true, ..tables };
        let bytes = bytes.as_slice();
        let network = packet::ethernet(bytes);
        if let Packet::Udp(datagram) = packet::transport(bytes, network) {
            if datagram.destination_port == DEFAULT_PORT {
                prop_assert!(!verdict::gate(bytes, network, &tables).passes());
            }
            if [datagram.source_port, datagram.destination_port].contains(&DEFAULT_PORT) {
                prop_assert!(!verdict::gate_egress(bytes, network, &tables).passes());
            }
        }
    }

    #[test]
    fn no_inner_address_leaves_an_uplink_switch_or_no_switch(bytes in plausible(), tables in any_tables(), source: bool) {
        let mut bytes = bytes;
        bytes.resize(80, 0);
        bytes[12..14].copy_from_slice(&[0x86, 0xdd]);
        let at = if source { 22 } else { 38 };
        bytes[at..at + 6].copy_from_slice(&[0xfd, 0x12, 0x34, 0x56, 0x78, 0x9a]);
        let tables = Fixed { config: Config { prefix: 0xfd12_3456_789a_0000, ..tables.config }, ..tables };
        let network = packet::ethernet(bytes.as_slice());
        prop_assert_eq!(verdict::gate_egress(bytes.as_slice(), network, &tables), Verdict::Guarded);
    }

    #[test]
    fn a_source_never_gets_more_than_its_burst_and_its_rate(gaps in prop::collection::vec(0u64..400, 1..200)) {
        const INTERVAL: u64 = 100;
        const BURST: u64 = 5;
        let (mut now, mut spent_until, mut taken) = (1_000_000, 0, 0);
        let start = now;
        for gap in gaps {
            now += gap;
            if let Some(next) = rate::take(spent_until, now, INTERVAL, INTERVAL * (BURST - 1)) {
                spent_until = next;
                taken += 1;
            }
            prop_assert!(taken <= BURST + (now - start) / INTERVAL);
        }
    }
}

#[test]
fn a_burst_is_granted_whole_and_refills_at_the_rate() {
    let (interval, tolerance) = (100, 400);
    let mut spent_until = 0;
    let mut granted = 0;
    while let Some(next) = rate::take(spent_until, 10_000, interval, tolerance) {
        spent_until = next;
        granted += 1;
    }
    assert_eq!(granted, 5);
    assert_eq!(rate::take(spent_until, 10_099, interval, tolerance), None);
    assert!(rate::take(spent_until, 10_100, interval, tolerance).is_some());
}

#[test]
fn a_map_never_written_to_guards_port_4500_and_knows_no_inner_address() {
    let config = Config::default();
    assert_eq!(config.port(), 4500);
    assert!(!config.is_inner(0));
}

#[test]
fn tags_and_headers_beyond_the_limits_are_unreadable_not_innocent() {
    let mut tags = Vec::new();
    for _ in 0..10 {
        tags.extend([0x81, 0x00, 0, 1]);
    }
    assert_eq!(packet::network(tags.as_slice(), 0x8100, 2), Network::Unreadable);
    let mut chain = Vec::from([0x60, 0, 0, 0, 0, 160, 60, 64]);
    chain.resize(40, 0);
    for _ in 0..20 {
        chain.extend([60, 0, 1, 4, 0, 0, 0, 0]);
    }
    assert_eq!(packet::transport(chain.as_slice(), Network::V6(0)), Packet::Unreadable);
}

#[test]
fn reading_past_the_end_of_a_slice_gives_nothing() {
    let bytes: &[u8] = &[1, 2, 3];
    assert_eq!(bytes.read::<2>(1), Some([2, 3]));
    assert_eq!(bytes.read::<2>(2), None);
    assert_eq!(bytes.read::<2>(u32::MAX), None);
}
