//! Routes, rules, policies, the network watch and the encapsulation sockets on the running kernel, in namespaces of their own.
//! What needs ESP or an XFRM interface is in `vm_xfrm.rs`.
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use btmm_tests::lab::Node;
use btmm_tests::pair::{Outer, PORT, Pair};
use btmmd::esp::Direction;
use btmmd::ike::driver::{BindError, EncapSockets, local_for};
use btmmd::netwatch::{self, Snapshot};
use btmmd::xfrm::Xfrm;
use btmmd::xfrm::port::{InnerNetwork, Removed, SaSpec};
use tokio::runtime::Runtime;
use tokio::sync::watch;

fn runtime() -> Runtime {
    tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().expect("a runtime")
}

fn inner(prefix: &str, address: &str) -> InnerNetwork {
    InnerNetwork { address: address.parse().expect("literal"), prefix: prefix.parse().expect("literal"), mtu: 1418 }
}

#[test]
fn the_guard_goes_up_twice_the_same_follows_the_account_and_goes_with_purge() {
    let (runtime, node) = (runtime(), Node::new("guarded").expect("a node"));
    let xfrm = node.enter(|| runtime.block_on(async { Xfrm::open() })).expect("entered").expect("open");
    let shown = || ["ip -6 rule", "ip -6 route show table all", "ip xfrm policy"].map(|words| node.run(words).expect(words).out).concat();
    let before = shown();
    for _ in 0..2 {
        runtime.block_on(xfrm.raise_guard(&inner("fd00:1:2::", "fd00:1:2::a"))).expect("the guard");
        let text = shown();
        for piece in [
            "450:\tfrom all to fd00:1:2::/48 lookup 4500",
            "451:\tfrom all to fd00:1:2::/48 unreachable",
            "unreachable fd00:1:2::/48 dev lo table 4500",
            "src fd00:1:2::a/128 dst fd00:1:2::a/128 dev lo",
            "src ::/0 dst fd00:1:2::a/128",
            "src ::/0 dst fd00:1:2::/48",
            "src fd00:1:2::/48 dst ::/0",
        ] {
            assert_eq!(text.matches(piece).count(), 1, "{piece} in\n{text}");
        }
        assert_eq!(text.matches("action block priority 451").count(), 3, "{text}");
    }
    runtime.block_on(xfrm.raise_guard(&inner("fd99::", "fd99::1"))).expect("another account's guard");
    let text = shown();
    assert!(!text.contains("fd00:1:2") && text.contains("to fd99::/48 unreachable"), "{text}");
    assert_eq!(runtime.block_on(xfrm.cleanup()).expect("clean"), Removed::default());
    assert_eq!(shown(), text, "the guard outlives cleanup");
    let removed = runtime.block_on(xfrm.purge()).expect("purged");
    assert_eq!(removed, Removed { policies: 4, routes: 3, ..Removed::default() });
    assert_eq!(shown(), before);
}

#[test]
fn someone_else_s_policies_and_rules_survive_ours() {
    let (runtime, node) = (runtime(), Node::new("shared").expect("a node"));
    node.run("ip xfrm policy add src fd77::1 dst fd77::2 dir out priority 451 action block").expect("a foreign policy");
    node.run("ip -6 rule add to fd77::/16 prio 451 unreachable").expect("a foreign rule");
    node.run("ip -6 route add unreachable fd77::/48 table 4501").expect("a foreign route");
    let shown = || ["ip -6 rule", "ip -6 route show table all", "ip xfrm policy"].map(|words| node.run(words).expect(words).out).concat();
    let before = shown();
    let xfrm = node.enter(|| runtime.block_on(async { Xfrm::open() })).expect("entered").expect("open");
    runtime.block_on(xfrm.raise_guard(&inner("fd00:1:2::", "fd00:1:2::a"))).expect("the guard");
    runtime.block_on(xfrm.purge()).expect("purged");
    assert_eq!(shown(), before);
}

#[test]
fn without_the_right_to_change_the_kernel_the_error_says_which_right() {
    let (runtime, node) = (runtime(), Node::new("powerless").expect("a node"));
    let error = node
        .enter(|| {
            // SAFETY: the raw call changes the credentials of this thread alone, and the thread ends with the closure.
            let changed = unsafe { libc::syscall(libc::SYS_setresuid, 65534, 65534, 65534) };
            assert_eq!(changed, 0, "an unprivileged thread");
            runtime.block_on(async { Xfrm::open()?.policies().await })
        })
        .expect("entered")
        .expect_err("nobody may not read policies");
    assert_eq!(error.to_string(), "list the kernel's IPsec policies: needs CAP_NET_ADMIN");
}

#[test]
fn specifications_that_no_kernel_could_carry_out_are_not_sent() {
    let pair = Pair::new(Outer::V4).expect("two machines");
    let good = pair.left.sa(&pair.right, Direction::In);
    let wrong = [
        SaSpec { remote: "[2001:db8::2]:4500".parse().expect("literal"), ..good.clone() },
        SaSpec { local: "0.0.0.0:4500".parse().expect("literal"), ..good.clone() },
        SaSpec { soft_lifetime: good.hard_lifetime, ..good.clone() },
        SaSpec { reqid: 0, ..good },
    ];
    for spec in wrong {
        let error = pair.runtime.block_on(pair.left.xfrm.install_sa(&spec)).expect_err("refused");
        assert!(error.to_string().starts_with("the ESP state 0x10000001 to "), "{error}");
        assert_eq!(error.errno(), None, "{error}");
    }
}

fn watching(runtime: &Runtime, node: &Node) -> watch::Receiver<Arc<Snapshot>> {
    node.enter(|| runtime.block_on(netwatch::linux::watch())).expect("entered").expect("a watch")
}

fn next(runtime: &Runtime, watch: &mut watch::Receiver<Arc<Snapshot>>) -> Arc<Snapshot> {
    runtime.block_on(async {
        tokio::time::timeout(Duration::from_secs(10), watch.changed()).await.expect("a change in time").expect("the watch runs");
        watch.borrow_and_update().clone()
    })
}

#[test]
fn a_lease_is_one_change_with_address_router_and_uplink() {
    let (runtime, node) = (runtime(), Node::new("watched").expect("a node"));
    node.ip("link set lo up").expect("loopback");
    let mut watch = watching(&runtime, &node);
    let empty = watch.borrow_and_update().clone();
    assert_eq!(empty.candidates(), [] as [IpAddr; 0]);
    node.ip("link add up0 type veth peer name down0\nlink set up0 up\nlink set down0 up\naddress add 192.168.7.9/24 dev up0\nroute add default via 192.168.7.1 metric 50")
        .expect("a lease");
    let mut after = next(&runtime, &mut watch);
    while after.gateway_v4().is_none() || after.candidates().is_empty() {
        after = next(&runtime, &mut watch);
    }
    let changes = empty.changes(&after);
    assert_eq!(changes.gained, ["192.168.7.9".parse().expect("literal")].into());
    assert!(changes.gateway_v4 && !changes.gateway_v6);
    assert_eq!(changes.uplinks_gained.len(), 2);
    assert_eq!(after.gateway_v4().expect("a router").0.to_string(), "192.168.7.1");
    node.ip("link set up0 down").expect("unplugged");
    let mut gone = next(&runtime, &mut watch);
    while gone.gateway_v4().is_some() {
        gone = next(&runtime, &mut watch);
    }
    assert_eq!(after.changes(&gone).lost, ["192.168.7.9".parse().expect("literal")].into());
}

#[test]
fn a_snapshot_knows_ipv6_temporary_and_point_to_point_addresses_and_our_own_interface() {
    let (runtime, node) = (runtime(), Node::new("many").expect("a node"));
    node.ip("link add up0 type veth peer name down0\nlink set up0 up\nlink set down0 up\n\
         address add 2001:db8:5::1/64 dev up0 nodad\naddress add 10.9.0.1 peer 10.9.0.2/32 dev up0\n\
         address add 2001:db8:5::dead/64 dev up0 nodad preferred_lft 0\n\
         link add btmm0 type veth peer name other\nlink set btmm0 up\nlink set other up\naddress add fd00:1:2::a/128 dev btmm0 nodad\n\
         route add default via fe80::1 dev up0 metric 7")
        .expect("interfaces");
    let snapshot = node.enter(|| runtime.block_on(netwatch::linux::snapshot())).expect("entered").expect("a snapshot");
    let wanted: [IpAddr; 2] = ["2001:db8:5::1", "10.9.0.1"].map(|text| text.parse().expect(text));
    assert_eq!(snapshot.candidates(), wanted, "{snapshot:#?}");
    assert_eq!(snapshot.gateway_v6().expect("a router").0.to_string(), "fe80::1");
    assert!(!snapshot.uplinks().any(|interface| interface.name == "btmm0"));
}

#[test]
fn ike_arrives_with_both_addresses_and_its_answer_leaves_from_the_one_it_was_sent_to() {
    for (second, prefix, outer) in [("192.0.2.77", "24 dev wire", Outer::V4), ("2001:db8::77", "64 dev wire nodad", Outer::V6)] {
        let pair = Pair::new(outer).expect("two machines");
        let (left, right) = (&pair.left, &pair.right);
        right.node.ip(&format!("address add {second}/{prefix}")).expect("a second address");
        let second: IpAddr = second.parse().expect("literal");
        pair.runtime.block_on(async {
            let limit = Duration::from_secs(10);
            left.sockets.keepalive(None, SocketAddr::new(second, PORT)).await.expect("a keepalive");
            left.sockets.send(None, SocketAddr::new(second, PORT), b"request").await.expect("sent");
            let request = tokio::time::timeout(limit, right.sockets.recv()).await.expect("in time").expect("received");
            assert_eq!((request.local, request.bytes.as_slice()), (SocketAddr::new(second, PORT), &b"request"[..]));
            assert_eq!(request.remote, SocketAddr::new(left.outer, PORT));
            right.sockets.send(Some(request.local.ip()), request.remote, b"answer").await.expect("answered");
            let answer = tokio::time::timeout(limit, left.sockets.recv()).await.expect("in time").expect("received");
            assert_eq!((answer.remote, answer.bytes.as_slice()), (request.local, &b"answer"[..]));
        });
        let chosen = left.node.enter(|| local_for(SocketAddr::new(second, PORT))).expect("entered").expect("a route");
        assert_eq!(chosen, left.outer);
    }
}

#[test]
fn a_taken_port_is_named_with_who_may_hold_it() {
    let pair = Pair::new(Outer::V4).expect("two machines");
    let second = pair.left.node.enter(|| pair.runtime.block_on(async { EncapSockets::bind(PORT) })).expect("entered");
    let error = second.expect_err("the port is taken");
    assert!(matches!(error, BindError::Taken { port: PORT, .. }), "{error}");
    assert!(error.to_string().contains("UDP port 4500 (IPv4) is taken") && error.to_string().contains("strongSwan"), "{error}");
}
