//! The lab itself: its NATs translate, its routers map ports, its captures see everything, and it leaves nothing behind.
use std::time::Duration;

use btmm_tests::lab::{Kind, Node, Options, TwoHomes, finish};

/// The network namespaces some process is in.
fn networks() -> Vec<std::path::PathBuf> {
    let entries = std::fs::read_dir("/proc").expect("/proc");
    entries.filter_map(|entry| std::fs::read_link(entry.ok()?.path().join("ns/net")).ok()).collect()
}

#[test]
fn a_node_is_alone_and_is_gone_when_dropped() {
    let before = std::fs::read_to_string("/proc/net/dev").expect("interfaces");
    let node = Node::new("alone").expect("a node");
    assert_eq!(node.run("hostname").expect("hostname").out.trim(), "alone");
    node.ip("link add left type veth peer name right").expect("a pair");
    node.write("/etc/btmm/marker", "x").expect("its own /etc");
    let inside = node.enter(|| std::fs::read_to_string("/proc/thread-self/net/dev")).expect("entered").expect("read");
    assert!(inside.contains("left:") && inside.contains("right:"));
    assert!(!std::path::Path::new("/etc/btmm/marker").exists(), "the machine's /etc is untouched");
    let sleeper = node.spawn({
        let mut command = node.command("sleep");
        command.arg("1000");
        command
    });
    let pid = sleeper.as_ref().expect("spawned").pid();
    std::mem::forget(sleeper);
    drop(node);
    std::thread::sleep(Duration::from_millis(50));
    let state = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    assert!(state.is_empty() || state.contains(") Z"), "its processes end with it: {state}");
    assert_eq!(std::fs::read_to_string("/proc/net/dev").expect("interfaces").lines().count(), before.lines().count());
}

#[test]
fn homes_reach_the_base_through_their_routers_and_not_each_other() {
    let homes = TwoHomes::new().expect("two homes");
    let capture = homes.capture().expect("a capture");
    homes.laptop.ping("203.0.113.10", 5).expect("the base answers");
    assert!(homes.laptop.ping("192.168.1.20", 1).is_err(), "the other home is private");
    let seen = capture.stop().expect("the capture ends well");
    let sources: Vec<_> = seen.packets.iter().filter(|p| p.kind() == Kind::Icmp(8)).filter_map(|p| p.addresses()).collect();
    assert!(!sources.is_empty() && sources.iter().all(|(from, _)| *from == TwoHomes::ROUTER_B), "{sources:?}");
    assert_eq!(seen.beside_port(4500).len(), seen.packets.iter().filter(|p| matches!(p.kind(), Kind::Icmp(_))).count());
}

#[test]
fn a_home_router_maps_a_port_by_nat_pmp_and_lets_it_in() {
    let homes = TwoHomes::new().expect("two homes");
    let mut ask = homes.imac.foreign("natpmpc");
    ask.args(["-g", "192.168.1.1", "-a", "4500", "4500", "udp", "100"]);
    let answer = finish(ask).expect("mapped").out;
    assert!(answer.contains("Public IP address : 203.0.114.1"), "{answer}");
    assert_eq!(homes.router_a.mappings().expect("rules").len(), 1);
    let listener = homes.imac.enter(|| std::net::UdpSocket::bind("0.0.0.0:4500")).expect("entered").expect("bound");
    listener.set_read_timeout(Some(Duration::from_secs(5))).expect("a limit");
    homes.base.enter(|| std::net::UdpSocket::bind("0.0.0.0:4500")?.send_to(b"hello", "203.0.114.1:4500")).expect("entered").expect("sent");
    let mut buffer = [0; 16];
    let (count, from) = listener.recv_from(&mut buffer).expect("it comes in");
    assert_eq!((&buffer[..count], from.to_string().as_str()), (&b"hello"[..], "203.0.113.10:4500"));
}

#[test]
fn homes_with_ipv6_reach_each_other_untranslated() {
    let homes = TwoHomes::with(&Options { ipv4: false, ipv6: true, ..Options::default() }).expect("two homes");
    homes.laptop.ping("2001:db8:a::20", 5).expect("the other home answers");
    homes.imac.ping("2001:db8::10", 5).expect("the base answers");
}

#[test]
fn nothing_is_left_of_a_lab() {
    let homes = TwoHomes::new().expect("two homes");
    let nodes = [&homes.internet, &homes.router_a.node, &homes.router_b.node, &homes.base, &homes.imac, &homes.laptop];
    let network = |node: &Node| std::fs::read_link(format!("/proc/{}/ns/net", node.pid())).expect("a network");
    let ours = nodes.map(network);
    assert!(ours.iter().all(|network| networks().contains(network)));
    drop(homes);
    std::thread::sleep(Duration::from_millis(200));
    assert!(ours.iter().all(|network| !networks().contains(network)), "a process is still in a network of the lab");
}
