//! Two machines in virtual time: whatever the network does, they end up with exactly one IKE SA and one child, and leave nothing behind.

use std::time::Duration;

use btmm_tests::sim::Sim;
use btmm_tests::sim::node::{Node, Told};
use btmmd::ike::crypto::Group;
use btmmd::ike::{IkeConfig, Input, Reason};

const SECOND: Duration = Duration::from_secs(1);

#[test]
fn a_tunnel_is_up_after_two_round_trips() {
    let mut sim = Sim::new(1, &IkeConfig::default());
    sim.network.latency = Duration::from_millis(50);
    sim.want(0);
    sim.run_for(Duration::from_millis(199));
    assert!(!sim.nodes[0].is_up() && sim.nodes[1].is_up());
    sim.run_for(Duration::from_millis(1));
    assert!(sim.nodes[0].is_up());
    sim.converged().unwrap();
    assert_eq!(sim.network.sent, 4);
    let status = &sim.nodes[0].ike.status()[0];
    assert_eq!(status.algorithms, "X25519/AES_GCM_16_256/PRF_HMAC_SHA2_256");
    assert_eq!((status.signature, status.initiator), ("ED25519", true));
}

#[test]
fn both_ends_dialling_at_once_converge_on_one_sa() {
    for seed in 0..50 {
        let mut sim = Sim::new(seed, &IkeConfig::default());
        sim.want(0);
        sim.run_for(Duration::from_millis(seed));
        sim.want(1);
        sim.run_for(60 * SECOND);
        sim.converged().unwrap_or_else(|error| panic!("seed {seed}: {error}"));
        for node in &sim.nodes {
            assert!(matches!(node.told.as_slice(), [Told::Up, ..]) && !node.told.iter().any(|told| matches!(told, Told::Down(_))));
        }
    }
}

/// Sends a packet each way every 4 ms while `change` happens a hundred times, half of them at both ends at once, and demands that every packet is
/// understood.
fn stream_through(seed: u64, change: impl Fn(&mut Sim, usize)) {
    let mut sim = Sim::connected(seed, &IkeConfig::default());
    sim.network.jitter = Duration::from_millis(15);
    sim.data_every = Some(Duration::from_millis(4));
    for round in 0..100 {
        change(&mut sim, round % 2);
        sim.run_for(Duration::from_millis(7 * (round as u64 % 11)));
        if round % 4 > 1 {
            change(&mut sim, 1 - round % 2);
        }
        sim.run_for(3 * SECOND);
    }
    sim.data_every = None;
    sim.run_for(60 * SECOND);
    sim.converged().unwrap();
    let [a, b] = &sim.nodes;
    assert_eq!((a.kernel.unsendable, b.kernel.unsendable), (0, 0));
    assert_eq!((a.kernel.undecipherable, b.kernel.undecipherable), (0, 0));
    assert_eq!((a.kernel.received, b.kernel.received), (b.kernel.sent, a.kernel.sent));
    assert!(a.kernel.sent > 60_000 && a.told.iter().all(|told| matches!(told, Told::Up)));
}

#[test]
fn no_packet_is_lost_in_a_hundred_rekeys_of_the_child() {
    let before = std::cell::RefCell::new(std::collections::BTreeSet::new());
    stream_through(3, |sim, node| {
        let current = sim.nodes[node].ike.status()[0].child_in.unwrap();
        before.borrow_mut().insert(current);
        sim.input(node, Input::RekeyChild { spi_in: current });
    });
    assert!(before.into_inner().len() >= 100, "the rekeys did happen");
}

#[test]
fn no_packet_is_lost_in_a_hundred_rekeys_of_the_ike_sa() {
    let before = std::cell::RefCell::new(std::collections::BTreeSet::new());
    stream_through(4, |sim, node| {
        before.borrow_mut().insert(sim.nodes[node].ike.status()[0].spi_i);
        let peer = sim.nodes[node].peer();
        sim.input(node, Input::RekeyIke { peer });
    });
    assert!(before.into_inner().len() >= 100, "the rekeys did happen");
}

#[test]
fn a_peer_that_restarted_takes_over_without_the_tunnel_going_down() {
    let mut sim = Sim::connected(5, &IkeConfig::default());
    sim.crash(1);
    sim.want(1);
    sim.run_for(SECOND);
    sim.converged().unwrap();
    assert!(matches!(sim.nodes[0].told.as_slice(), [Told::Up, Told::Up]), "{:?}", sim.nodes[0].told);
}

#[test]
fn a_peer_that_restarted_and_wants_nothing_is_found_out_by_its_hint() {
    let mut sim = Sim::connected(6, &IkeConfig::default());
    sim.nodes[0].wanted = false;
    sim.crash(1);
    let peer = sim.nodes[0].peer();
    sim.input(0, Input::Probe { peer });
    sim.run_for(5 * SECOND);
    assert!(matches!(sim.nodes[0].told.last(), Some(Told::Down(why)) if why.reason == Reason::PeerSilent));
}

#[test]
fn whoever_is_about_to_use_a_tunnel_learns_within_seconds_that_the_peer_restarted() {
    let mut sim = Sim::connected(6, &IkeConfig::default());
    sim.run_for(10 * SECOND);
    sim.crash(1);
    let peer = sim.nodes[0].peer();
    sim.input(0, Input::Confirm { peer });
    sim.run_for(4 * SECOND);
    assert!(matches!(sim.nodes[0].told.as_slice(), [Told::Up, Told::Down(why), ..] if why.reason == Reason::PeerSilent));
    sim.run_for(SECOND);
    sim.converged().expect("raised again");
}

#[test]
fn a_tunnel_that_was_heard_of_lately_needs_no_confirmation() {
    let mut sim = Sim::connected(6, &IkeConfig::default());
    let (sent, peer) = (sim.network.sent, sim.nodes[0].peer());
    sim.input(0, Input::Confirm { peer });
    sim.run_for(SECOND);
    assert_eq!(sim.network.sent, sent);
}

#[test]
fn a_forged_hint_costs_one_probe_and_never_the_tunnel() {
    let mut sim = Sim::connected(6, &IkeConfig::default());
    sim.run_for(10 * SECOND);
    let (sent, status) = (sim.network.sent, sim.nodes[0].ike.status().remove(0));
    // The header of an unprotected INFORMATIONAL response by the responder, and INVALID_IKE_SPI.
    let notify = [0, 0, 0, 8, 0, 0, 0, 4];
    let header = [[41, 0x20, 37, 0x20], [0; 4], [0, 0, 0, 36]].concat();
    let forged = [&status.spi_i.to_be_bytes()[..], &status.spi_r.to_be_bytes(), &header, &notify].concat();
    for _ in 0..10 {
        let (local, remote) = (sim.nodes[0].local, sim.nodes[1].public);
        sim.input(0, Input::Datagram { local, remote, bytes: forged.clone() });
    }
    sim.run_for(60 * SECOND);
    sim.converged().unwrap();
    assert!(matches!(sim.nodes[0].told.as_slice(), [Told::Up]), "{:?}", sim.nodes[0].told);
    // A request and its answer; later those that are due anyway.
    assert!((sent + 2..sent + 10).contains(&sim.network.sent), "{} datagrams", sim.network.sent - sent);
}

#[test]
fn a_silent_peer_is_given_up_and_named() {
    let mut sim = Sim::connected(7, &IkeConfig::default());
    sim.nodes[0].wanted = false;
    sim.network.loss = 100;
    sim.run_for(120 * SECOND);
    match sim.nodes[0].told.last() {
        Some(Told::Down(why)) => assert_eq!(why.to_string(), "laptop.alice.btmm.internal at 198.51.100.2:4500 stopped answering"),
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_dead_tunnel_is_given_up_however_often_it_is_used() {
    let mut sim = Sim::connected(27, &IkeConfig::default());
    sim.nodes[0].wanted = false;
    sim.run_for(10 * SECOND);
    sim.network.loss = 100;
    let (sent, peer) = (sim.network.sent, sim.nodes[0].peer());
    for _ in 0..100 {
        sim.input(0, Input::Confirm { peer: peer.clone() });
        sim.run_for(Duration::from_millis(50));
    }
    assert!(matches!(sim.nodes[0].told.last(), Some(Told::Down(why)) if why.reason == Reason::PeerSilent), "{:?}", sim.nodes[0].told);
    assert_eq!(sim.network.sent - sent, 7, "as often as when nobody asks");
}

#[test]
fn traffic_spares_the_probe() {
    let mut sim = Sim::connected(8, &IkeConfig::default());
    let (before, spi_in) = (sim.network.sent, sim.nodes.each_ref().map(|node| node.kernel.inbound()[0]));
    for _ in 0..20 {
        sim.run_for(10 * SECOND);
        (0..2).for_each(|node| sim.input(node, Input::Traffic { spi_in: spi_in[node] }));
    }
    assert_eq!(sim.network.sent, before);
    sim.run_for(40 * SECOND);
    assert!(sim.network.sent > before);
}

#[test]
fn a_probe_tells_the_round_trip() {
    let mut sim = Sim::connected(9, &IkeConfig::default());
    sim.network.latency = Duration::from_millis(33);
    let peer = sim.nodes[0].peer();
    sim.input(0, Input::Probe { peer });
    sim.run_for(SECOND);
    assert!(matches!(sim.nodes[0].told.last(), Some(Told::Alive(rtt)) if *rtt == Duration::from_millis(66)));
    assert_eq!(sim.nodes[0].ike.status()[0].rtt, Some(Duration::from_millis(66)));
}

#[test]
fn a_machine_that_moves_and_knows_it_is_followed_and_gets_new_keys() {
    let mut sim = Sim::connected(10, &IkeConfig::default());
    let before = sim.nodes[0].kernel.inbound();
    sim.move_to(1, "203.0.113.77:12345".parse().unwrap(), true);
    sim.run_for(10 * SECOND);
    sim.converged().unwrap();
    assert_eq!(sim.nodes[0].ike.status()[0].remote, "203.0.113.77:12345".parse().unwrap());
    assert_ne!(sim.nodes[0].kernel.inbound(), before);
    assert!(sim.nodes.iter().all(|node| matches!(node.told.as_slice(), [Told::Up])));
}

/// Machine 0 has lost the way to where machine 1 was, and knows from the rendezvous where else it can be reached.
fn gone_out_of_reach(seed: u64) -> (Sim, std::net::SocketAddr) {
    let mut sim = Sim::connected(seed, &IkeConfig::default());
    let elsewhere: std::net::SocketAddr = "203.0.113.77:4501".parse().unwrap();
    let (peer, nobody) = (sim.nodes[0].peer(), "203.0.113.9:4500".parse().unwrap());
    sim.input(0, Input::Places { peer, places: vec![nobody, elsewhere] });
    sim.move_to(1, elsewhere, false);
    (sim, elsewhere)
}

/// It leads to the new place now, and nothing of the old one is left once packets on their way had their time.
fn still_the_same_tunnel(sim: &mut Sim, remote: std::net::SocketAddr) {
    assert_eq!(sim.nodes[0].ike.status()[0].remote, remote);
    sim.run_for(10 * SECOND);
    sim.converged().unwrap();
    assert_eq!(sim.nodes[0].ike.status()[0].remote, remote);
    assert!(sim.nodes.iter().all(|node| !node.told.iter().any(|told| matches!(told, Told::Down(_)))));
}

#[test]
fn a_machine_that_leaves_its_home_finds_the_others_where_the_rendezvous_says_at_once() {
    let (mut sim, elsewhere) = gone_out_of_reach(28);
    sim.move_to(0, "192.0.2.200:4500".parse().unwrap(), true);
    sim.run_for(Duration::from_millis(200));
    still_the_same_tunnel(&mut sim, elsewhere);
}

#[test]
fn a_peer_that_does_not_answer_where_it_was_is_asked_elsewhere_before_it_is_given_up() {
    let (mut sim, elsewhere) = gone_out_of_reach(29);
    let peer = sim.nodes[0].peer();
    sim.input(0, Input::Probe { peer });
    sim.run_for(2 * SECOND);
    still_the_same_tunnel(&mut sim, elsewhere);
}

#[test]
fn where_a_peer_may_be_is_still_known_after_new_keys_for_ike() {
    let (mut sim, elsewhere) = gone_out_of_reach(30);
    let was = "198.51.100.2:4500".parse().unwrap();
    sim.move_to(1, was, false);
    let peer = sim.nodes[0].peer();
    sim.input(0, Input::RekeyIke { peer });
    sim.run_for(5 * SECOND);
    still_the_same_tunnel(&mut sim, was);
    sim.move_to(1, elsewhere, false);
    sim.input(0, Input::NetworkChanged);
    sim.run_for(SECOND);
    still_the_same_tunnel(&mut sim, elsewhere);
}

#[test]
fn a_nat_that_changes_its_mapping_is_followed_after_the_kernels_hint() {
    let mut sim = Sim::connected(11, &IkeConfig::default());
    let moved = "198.51.100.2:61000".parse().unwrap();
    sim.nodes[1].public = moved;
    let spi_in = sim.nodes[0].kernel.inbound()[0];
    for _ in 0..100 {
        sim.input(0, Input::Moved { spi_in, remote: moved });
    }
    sim.run_for(SECOND);
    assert_eq!(sim.nodes[0].ike.status()[0].remote, moved);
    assert!(sim.network.sent < 20, "a hundred hints are one question");
}

#[test]
fn under_load_a_cookie_is_asked_for_and_one_round_trip_more_suffices() {
    let mut sim = Sim::new(12, &IkeConfig { cookie_threshold: 0, ..IkeConfig::default() });
    sim.want(0);
    sim.run_for(SECOND);
    sim.converged().unwrap();
    assert_eq!(sim.network.sent, 6);
}

#[test]
fn the_wrong_guess_of_a_group_costs_one_round_trip() {
    let mut sim = Sim::new(13, &IkeConfig::default());
    let both = IkeConfig { groups: vec![Group::P256, Group::X25519], ..IkeConfig::default() };
    sim.nodes[0] = Node::new(0, both, 99);
    sim.want(0);
    sim.run_for(SECOND);
    sim.converged().unwrap();
    assert_eq!(sim.network.sent, 6);
    assert!(sim.nodes[1].ike.status()[0].algorithms.starts_with("X25519/"));
}

#[test]
fn the_first_candidate_that_answers_wins_and_dead_ones_cost_their_stagger() {
    let mut sim = Sim::new(14, &IkeConfig::default());
    let candidates = ["203.0.113.1:4500", "203.0.113.2:4500", "198.51.100.2:4500"].map(|text| text.parse().unwrap()).to_vec();
    let now = sim.now;
    sim.nodes[0].want(candidates, now, &mut sim.network);
    sim.run_for(Duration::from_millis(500 + 80));
    sim.converged().unwrap();
    assert_eq!(sim.nodes[0].ike.status()[0].remote, sim.nodes[1].public);
}

#[test]
fn a_peer_that_nobody_answers_for_fails_with_the_addresses_tried() {
    let mut sim = Sim::new(15, &IkeConfig::default());
    let now = sim.now;
    sim.nodes[0].want(vec!["203.0.113.1:4500".parse().unwrap()], now, &mut sim.network);
    sim.nodes[0].wanted = false;
    sim.run_for(20 * SECOND);
    match sim.nodes[0].told.as_slice() {
        [Told::Failed(why)] => assert_eq!(why.to_string(), "laptop.alice.btmm.internal did not answer at 203.0.113.1:4500"),
        other => panic!("{other:?}"),
    }
    sim.empty().unwrap();
}

#[test]
fn no_candidate_fails_at_once() {
    let mut sim = Sim::new(16, &IkeConfig::default());
    let now = sim.now;
    sim.nodes[0].want(Vec::new(), now, &mut sim.network);
    assert!(matches!(sim.nodes[0].told.as_slice(), [Told::Failed(why)] if why.reason == Reason::NoCandidates));
}

/// Machine 1 hears `count` strangers begin a tunnel, from addresses that end in `last`.
fn strangers(sim: &mut Sim, last: impl Fn(u8) -> u8, count: u8) {
    let mut stranger = Sim::new(18, &IkeConfig::default());
    for number in 1..=count {
        stranger.nodes[0] = Node::new(0, IkeConfig::default(), u64::from(number));
        stranger.want(0);
        let first = stranger.network.arrived(stranger.now + SECOND).unwrap();
        let from = std::net::SocketAddr::from(([203, 0, 113, last(number)], 1024 + u16::from(number)));
        sim.network.send(sim.now, from, sim.nodes[1].public, &first.bytes);
    }
}

#[test]
fn strangers_cannot_fill_the_table_of_half_open_sas() {
    let mut sim = Sim::new(17, &IkeConfig { cookie_threshold: 1000, half_open_max: 10, ..IkeConfig::default() });
    strangers(&mut sim, |number| number, 200);
    sim.run_for(SECOND);
    assert_eq!(sim.nodes[1].ike.counts().half_open, 10);
    sim.run_for(60 * SECOND);
    sim.empty().unwrap();
}

#[test]
fn one_stranger_takes_a_share_of_the_places_and_others_still_get_in() {
    let mut sim = Sim::new(17, &IkeConfig { cookie_threshold: 1000, ..IkeConfig::default() });
    strangers(&mut sim, |_| 9, 200);
    sim.run_for(SECOND);
    assert_eq!(sim.nodes[1].ike.counts().half_open, 8);
    let mut sim = Sim::new(17, &IkeConfig { cookie_threshold: 1000, half_open_max: 10, ..IkeConfig::default() });
    strangers(&mut sim, |number| 1 + number % 2, 200);
    sim.run_for(SECOND);
    sim.want(0);
    sim.run_for(SECOND / 5);
    assert!(sim.nodes[0].is_up(), "while the strangers' places are all taken");
    assert_eq!(sim.nodes[1].ike.counts().half_open, 9);
}

/// Who sees a NAT, as (in front of oneself, in front of the other), and the keepalives of two minutes.
fn nats_seen(inside: &str) -> [((bool, bool), u64); 2] {
    let mut sim = Sim::new(19, &IkeConfig::default());
    sim.nodes[0].local = inside.parse().unwrap();
    for node in 0..2 {
        let own = sim.nodes[node].local;
        sim.input(node, Input::Addresses(vec![own]));
    }
    sim.want(0);
    sim.run_for(121 * SECOND);
    sim.nodes.each_ref().map(|node| {
        let status = &node.ike.status()[0];
        ((status.nat_local, status.nat_remote), node.keepalives)
    })
}

#[test]
fn a_nat_is_seen_from_both_sides_and_kept_open_from_within() {
    assert_eq!(nats_seen("192.0.2.1:4500"), [((false, false), 0), ((false, false), 0)]);
    assert_eq!(nats_seen("10.0.0.2:4500"), [((true, false), 6), ((false, true), 0)]);
}
