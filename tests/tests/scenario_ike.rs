//! Two machines in virtual time: whatever the network does, they end up with exactly one IKE SA and one child, and leave nothing behind.

use std::time::Duration;

use btmm_tests::sim::Sim;
use btmm_tests::sim::node::Told;
use btmmd::ike::{IkeConfig, Input, Reason};

const SECOND: Duration = Duration::from_secs(1);

fn connected(seed: u64, config: &IkeConfig) -> Sim {
    let mut sim = Sim::new(seed, config);
    sim.want(0);
    sim.run_for(SECOND);
    sim.converged().expect("a perfect network connects within a second");
    sim
}

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
fn closing_one_end_empties_both() {
    let mut sim = connected(2, &IkeConfig::default());
    let peer = sim.nodes[0].peer();
    sim.nodes[0].wanted = false;
    sim.input(0, Input::Close { peer });
    assert_eq!(sim.nodes[0].kernel.count(), (0, 0));
    sim.run_for(SECOND);
    assert!(matches!(sim.nodes[1].told.last(), Some(Told::Down(why)) if why.reason == Reason::PeerClosed));
    sim.run_for(60 * SECOND);
    sim.empty().unwrap();
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
