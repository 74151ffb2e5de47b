//! The waiting room on a live kernel: the first packet to a peer without a tunnel is held, sent on, and never leaves otherwise. A TUN
//! stands in for `btmm0`, which this kernel may not have. Ring 2.

use std::net::{Ipv6Addr, UdpSocket};
use std::time::Duration;

use btmm_tests::gate_run::{open, settings};
use btmm_tests::lab::Node;
use btmmd::datapath::Datapath;
use btmmd::datapath::waiting_room::WaitingRoom;
use tokio::time::timeout;

const PEER: &str = "fd12:3456:789a::2";

fn in_a_node<F: Future<Output = ()>>(test: impl FnOnce(Datapath, WaitingRoom, WaitingRoom) -> F + Send) {
    let node = Node::new("waiting").expect("a node");
    node.enter(|| {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        runtime.block_on(async {
            let mut datapath = open(&settings());
            let inner = WaitingRoom::named("inner0").await.expect("a stand-in for btmm0");
            let room = WaitingRoom::open().await.expect("the waiting room");
            node.ip("address add fd12:3456:789a::1/128 dev inner0 nodad\nroute add fd12:3456:789a::/48 dev inner0").expect("routes");
            datapath.attach_waiting_room(inner.index(), room.index()).expect("attached");
            test(datapath, inner, room).await;
        });
    })
    .expect("entered");
}

/// The next packet for the peer: what else leaves a new interface (multicast of the kernel's) is not for it.
async fn next(tun: &WaitingRoom) -> Option<Vec<u8>> {
    let peer: Ipv6Addr = PEER.parse().expect("an address");
    loop {
        let (packet, _) = timeout(Duration::from_millis(500), tun.recv()).await.ok()?.expect("the device is there");
        if packet.get(24..40) == Some(&peer.octets()[..]) {
            return Some(packet);
        }
    }
}

fn send(payload: &[u8]) {
    let socket = UdpSocket::bind("[fd12:3456:789a::1]:7000").expect("bound");
    socket.send_to(payload, (PEER, 7000)).expect("sent");
}

#[test]
fn the_first_packet_waits_and_is_sent_on_unchanged() {
    in_a_node(|mut datapath, inner, room| async move {
        send(b"first");
        let held = next(&room).await.expect("it is in the waiting room");
        assert_eq!(next(&inner).await, None, "and nowhere else");
        assert!(held.starts_with(&[0x60]) && held.ends_with(b"first"), "{held:02x?}");

        datapath.set_peer_ready(PEER.parse().expect("an address"), true).expect("the tunnel is up");
        room.inject(inner.index(), &held).expect("sent on");
        assert_eq!(next(&inner).await, Some(held), "past the program that would hold it again");
        send(b"second");
        assert!(next(&inner).await.expect("straight").ends_with(b"second"));
        assert_eq!(next(&room).await, None);
        let counters = datapath.counters().expect("counters");
        assert_eq!((counters.waiting, counters.ready), (1, 1), "{counters:?}");

        datapath.clear_ready_peers().expect("all tunnels are down");
        send(b"third");
        assert!(next(&room).await.expect("held again").ends_with(b"third"));
    });
}

#[test]
fn an_injected_packet_is_not_held_though_its_peer_is_not_ready() {
    in_a_node(|datapath, inner, room| async move {
        send(b"held");
        let held = next(&room).await.expect("held");
        room.inject(inner.index(), &held).expect("sent on");
        assert_eq!(next(&inner).await, Some(held));
        assert_eq!(datapath.counters().expect("counters").waiting, 1);
    });
}

#[test]
fn with_the_daemon_dead_packets_for_peers_without_a_tunnel_go_nowhere() {
    in_a_node(|datapath, inner, room| async move {
        drop(room);
        send(b"lost");
        assert_eq!(next(&inner).await, None);
        assert_eq!(datapath.counters().expect("counters").waiting, 1);
        let room = WaitingRoom::open().await.expect("a new daemon's");
        send(b"lost too");
        assert_eq!(next(&room).await, None, "until it has said which device is the waiting room");
        assert_eq!(next(&inner).await, None);
    });
}

#[test]
fn a_second_daemon_cannot_take_the_waiting_room_from_the_first() {
    in_a_node(|_datapath, _inner, first| async move {
        let error = WaitingRoom::open().await.map(drop).expect_err("it is taken");
        assert!(error.to_string().contains("busy"), "{error}");
        drop(first);
        WaitingRoom::open().await.expect("now it is free");
    });
}
