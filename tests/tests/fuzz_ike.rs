//! Hostile bytes at IKE: nothing panics, what parses survives a round trip, and a machine with a tunnel keeps it.

use std::time::Duration;

use bolero::check;
use btmm_tests::sim::Sim;
use btmmd::ike::codec::Message;
use btmmd::ike::codec::payload::read_inner;
use btmmd::ike::{IkeConfig, Input};

#[test]
fn any_bytes_parse_or_are_refused() {
    check!().for_each(|bytes: &[u8]| {
        if let Ok(message) = Message::parse(bytes)
            && message.protected.is_none()
        {
            let again = Message::encode(&message.header, &message.clear);
            assert_eq!(Message::parse(&again).map(|message| message.clear), Ok(message.clear));
        }
        if let [first, rest @ ..] = bytes {
            let _ = read_inner(*first, rest);
        }
    });
}

/// A header that says the truth, so that the payloads are looked at.
fn framed(first: u8, exchange: u8, flags: u8, body: &[u8]) -> Vec<u8> {
    let mut bytes = vec![7; 8];
    bytes.extend_from_slice(&[0; 8]);
    bytes.extend_from_slice(&[first, 0x20, exchange, flags]);
    bytes.extend_from_slice(&[0; 4]);
    let length = u32::try_from(28 + body.len()).unwrap_or(u32::MAX);
    bytes.extend_from_slice(&length.to_be_bytes());
    bytes.extend_from_slice(body);
    bytes
}

#[test]
fn framed_payloads_parse_or_are_refused() {
    check!().with_type::<(u8, u8, u8, Vec<u8>)>().for_each(|(first, exchange, flags, body)| {
        let bytes = framed(33 + first % 22, *exchange, *flags, body);
        if let Ok(message) = Message::parse(&bytes)
            && message.protected.is_none()
        {
            let again = Message::encode(&message.header, &message.clear);
            assert_eq!(Message::parse(&again).map(|message| message.clear), Ok(message.clear));
        }
    });
}

#[test]
fn a_true_conversation_with_bent_octets_ends_no_tunnel() {
    let mut sim = Sim::new(1, &IkeConfig::default());
    sim.want(0);
    let mut recorded = Vec::new();
    for _ in 0..10 {
        while let Some(datagram) = sim.network.arrived(sim.now + Duration::from_secs(1)) {
            recorded.push(datagram.clone());
            let node = usize::from(datagram.to != sim.nodes[0].public);
            sim.input(node, Input::Datagram { local: datagram.to, remote: datagram.from, bytes: datagram.bytes });
        }
    }
    sim.converged().expect("the conversation was true");
    let sim = std::sync::Mutex::new(sim);
    check!().with_type::<(u8, Vec<(u16, u8)>, bool)>().for_each(|(which, bends, cut)| {
        let mut sim = sim.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let mut datagram = recorded[usize::from(*which) % recorded.len()].clone();
        for (at, bend) in bends.iter().take(8) {
            let at = usize::from(*at) % datagram.bytes.len();
            datagram.bytes[at] ^= bend;
        }
        if *cut {
            let length = usize::from(*which) * datagram.bytes.len() / 256;
            datagram.bytes.truncate(length);
        }
        let node = usize::from(datagram.to != sim.nodes[0].public);
        sim.input(node, Input::Datagram { local: datagram.to, remote: datagram.from, bytes: datagram.bytes });
        assert!(sim.nodes[node].is_up() && sim.nodes[node].kernel.count() == (1, 1));
    });
}
