//! The kernel's IPsec itself. Needs a kernel with ESP: `cargo xtask test vm` runs it in the lab's virtual machine.
use std::net::UdpSocket;
use std::time::Duration;

use btmm_tests::lab::Capture;
use btmm_tests::pair::{Outer, Pair};
use btmmd::esp::Direction;
use btmmd::xfrm::Xfrm;
use btmmd::xfrm::port::{KernelEvent, Removed, SaSpec};
use tokio::sync::mpsc;

fn connected(outer: Outer) -> Pair {
    let pair = Pair::new(outer).expect("two machines");
    pair.raise().expect("the inner network");
    pair.connect().expect("a tunnel");
    pair
}

fn monitor(pair: &Pair) -> mpsc::Receiver<KernelEvent> {
    let open = || {
        let _context = pair.runtime.enter();
        Xfrm::monitor()
    };
    pair.left.node.enter(open).expect("entered").expect("a monitor")
}

fn next(pair: &Pair, events: &mut mpsc::Receiver<KernelEvent>) -> KernelEvent {
    let event = async { tokio::time::timeout(Duration::from_secs(20), events.recv()).await };
    pair.runtime.block_on(event).expect("an event in time").expect("the monitor runs")
}

#[test]
fn tcp_crosses_the_tunnel_and_only_port_4500_is_seen_on_the_wire() {
    for outer in [Outer::V4, Outer::V6] {
        let pair = connected(outer);
        let capture = Capture::start(&pair.right.node, "wire").expect("a capture");
        assert_eq!(pair.left.transfer(&pair.right, 300_000).expect("transferred"), 300_000, "{outer:?}");
        let seen = capture.stop().expect("a whole capture");
        assert!(seen.packets.len() > 100, "{outer:?}: {:?}", seen.summary());
        assert_eq!(seen.beside_port(4500).len(), 0, "{outer:?}: {:?}", seen.summary());
        assert_eq!(seen.naming_prefix(pair.left.network.prefix).len(), 0, "{outer:?}");
        let states = pair.runtime.block_on(pair.left.xfrm.states()).expect("states");
        assert_eq!(states.len(), 2);
        for state in &states {
            assert!(state.carried.1 > 20 && state.used > 0, "{state:?}");
            assert_eq!((state.reqid, state.encap), (1, Some((4500, 4500))));
        }
    }
}

#[test]
fn states_have_extended_sequence_numbers_and_the_wide_window() {
    let pair = connected(Outer::V4);
    let shown = pair.left.node.run("ip -s xfrm state").expect("ip").out;
    assert_eq!(shown.matches("replay_window 1024").count(), 2, "{shown}");
    assert_eq!(shown.matches("flag af-unspec esn").count(), 2, "{shown}");
    assert_eq!(shown.matches("rfc4106(gcm(aes))").count(), 2, "{shown}");
    assert_eq!(shown.matches("expire add: soft 3000(sec), hard 3600(sec)").count(), 2, "{shown}");
}

#[test]
fn a_packet_without_a_state_raises_an_acquire_and_the_tunnel_then_works() {
    let pair = Pair::new(Outer::V4).expect("two machines");
    pair.raise().expect("the inner network");
    pair.runtime.block_on(pair.left.xfrm.set_policies(&pair.left.policy(&pair.right))).expect("policies");
    let mut events = monitor(&pair);
    assert!(pair.left.node.ping(&pair.right.network.address.to_string(), 1).is_err());
    let wanted = KernelEvent::Acquire { inner_local: pair.left.network.address, inner_remote: pair.right.network.address, reqid: 1 };
    assert_eq!(next(&pair, &mut events), wanted);
    pair.connect().expect("a tunnel");
    pair.left.node.ping(&pair.right.network.address.to_string(), 2).expect("the larval state is not in the way");
}

#[test]
fn lifetimes_are_told_and_the_kernel_removes_the_state_itself() {
    let pair = connected(Outer::V4);
    let mut events = monitor(&pair);
    let short = SaSpec {
        spi: 0x1000_0077,
        soft_lifetime: Duration::from_secs(1),
        hard_lifetime: Duration::from_secs(3),
        ..pair.left.sa(&pair.right, Direction::In)
    };
    pair.runtime.block_on(pair.left.xfrm.install_sa(&short)).expect("installed");
    assert_eq!(next(&pair, &mut events), KernelEvent::SoftExpired { id: short.id(), reqid: 1 });
    assert_eq!(next(&pair, &mut events), KernelEvent::HardExpired { id: short.id(), reqid: 1 });
    let states = pair.runtime.block_on(pair.left.xfrm.states()).expect("states");
    assert!(states.len() == 2 && states.iter().all(|state| state.id != short.id()));
}

#[test]
fn a_peer_whose_port_moved_is_told_by_a_mapping_and_followed_without_a_new_state() {
    let pair = connected(Outer::V4);
    let mut events = monitor(&pair);
    let (left, right) = (&pair.left, &pair.right);
    // The router in front of the right machine gives it another port.
    let nat = "table ip nat {\n chain out {\n type nat hook postrouting priority srcnat\n udp sport 4500 masquerade to :61234\n }\n}\n";
    right.node.nft(nat).expect("a NAT");
    let _ = right.node.ping(&left.network.address.to_string(), 1);
    let moved = "192.0.2.2:61234".parse().expect("literal");
    let inbound = left.sa(right, Direction::In);
    let wanted = KernelEvent::Mapping { id: inbound.id(), reqid: 1, old: inbound.remote, new: moved };
    assert_eq!(next(&pair, &mut events), wanted);
    let outbound = SaSpec { remote: moved, ..left.sa(right, Direction::Out) };
    let before = carried(&pair, outbound.spi);
    pair.runtime.block_on(left.xfrm.update_sa(&outbound)).expect("updated in place");
    left.node.ping(&right.network.address.to_string(), 2).expect("the way back goes to the new port");
    assert!(carried(&pair, outbound.spi) > before, "the counters went on");
}

fn carried(pair: &Pair, spi: u32) -> u64 {
    let states = pair.runtime.block_on(pair.left.xfrm.states()).expect("states");
    states.iter().find(|state| state.id.spi == spi).expect("present").carried.1
}

#[test]
fn installing_a_state_twice_replaces_it_and_removing_it_twice_is_no_error() {
    let pair = connected(Outer::V4);
    let spec = pair.left.sa(&pair.right, Direction::Out);
    pair.runtime.block_on(pair.left.xfrm.install_sa(&spec)).expect("replaced");
    assert!(pair.runtime.block_on(pair.left.xfrm.remove_sa(spec.id())).expect("removed"));
    assert!(!pair.runtime.block_on(pair.left.xfrm.remove_sa(spec.id())).expect("nothing to remove"));
}

#[test]
fn a_restarted_daemon_finds_no_old_state_and_the_wanted_policies() {
    let pair = connected(Outer::V4);
    let left = &pair.left;
    let mut foreign = left.node.command("ip");
    foreign
        .args("xfrm state add src 198.51.100.1 dst 198.51.100.2 proto esp spi 0x999 reqid 9 mode tunnel aead rfc4106(gcm(aes))".split(' '));
    foreign.args(["0x00112233445566778899aabbccddeeff00112233", "128"]);
    btmm_tests::lab::finish(foreign).expect("someone else's state");
    let wanted = left.policy(&pair.right);
    let removed = pair.runtime.block_on(left.xfrm.reconcile(&[wanted])).expect("reconciled");
    assert_eq!(removed, Removed { states: 2, ..Removed::default() });
    let policies = pair.runtime.block_on(left.xfrm.policies()).expect("policies");
    assert_eq!(policies.iter().filter(|policy| policy.is_of_peer()).count(), 2);
    assert!(left.node.run("ip xfrm state").expect("ip").out.contains("spi 0x00000999"), "someone else's state stays");
}

/// Tries every way out that an ordinary program has, and answers what of it was seen on the wire in clear.
fn clear_packets(pair: &Pair) -> usize {
    let capture = Capture::start(&pair.right.node, "wire").expect("a capture");
    let to = (pair.right.network.address, 9);
    let node = &pair.left.node;
    node.enter(|| {
        let plain = UdpSocket::bind("[::]:0").expect("a socket");
        let _refused_under_the_guard = plain.send_to(b"in clear?", to);
        let bound = UdpSocket::bind("[::]:0").expect("a socket");
        nix::sys::socket::setsockopt(&bound, nix::sys::socket::sockopt::BindToDevice, &"wire".into()).expect("bound to the wire");
        let _refused_under_the_guard = bound.send_to(b"in clear?", to);
    })
    .expect("entered");
    let _answered_by_nobody = node.ping(&pair.right.network.address.to_string(), 1);
    let seen = capture.stop().expect("a whole capture");
    seen.naming_prefix(pair.left.network.prefix).len()
}

#[test]
fn nothing_leaves_in_clear_before_during_or_after_and_purge_leaves_nothing() {
    let pair = Pair::new(Outer::V4).expect("two machines");
    let left = &pair.left;
    left.node.ip("route add default via 2001:db8::2 dev wire").expect("a way out");
    left.node.ping("2001:db8::2", 10).expect("the way out works");
    // One from each socket, the echo request, and what the other machine answers.
    assert!(clear_packets(&pair) >= 3, "without the guard the experiment itself sees them");
    pair.runtime.block_on(left.xfrm.raise_guard(&left.network)).expect("the guard");
    assert_eq!(clear_packets(&pair), 0, "guard alone");
    pair.raise().expect("the inner network");
    assert_eq!(clear_packets(&pair), 0, "no tunnel");
    pair.connect().expect("a tunnel");
    left.node.ping(&pair.right.network.address.to_string(), 2).expect("the tunnel works");
    assert_eq!(clear_packets(&pair), 0, "with a tunnel");
    let removed = pair.runtime.block_on(left.xfrm.cleanup()).expect("clean");
    assert_eq!(removed, Removed { states: 2, policies: 2, interfaces: 1, routes: 0 });
    assert_eq!(clear_packets(&pair), 0, "after cleanup");
    let removed = pair.runtime.block_on(left.xfrm.purge()).expect("purged");
    assert_eq!(removed, Removed { states: 0, policies: 4, interfaces: 0, routes: 3 });
    assert_eq!(left.node.run("ip xfrm policy").expect("ip").out, "");
    assert_eq!(left.node.run("ip -6 rule").expect("ip").out.lines().count(), 2);
    assert_eq!(left.node.run("ip -6 route show table all").expect("ip").out.matches("4500").count(), 0);
}

#[test]
fn a_neighbour_in_clear_does_not_reach_an_inner_address_and_its_owner_does() {
    let pair = connected(Outer::V4);
    let inner = pair.left.network.address;
    let neighbour = btmm_tests::lab::Node::new("neighbour").expect("a neighbour");
    pair.left
        .node
        .ip(&format!(
            "link add lan type veth peer name lan netns {}\naddress add 2001:db8:1::1/64 dev lan nodad\nlink set lan up",
            neighbour.pid()
        ))
        .expect("a LAN");
    neighbour
        .ip("address add 2001:db8:1::2/64 dev lan nodad\nlink set lan up\nlink set lo up\nroute add fd00:1:2::/48 via 2001:db8:1::1")
        .expect("on the LAN");
    neighbour.ping("2001:db8:1::1", 2).expect("the LAN works");
    assert!(neighbour.ping(&inner.to_string(), 1).is_err(), "in clear to the inner address");
    pair.left.node.sysctl("net.ipv6.conf.all.forwarding", "1").expect("it routes");
    assert!(neighbour.ping(&pair.right.network.address.to_string(), 1).is_err(), "through it into the tunnel");
    pair.left.node.ping(&inner.to_string(), 2).expect("itself");
    pair.right.node.ping(&inner.to_string(), 2).expect("its peer");
}

#[test]
fn raising_twice_changes_nothing_and_another_account_replaces_the_first() {
    let pair = Pair::new(Outer::V4).expect("two machines");
    let left = &pair.left;
    let index = pair.runtime.block_on(left.xfrm.raise(&left.network)).expect("raised");
    let shown = || {
        ["ip -6 rule", "ip -6 route show table 4500", "ip xfrm policy", "ip -6 address show btmm0"]
            .map(|words| left.node.run(words).expect(words).out)
    };
    let first = shown();
    assert_eq!(pair.runtime.block_on(left.xfrm.raise(&left.network)).expect("again"), index);
    assert_eq!(shown(), first);
    assert!(!first[3].contains("fe80::") && !first[3].contains("tentative"), "{}", first[3]);
    let other = btmmd::xfrm::port::InnerNetwork {
        address: "fd99::5".parse().expect("literal"),
        prefix: "fd99::".parse().expect("literal"),
        mtu: 1300,
    };
    assert_eq!(pair.runtime.block_on(left.xfrm.raise(&other)).expect("another"), index);
    let second = shown().concat();
    assert!(!second.contains("fd00:1:2"), "{second}");
    assert!(second.contains("fd99::5/128") && second.contains("mtu 1300"), "{second}");
}

#[test]
fn a_flood_of_events_costs_some_of_them_and_says_so() {
    const PEERS: u32 = 12_000;
    let pair = Pair::new(Outer::V4).expect("two machines");
    let left = &pair.left;
    pair.runtime.block_on(left.xfrm.raise(&left.network)).expect("the inner network");
    let peers = || (0x1_0000..0x1_0000 + PEERS).map(|last| std::net::Ipv6Addr::from(u128::from(left.network.prefix) | u128::from(last)));
    let (source, template) =
        (left.network.address, "dir out if_id 0x62746d6d tmpl src 127.0.0.1 dst 127.0.0.1 proto esp mode tunnel reqid");
    // The kernel asks once for each reqid while the answer is out.
    let policy = |(reqid, peer)| format!("xfrm policy add src {source}/128 dst {peer}/128 {template} {}\n", reqid + 1);
    let policies: String = peers().enumerate().map(policy).collect();
    left.node.ip(&policies).expect("policies");
    let mut events = monitor(&pair);
    let send = || {
        let socket = UdpSocket::bind("[::]:0").expect("a socket");
        peers().filter(|&peer| socket.send_to(b"wake up", (peer, 9)).is_ok()).count()
    };
    let sent = left.node.enter(send).expect("entered");
    let mut acquired = 0u32;
    let lost = pair.runtime.block_on(async {
        while let Ok(Some(event)) = tokio::time::timeout(Duration::from_secs(2), events.recv()).await {
            if event == KernelEvent::Resync {
                return true;
            }
            acquired += 1;
        }
        false
    });
    assert!(lost, "{sent} packets, {acquired} events, and no loss told: {}", left.node.run("cat /proc/net/netlink").expect("netlink").out);
    assert!(acquired > 64 && acquired < PEERS, "those that fitted arrive first: {acquired}");
    // Reading on, the monitor works again.
    pair.runtime.block_on(async { while tokio::time::timeout(Duration::from_millis(500), events.recv()).await.is_ok() {} });
    let short = SaSpec { soft_lifetime: Duration::from_secs(1), ..left.sa(&pair.right, Direction::In) };
    pair.runtime.block_on(left.xfrm.install_sa(&short)).expect("installed");
    assert_eq!(next(&pair, &mut events), KernelEvent::SoftExpired { id: short.id(), reqid: 1 });
}
