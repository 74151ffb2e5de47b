//! How tunnels end, in virtual time: closed, switched off, or given up on the way. Both ends learn of it, and nothing is left behind.

use std::time::Duration;

use btmm_tests::sim::Sim;
use btmm_tests::sim::node::Told;
use btmmd::ike::{IkeConfig, Input, Reason};

const SECOND: Duration = Duration::from_secs(1);

#[test]
fn closing_one_end_empties_both() {
    let mut sim = Sim::connected(2, &IkeConfig::default());
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
fn a_goodbye_that_is_lost_is_said_again_until_it_is_confirmed() {
    let mut sim = Sim::connected(24, &IkeConfig::default());
    sim.nodes[0].wanted = false;
    sim.network.loss = 100;
    sim.input(0, Input::Admit(false));
    assert_eq!((sim.nodes[0].ike.status().len(), sim.nodes[0].ike.farewells()), (0, 1));
    sim.network.heal();
    sim.run_for(SECOND);
    assert_eq!(sim.nodes[0].ike.farewells(), 0);
    assert!(matches!(sim.nodes[1].told.last(), Some(Told::Down(why)) if why.reason == Reason::PeerClosed));
}

#[test]
fn a_goodbye_waits_for_the_peer_that_is_just_letting_us_in() {
    let mut sim = Sim::new(25, &IkeConfig::default());
    sim.want(0);
    sim.run_for(Duration::from_millis(65));
    sim.nodes[0].wanted = false;
    sim.input(0, Input::Admit(false));
    assert!(sim.nodes[1].is_up());
    assert_eq!(sim.nodes[0].ike.farewells(), 1);
    while sim.nodes[0].ike.farewells() > 0 {
        sim.run_for(Duration::from_millis(1));
    }
    assert!(!sim.nodes[1].is_up());
}

#[test]
fn a_peer_with_traffic_cannot_raise_the_tunnel_of_a_machine_that_is_off() {
    let mut sim = Sim::connected(21, &IkeConfig::default());
    sim.data_every = Some(SECOND);
    sim.input(1, Input::Admit(false));
    assert_eq!(sim.nodes[1].kernel.count(), (0, 0), "no time has passed");
    sim.run_for(120 * SECOND);
    assert!(matches!(sim.nodes[1].told.as_slice(), [Told::Up, Told::Down(why)] if why.reason == Reason::Closed), "{:?}", sim.nodes[1].told);
    assert!(matches!(sim.nodes[0].told.last(), Some(Told::Failed(why)) if why.reason == Reason::NoAnswer), "{:?}", sim.nodes[0].told);
    sim.input(1, Input::Admit(true));
    sim.run_for(20 * SECOND);
    sim.converged().expect("on again");
}

#[test]
fn a_machine_that_is_switched_off_ends_what_was_under_way_in_both_directions() {
    for dialling in 0..2 {
        let mut sim = Sim::new(22, &IkeConfig::default());
        sim.want(dialling);
        sim.run_for(Duration::from_millis(50));
        sim.nodes[dialling].wanted = false;
        sim.input(1, Input::Admit(false));
        sim.run_for(120 * SECOND);
        assert!(!sim.nodes[1].kernel.ever_used());
        sim.empty().unwrap();
    }
    let mut sim = Sim::new(23, &IkeConfig::default());
    sim.input(1, Input::Admit(false));
    sim.want(1);
    assert!(matches!(sim.nodes[1].told.as_slice(), [Told::Failed(why)] if why.reason == Reason::Closed), "{:?}", sim.nodes[1].told);
}

#[test]
fn closing_while_authenticating_leaves_nothing_at_either_end() {
    let mut sim = Sim::new(20, &IkeConfig::default());
    sim.want(0);
    sim.run_for(Duration::from_millis(45));
    assert_eq!(sim.nodes[0].ike.counts().dialling, 1);
    let peer = sim.nodes[0].peer();
    sim.nodes[0].wanted = false;
    sim.input(0, Input::Close { peer });
    sim.run_for(SECOND);
    assert!(matches!(sim.nodes[0].told.as_slice(), [Told::Failed(why)] if why.reason == Reason::Closed));
    assert!(matches!(sim.nodes[1].told.as_slice(), [Told::Up, Told::Down(_)]));
    sim.run_for(60 * SECOND);
    sim.empty().unwrap();
}

#[test]
fn the_end_of_an_abandoned_attempt_does_not_end_the_next_one() {
    let mut sim = Sim::new(26, &IkeConfig::default());
    sim.want(0);
    sim.run_for(Duration::from_millis(45));
    let peer = sim.nodes[0].peer();
    sim.input(0, Input::Close { peer });
    sim.want(0);
    sim.run_for(SECOND / 2);
    assert!(
        matches!(sim.nodes[0].told.as_slice(), [Told::Failed(why), Told::Up] if why.reason == Reason::Closed),
        "{:?}",
        sim.nodes[0].told
    );
    sim.converged().unwrap();
}
