//! The gate on live interfaces: in force with no process alive, never stacked, carried over restarts, upgrades and boots. Ring 2.

use std::io;
use std::net::UdpSocket;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use aya::programs::links::{FdLink, PinnedLink};
use aya::programs::{SchedClassifier, TcAttachType};
use btmm_tests::frames::{esp, ike};
use btmm_tests::gate_run::{PINS, STATE, block};
use btmm_tests::lab::{Capture, Kind, Node, Packet};
use btmmd::datapath::firewall::{self, FirewallStatus};
use btmmd::datapath::{Datapath, DatapathError, Hook, Settings, Uplink, XdpUse};
use nix::sys::signal::Signal;

/// The machine under test at 192.0.2.1, and another at 192.0.2.2, on one wire.
fn pair() -> (Node, Node) {
    let (machine, other) = (Node::new("machine").expect("a node"), Node::new("other").expect("a node"));
    machine.ip(&format!("link add up0 index 40 type veth peer name up1 netns {}", other.pid())).expect("a wire");
    machine.ip("address add 192.0.2.1/24 dev up0\nlink set up0 up").expect("its near end");
    other.ip("address add 192.0.2.2/24 dev up1\nlink set up1 up").expect("its far end");
    (machine, other)
}

fn open() -> Datapath {
    btmm_tests::gate_run::open(&Settings { xdp: XdpUse::Driver, ..Settings::new(STATE) })
}

fn status(node: &Node) -> FirewallStatus {
    node.enter(|| firewall::status(Path::new(PINS), Path::new(STATE))).expect("entered").expect("a status")
}

/// The switch as `btmm firewall` turns it: from outside any daemon.
fn turn(node: &Node, blocked: bool) -> FirewallStatus {
    let pins = Path::new(PINS);
    let turned =
        node.enter(|| if blocked { firewall::block(pins, &Settings::new(STATE)) } else { firewall::allow(pins, Path::new(STATE)) });
    turned.expect("entered").expect("the switch turns")
}

fn socket(node: &Node, address: &str) -> UdpSocket {
    let socket = node.enter(|| UdpSocket::bind(address)).expect("entered").expect("bound");
    socket.set_read_timeout(Some(Duration::from_secs(5))).expect("a limit");
    socket
}

/// Whether what `from` sends to `to` arrives. A second datagram, to a port no one guards, says that the first had its time.
fn arrives(from: (&Node, &UdpSocket), to: (&Node, &UdpSocket), payload: &[u8]) -> bool {
    let (target, host) = (to.1.local_addr().expect("an address"), to.1.local_addr().expect("an address").ip());
    let barrier = socket(to.0, &format!("{host}:0"));
    let _refused_by_the_egress_program = from.1.send_to(payload, target);
    let sender = socket(from.0, "0.0.0.0:0");
    sender.send_to(b"barrier", barrier.local_addr().expect("an address")).expect("sent");
    let mut buffer = [0; 65_535];
    barrier.recv_from(&mut buffer).expect("other traffic always arrives");
    to.1.set_nonblocking(true).expect("set");
    let received = match to.1.recv_from(&mut buffer) {
        Ok((length, _)) => length == payload.len(),
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => false,
        Err(error) => panic!("{error}"),
    };
    to.1.set_nonblocking(false).expect("set");
    received
}

/// Programs of ours that the kernel runs on an interface's egress.
fn egress_programs(node: &Node, interface: &str, hook: Hook) -> usize {
    match hook {
        Hook::Tcx => node.enter(|| SchedClassifier::query_tcx(interface, TcAttachType::Egress).expect("asked").1.len()).expect("entered"),
        _ => node.run(&format!("tc filter show dev {interface} egress")).expect("tc").out.matches("direct-action").count(),
    }
}

fn gate_program(node: &Node) -> u32 {
    let link = |path: PathBuf| FdLink::from(PinnedLink::from_pin(path).expect("the link is pinned")).info().expect("info").program_id();
    node.enter(|| link(Path::new(PINS).join("links/xdp-gate-40"))).expect("entered")
}

#[test]
fn the_switch_acts_at_the_next_packet_with_the_daemon_killed() {
    acts_with_the_daemon_killed(&["--xdp", "up0"], "ingress: Xdp");
}

#[test]
fn the_switch_acts_at_the_next_packet_where_the_gate_is_not_xdp() {
    acts_with_the_daemon_killed(&["up0"], "ingress: Tc");
}

fn acts_with_the_daemon_killed(arguments: &[&str], hook: &str) {
    let (machine, other) = pair();
    let mut daemon = machine.command(env!("CARGO_BIN_EXE_btmm-hold-gate"));
    daemon.args(arguments);
    let mut daemon = machine.spawn(daemon).expect("started");
    daemon.wait_for("holding the gate", Duration::from_secs(60)).expect("attached");
    assert!(daemon.log().contains(hook), "{}", daemon.log());
    daemon.signal(Signal::SIGKILL).expect("killed");
    daemon.wait(Duration::from_secs(5)).expect("dead");

    let (inside, outside) = (socket(&machine, "192.0.2.1:4500"), socket(&other, "192.0.2.2:4500"));
    let both_ways = |payload: &[u8]| {
        let enters = arrives((&other, &outside), (&machine, &inside), payload);
        (enters, arrives((&machine, &inside), (&other, &outside), payload))
    };
    assert_eq!(status(&machine).enforced_on, ["up0"]);
    assert_eq!(both_ways(&ike()), (true, true));
    assert_eq!(both_ways(&esp(7)), (false, true), "the SPI filter outlives the daemon");
    for _ in 0..3 {
        assert!(turn(&machine, true).blocked);
        assert_eq!(both_ways(&ike()), (false, false), "at the next packet");
        assert_eq!(both_ways(&[0xff]), (false, false));
        assert!(!turn(&machine, false).blocked);
        assert_eq!(both_ways(&ike()), (true, true), "and back");
    }
}

#[test]
fn the_programs_log_reaches_the_daemons_only_when_it_is_on() {
    let (machine, other) = pair();
    let (inside, outside) = (socket(&machine, "192.0.2.1:4500"), socket(&other, "192.0.2.2:4500"));
    let mut quiet = machine.command(env!("CARGO_BIN_EXE_btmm-hold-gate"));
    quiet.arg("up0");
    let mut quiet = machine.spawn(quiet).expect("started");
    quiet.wait_for("holding the gate", Duration::from_secs(60)).expect("attached");
    assert!(!arrives((&other, &outside), (&machine, &inside), &esp(0x1234_abcd)));
    assert!(!quiet.log().contains("btmmd::gate"), "{}", quiet.log());
    quiet.signal(Signal::SIGKILL).expect("killed");
    let mut telling = machine.command(env!("CARGO_BIN_EXE_btmm-hold-gate"));
    telling.args(["--log", "up0"]);
    let mut telling = machine.spawn(telling).expect("started");
    telling.wait_for("holding the gate", Duration::from_secs(60)).expect("attached");
    assert!(!arrives((&other, &outside), (&machine, &inside), &esp(0x1234_abcd)));
    telling.wait_for("btmmd::gate: dropped, verdict 2, from 192.0.2.2, SPI 1234abcd", Duration::from_secs(20)).expect("it says so");
}

#[test]
fn real_fragments_arrive_whole_until_the_switch_blocks_and_then_none_is_on_the_wire() {
    let (machine, other) = pair();
    let _attached = machine.enter(|| open().attach_uplink("up0").expect("attached")).expect("entered");
    let (inside, outside) = (socket(&machine, "192.0.2.1:4500"), socket(&other, "192.0.2.2:4500"));
    let large = [0u8; 4000];
    assert!(arrives((&other, &outside), (&machine, &inside), &large) && arrives((&machine, &inside), (&other, &outside), &large));
    turn(&machine, true);
    let before = status(&machine).counters;
    assert!(!arrives((&other, &outside), (&machine, &inside), &large));
    let after_in = status(&machine).counters;
    assert_eq!((after_in.blocked_in - before.blocked_in, after_in.blocked_fragment - before.blocked_fragment), (1, 2));
    let capture = Capture::start(&other, "up1").expect("a capture");
    assert!(!arrives((&machine, &inside), (&other, &outside), &large));
    // The barrier left behind the fragments: once it is in the capture, so is whatever left before it.
    let deadline = Instant::now() + Duration::from_secs(20);
    let kinds: Vec<Kind> = loop {
        let seen = capture.so_far().expect("captured");
        let kinds: Vec<Kind> = seen.packets.iter().map(Packet::kind).collect();
        if kinds.iter().any(|kind| matches!(kind, Kind::Udp(..))) {
            break kinds;
        }
        assert!(Instant::now() < deadline, "the barrier was not seen: {kinds:?}");
        std::thread::sleep(Duration::from_millis(100));
    };
    let of_it = |kind: &&Kind| matches!(kind, Kind::Fragment(_) | Kind::Udp(4500, _));
    assert_eq!(kinds.iter().filter(of_it).count(), 0, "{kinds:?}");
    assert_eq!(status(&machine).counters.blocked_out - after_in.blocked_out, 1);
}

#[test]
fn attaching_again_replaces_and_never_stacks() {
    let (machine, _other) = pair();
    let attach = || machine.enter(|| open().attach_uplink("up0").expect("attached")).expect("entered");
    let first: Uplink = attach();
    assert_eq!(first, Uplink { interface: "up0".into(), index: 40, ingress: Hook::Xdp, egress: first.egress });
    let program = gate_program(&machine);
    for _ in 0..3 {
        assert_eq!(attach(), first);
        assert_eq!(egress_programs(&machine, "up0", first.egress), 1);
    }
    assert_ne!(gate_program(&machine), program, "the pinned link holds the program of the last load");
    let replaced = gate_program(&machine);
    let uplinks = machine.enter(|| open().uplinks().expect("uplinks")).expect("entered");
    assert_eq!(uplinks, std::slice::from_ref(&first));
    assert_ne!(gate_program(&machine), replaced, "opening alone replaces the programs where they are");
    assert_eq!(egress_programs(&machine, "up0", first.egress), 1);
    machine.enter(|| open().detach_uplink("up0").expect("detached")).expect("entered");
    assert_eq!(egress_programs(&machine, "up0", first.egress), 0);
    assert_eq!(status(&machine).enforced_on, [""; 0]);
}

#[test]
fn an_interface_that_refuses_its_program_is_named_and_costs_no_other_its_gate() {
    let (machine, other) = pair();
    machine.ip(&format!("link add odd0 index 39 type veth peer name odd1 netns {}", other.pid())).expect("another wire, before the first");
    machine.ip("address add 198.51.99.1/24 dev odd0\nlink set odd0 up").expect("its near end");
    let pins = Path::new(PINS);
    let spoilt = || {
        let mut datapath = open();
        for name in ["odd0", "up0"] {
            datapath.attach_uplink(name).expect("attached");
        }
        std::fs::remove_file(pins.join("links/xdp-gate-39"))?;
        std::fs::hard_link(pins.join("switch"), pins.join("links/xdp-gate-39"))
    };
    machine.enter(spoilt).expect("entered").expect("a pin that is no link");
    let before = gate_program(&machine);
    machine
        .enter(|| {
            let error = open().attach_uplink("odd0").expect_err("it is no link").to_string();
            assert!(error.starts_with("odd0: cannot attach gate: "), "{error}");
        })
        .expect("entered");
    assert_ne!(gate_program(&machine), before, "the other was replaced");
    let told = machine.enter(|| firewall::block(pins, &Settings::new(STATE))).expect("entered").expect_err("not on odd0");
    assert!(matches!(&told, DatapathError::Partial(names) if names.starts_with("odd0: ") && !names.contains("up0")), "{told}");
    assert!(status(&machine).blocked && status(&machine).enforced_on.contains(&"up0".to_owned()));
}

#[test]
fn a_record_of_an_interface_that_is_gone_is_not_believed_of_the_next_of_its_number() {
    let (machine, other) = pair();
    let egress = machine.enter(|| open().attach_uplink("up0").expect("attached").egress).expect("entered");
    let records = || machine.enter(|| std::fs::read_dir(Path::new(PINS).join("links")).expect("pins").count()).expect("entered");
    machine.ip("link delete up0").expect("gone");
    machine.ip(&format!("link add up0 index 40 type veth peer name up1 netns {}", other.pid())).expect("another of its number");
    machine.ip("address add 192.0.2.1/24 dev up0\nlink set up0 up").expect("in use");
    if egress == Hook::Tcx {
        let found = status(&machine);
        assert!(found.enforced_on.is_empty() && found.not_enforced_on == ["up0"], "nothing was attached to this one: {found:?}");
    }
    assert_eq!(turn(&machine, true).enforced_on, ["up0"]);
    assert_eq!(egress_programs(&machine, "up0", egress), 1);
    machine.ip("link delete up0").expect("gone");
    assert_ne!(records(), 0);
    machine.enter(|| drop(open())).expect("entered");
    assert_eq!(records(), 0, "what is gone leaves no pins");
}

#[test]
fn the_gate_outlives_a_link_that_goes_down_and_finds_an_interface_that_comes_back() {
    let (machine, other) = pair();
    machine.enter(|| open().attach_uplink("up0").expect("attached")).expect("entered");
    machine.ip("link set up0 down\nlink set up0 up").expect("down and up");
    let (inside, outside) = (socket(&machine, "192.0.2.1:4500"), socket(&other, "192.0.2.2:4500"));
    assert!(arrives((&other, &outside), (&machine, &inside), &ike()));
    assert!(!arrives((&other, &outside), (&machine, &inside), &esp(7)));
    machine.ip("link delete up0").expect("gone");
    assert_eq!(status(&machine).enforced_on, [""; 0], "what is gone is not listed");
    machine.ip(&format!("link add up0 index 40 type veth peer name up1 netns {}", other.pid())).expect("a new wire");
    machine.ip("address add 192.0.2.1/24 dev up0\nlink set up0 up").expect("its near end");
    other.ip("address add 192.0.2.2/24 dev up1\nlink set up1 up").expect("its far end");
    machine.enter(|| open().attach_uplink("up0").expect("attached again, in spite of the stale pins")).expect("entered");
    assert!(arrives((&other, &outside), (&machine, &inside), &ike()));
    assert!(!arrives((&other, &outside), (&machine, &inside), &esp(7)));
}

#[test]
fn block_with_nothing_pinned_puts_every_interface_under_the_switch_by_itself() {
    let (machine, other) = pair();
    let (inside, outside) = (socket(&machine, "192.0.2.1:4500"), socket(&other, "192.0.2.2:4500"));
    let fresh = status(&machine);
    assert!(!fresh.blocked && fresh.enforced_on.is_empty() && fresh.not_enforced_on == ["up0"], "{fresh:?}");
    let blocked = turn(&machine, true);
    assert!(blocked.blocked && blocked.enforced_on == ["up0"] && blocked.not_enforced_on.is_empty(), "{blocked:?}");
    assert!(!arrives((&other, &outside), (&machine, &inside), &ike()) && !arrives((&machine, &inside), (&other, &outside), &ike()));
    turn(&machine, false);
    assert!(arrives((&other, &outside), (&machine, &inside), &ike()) && arrives((&machine, &inside), (&other, &outside), &ike()));
}

#[test]
fn an_interface_that_is_down_when_the_switch_blocks_comes_up_under_it() {
    let (machine, other) = pair();
    machine.ip(&format!("link add down0 index 41 type veth peer name down1 netns {}", other.pid())).expect("a wire that nobody uses yet");
    let blocked = turn(&machine, true);
    assert_eq!(blocked.enforced_on, ["up0", "down0"]);
    machine.ip("address add 198.51.99.1/24 dev down0\nlink set down0 up").expect("its near end");
    other.ip("address add 198.51.99.2/24 dev down1\nlink set down1 up").expect("its far end");
    let (inside, outside) = (socket(&machine, "198.51.99.1:4500"), socket(&other, "198.51.99.2:4500"));
    assert!(!arrives((&other, &outside), (&machine, &inside), &ike()) && !arrives((&machine, &inside), (&other, &outside), &ike()));
}

#[test]
fn the_switch_closes_the_configured_port_with_no_daemon() {
    let (machine, other) = pair();
    let elsewhere = Settings { port: 4600, ..Settings::new(STATE) };
    let sockets = |port: u16| (socket(&machine, &format!("192.0.2.1:{port}")), socket(&other, &format!("192.0.2.2:{port}")));
    let open_at = |sockets: &(UdpSocket, UdpSocket)| arrives((&other, &sockets.1), (&machine, &sockets.0), &ike());
    let (usual, configured) = (sockets(4500), sockets(4600));
    machine.enter(|| firewall::block(Path::new(PINS), &elsewhere).map(drop)).expect("entered").expect("blocked");
    assert_eq!((open_at(&usual), open_at(&configured)), (true, false));
    reboot(&machine);
    let restored = machine.enter(|| firewall::restore_on(Path::new(PINS), &elsewhere, "up0")).expect("entered");
    assert_eq!(restored.expect("put under the switch"), [""; 0]);
    assert_eq!((open_at(&usual), open_at(&configured)), (true, false));
}

/// Forgets everything the kernel holds, as a boot does.
fn reboot(machine: &Node) {
    machine.run("umount /sys/fs/bpf").expect("unmounted");
    machine.run("mount -t bpf bpf /sys/fs/bpf").expect("mounted");
}

#[test]
fn a_boot_restores_the_switch_and_a_choice_that_cannot_be_read_blocks() {
    let (machine, _other) = pair();
    let restored = || machine.enter(|| firewall::restore(Path::new(PINS), &Settings::new(STATE)).expect("restored")).expect("entered");
    turn(&machine, true);
    reboot(&machine);
    assert!(restored().blocked);
    assert_eq!(status(&machine).enforced_on, ["up0"]);
    reboot(&machine);
    machine.enter(|| assert!(open().blocked().expect("read"), "the daemon's start restores it too")).expect("entered");
    turn(&machine, false);
    reboot(&machine);
    machine.enter(|| assert!(!open().blocked().expect("read"))).expect("entered");
    reboot(&machine);
    machine.write("/var/lib/btmm/firewall", "alow\n").expect("damaged");
    machine
        .enter(|| {
            let datapath = open();
            assert!(datapath.blocked().expect("read"));
            let warning = datapath.warning().expect("a warning");
            assert!(warning.contains("/var/lib/btmm/firewall"), "{warning}");
        })
        .expect("entered");
    assert!(status(&machine).warning.is_some());
    let repaired = turn(&machine, false);
    assert_eq!((repaired.blocked, repaired.warning), (false, None));
}

#[test]
fn an_interface_that_appears_under_a_kept_block_is_put_under_it_without_a_daemon() {
    let (machine, other) = pair();
    let appears = |name: &str, subnet: u8| {
        machine.ip(&format!("link add {name} type veth peer name {name} netns {}", other.pid())).expect("a wire");
        let done = machine.enter(|| firewall::restore_on(Path::new(PINS), &Settings::new(STATE), name)).expect("entered");
        assert_eq!(done.expect("udev's program ends well"), [""; 0]);
        for (node, last) in [(&machine, 1), (&other, 2)] {
            node.ip(&format!("address add 198.51.{subnet}.{last}/24 dev {name}\nlink set {name} up")).expect("an address");
        }
        (socket(&machine, &format!("198.51.{subnet}.1:4500")), socket(&other, &format!("198.51.{subnet}.2:4500")))
    };
    appears("never0", 98);
    assert!(status(&machine).enforced_on.is_empty(), "the switch was never turned");
    turn(&machine, true);
    let (inside, outside) = appears("late0", 99);
    let found = status(&machine);
    assert!(found.enforced_on.contains(&"late0".to_owned()) && found.not_enforced_on.is_empty(), "{found:?}");
    assert!(!arrives((&other, &outside), (&machine, &inside), &ike()) && !arrives((&machine, &inside), (&other, &outside), &ike()));
    turn(&machine, false);
    assert!(arrives((&other, &outside), (&machine, &inside), &ike()) && arrives((&machine, &inside), (&other, &outside), &ike()));
    appears("open0", 100);
    assert_eq!(status(&machine).not_enforced_on, ["open0"], "nothing to hold back");

    turn(&machine, true);
    reboot(&machine);
    assert_eq!(status(&machine).not_enforced_on.len(), 4);
    for name in ["late0", "up0", "never0", "late0", "open0", "lo", "gone0"] {
        let done = machine.enter(|| firewall::restore_on(Path::new(PINS), &Settings::new(STATE), name)).expect("entered");
        let told: &[&str] = if name == "gone0" { &["no interface gone0"] } else { &[] };
        assert_eq!(done.expect("at boot, in any order, and again"), told, "{name}");
    }
    let booted = status(&machine);
    assert!(booted.blocked && booted.not_enforced_on.is_empty(), "{booted:?}");
    assert!(!arrives((&other, &outside), (&machine, &inside), &ike()) && !arrives((&machine, &inside), (&other, &outside), &ike()));
}

#[test]
fn another_layout_makes_the_maps_anew_and_carries_the_switch_over() {
    let (machine, _other) = pair();
    machine
        .enter(|| {
            let mut datapath = open();
            datapath.attach_uplink("up0").expect("attached");
            datapath.set_inbound_sa(7, true).expect("one SPI");
            block(&datapath, true);
        })
        .expect("entered");
    let pins = Path::new(PINS);
    let maps = machine.enter(|| std::fs::read_dir(pins.join("v1")).expect("maps").count()).expect("entered");
    // A daemon with other maps: an older folder, and in the present one a map that has the shape of another.
    let disturb = || {
        std::fs::create_dir(pins.join("v0"))?;
        std::fs::rename(pins.join("v1/counters"), pins.join("v0/counters"))?;
        std::fs::rename(pins.join("v1/inbound_sas"), pins.join("v1/config"))
    };
    machine.enter(disturb).expect("entered").expect("renamed");
    machine
        .enter(|| {
            let mut datapath = open();
            assert!(datapath.blocked().expect("read"), "the switch is the same");
            assert_eq!(datapath.counters().expect("counters"), btmmd::datapath::Counters::default(), "the others are new");
            datapath.attach_uplink("up0").expect("attached");
            assert!(!pins.join("v0").exists(), "what is left of the older layout is gone");
            assert_eq!(std::fs::read_dir(pins.join("v1")).expect("maps").count(), maps);
        })
        .expect("entered");
    assert!(status(&machine).blocked && status(&machine).enforced_on == ["up0"]);
}

#[test]
fn what_root_pins_belongs_to_the_owner_of_the_folder_and_a_purge_leaves_nothing() {
    let (machine, _other) = pair();
    let pins = Path::new(PINS);
    let owners = || {
        std::fs::create_dir(pins)?;
        std::os::unix::fs::chown(pins, Some(1234), Some(1234))?;
        firewall::block(pins, &Settings::new(STATE)).expect("blocked");
        let mut owners = Vec::new();
        for folder in [pins.to_owned(), pins.join("v1"), pins.join("links")] {
            for entry in std::fs::read_dir(folder)? {
                owners.push((entry.as_ref().map(std::fs::DirEntry::path).ok(), entry?.metadata()?.uid()));
            }
        }
        io::Result::Ok(owners)
    };
    let owners = machine.enter(owners).expect("entered").expect("listed");
    assert!(owners.len() >= 10 && owners.iter().all(|(_, owner)| *owner == 1234), "{owners:?}");
    let egress = machine.enter(|| open().uplinks().expect("uplinks").remove(0).egress).expect("entered");
    assert_eq!(egress_programs(&machine, "up0", egress), 1);
    machine.enter(|| btmmd::datapath::purge(pins)).expect("entered").expect("purged");
    assert!(!machine.enter(|| pins.exists()).expect("entered"));
    assert_eq!(egress_programs(&machine, "up0", egress), 0);
    let link = machine.run("ip -details link show up0").expect("ip").out;
    assert!(!link.contains("xdp"), "{link}");
}

#[test]
fn what_the_owner_of_the_folder_links_to_is_neither_given_to_it_nor_removed() {
    let (machine, _other) = pair();
    let (pins, theirs) = (Path::new(PINS), Path::new("/var/lib/btmm/theirs"));
    machine.write("/var/lib/btmm/theirs/file", "of root").expect("a file");
    let owner = |path: &str| std::fs::metadata(theirs.join(path)).map(|about| about.uid()).ok();
    let prepared = || {
        std::fs::create_dir(pins)?;
        std::os::unix::fs::chown(pins, Some(1234), Some(1234))?;
        firewall::block(pins, &Settings::new(STATE)).expect("blocked");
        for link in ["file", "links/file"] {
            std::os::unix::fs::symlink(theirs.join("file"), pins.join(link))?;
        }
        std::os::unix::fs::symlink(theirs, pins.join("v0"))
    };
    machine.enter(prepared).expect("entered").expect("links in the folder");
    machine
        .enter(|| {
            drop(open());
            assert_eq!((owner("file"), owner("")), (Some(0), Some(0)), "given away");
            std::fs::rename(pins.join("links"), pins.join("kept")).expect("renamed");
            std::os::unix::fs::symlink(theirs, pins.join("links")).expect("linked");
            let refused = Datapath::open(pins, &Settings::new(STATE)).map(drop).expect_err("links is a link").to_string();
            assert!(refused.starts_with("/sys/fs/bpf/btmm/links: "), "{refused}");
            btmmd::datapath::purge(pins).expect("purged");
            assert!(!pins.exists());
            assert_eq!(owner("file"), Some(0), "removed");
        })
        .expect("entered");
}

#[test]
fn errors_name_what_they_are_about() {
    let (machine, _other) = pair();
    machine
        .enter(|| {
            let mut datapath = open();
            match datapath.attach_uplink("nowhere") {
                Err(DatapathError::Interface(name)) => assert_eq!(name, "nowhere"),
                other => panic!("{other:?}"),
            }
            datapath.detach_uplink("nowhere").expect("nothing to detach is no error");
            nix::mount::umount("/sys/fs/bpf").expect("unmounted");
            nix::mount::mount(Some("t"), "/sys/fs/bpf", Some("tmpfs"), nix::mount::MsFlags::empty(), None::<&str>).expect("a tmpfs");
            let mounted = Datapath::open(Path::new(PINS), &Settings::new(STATE)).map(drop);
            assert!(mounted.is_ok(), "root gets its bpffs: {mounted:?}");
            let nowhere = Datapath::open(Path::new("/nowhere/at/all"), &Settings::new(STATE)).map(drop);
            let error = nowhere.expect_err("there is no folder for it").to_string();
            assert!(error.contains("/nowhere/at/all"), "{error}");
        })
        .expect("entered");
}
