//! The realm of a machine by multicast DNS, on one port with a real avahi or systemd-resolved, which goes on answering for the host.
use std::collections::BTreeSet;
use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::time::{Duration, Instant};

use btmm_tests::lab::Resolved;
use btmm_tests::lab::kerberos::{Machine, Pair};
use btmmd::lkdc::discover::mdns::driver::{Mdns, Network};
use btmmd::lkdc::discover::mdns::{Announcement, PORT};
use btmmd::lkdc::name::RealmName;
use hickory_proto::op::{Message, Query};
use hickory_proto::rr::{Name, RData, RecordType};

const GROUP: Ipv4Addr = Ipv4Addr::new(224, 0, 0, 251);
const AVAHI: &str = "[server]\nhost-name=imac\nuse-ipv6=no\nenable-dbus=no\nallow-interfaces=wire\n[publish]\npublish-workstation=no\n";

/// A listener of multicast DNS on the laptop.
fn listener(laptop: &Machine) -> UdpSocket {
    let lan = laptop.lan;
    laptop.node.ip("route add 224.0.0.0/4 dev wire").expect("a way for multicast");
    let socket = laptop.node.enter(move || {
        let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, PORT))?;
        socket.join_multicast_v4(&GROUP, &lan)?;
        socket.set_read_timeout(Some(Duration::from_millis(200)))?;
        Ok::<_, std::io::Error>(socket)
    });
    socket.expect("entered").expect("a socket")
}

/// The texts and addresses heard until `enough`, asking for `name` every second.
fn hear(socket: &UdpSocket, name: &str, kind: RecordType, enough: impl Fn(&(u32, String)) -> bool) -> BTreeSet<(u32, String)> {
    let (until, mut asked, mut heard) = (Instant::now() + Duration::from_secs(20), None::<Instant>, BTreeSet::new());
    while Instant::now() < until && !heard.iter().any(&enough) {
        if asked.is_none_or(|asked| asked.elapsed() > Duration::from_secs(1)) {
            let mut question = Message::query();
            question.add_query(Query::query(Name::from_ascii(name).expect("a name"), kind));
            socket.send_to(&question.to_vec().expect("octets"), SocketAddr::from((GROUP, PORT))).expect("sent");
            asked = Some(Instant::now());
        }
        let mut buffer = [0; 9000];
        let Ok((count, _)) = socket.recv_from(&mut buffer) else { continue };
        let Ok(message) = Message::from_vec(&buffer[..count]) else { continue };
        let wanted = Name::from_ascii(name).expect("a name");
        heard.extend(message.answers.iter().filter(|record| record.name == wanted).filter_map(|record| match &record.data {
            RData::TXT(text) => Some((record.ttl, String::from_utf8_lossy(&text.txt_data.concat()).into_owned())),
            RData::A(address) => Some((record.ttl, address.to_string())),
            _ => None,
        }));
    }
    heard
}

/// How often records of `name` come within three seconds to who asks `whom` for them twenty times a second.
fn hear_from(socket: &UdpSocket, whom: SocketAddr, name: &str, kind: RecordType) -> usize {
    let wanted = Name::from_ascii(name).expect("a name");
    let mut question = Message::query();
    question.add_query(Query::query(wanted.clone(), kind));
    let question = question.to_vec().expect("octets");
    socket.set_read_timeout(Some(Duration::from_millis(50))).expect("a timeout");
    // What is said unasked, or was asked for before, comes first.
    std::thread::sleep(Duration::from_millis(1500));
    while socket.recv_from(&mut [0; 9000]).is_ok() {}
    let (until, mut heard) = (Instant::now() + Duration::from_secs(3), 0);
    while Instant::now() < until {
        socket.send_to(&question, whom).expect("sent");
        let mut buffer = [0; 9000];
        while let Ok((count, _)) = socket.recv_from(&mut buffer) {
            let answers = Message::from_vec(&buffer[..count]).map(|message| message.answers).unwrap_or_default();
            heard += answers.iter().filter(|record| record.name == wanted).count();
        }
    }
    heard
}

#[test]
fn beside_avahi_realm_and_host_are_both_told_and_the_realm_is_taken_back() {
    let pair = Pair::new().expect("two machines");
    pair.imac.write_foreign("/etc/avahi/avahi-daemon.conf", AVAHI).expect("written");
    let mut command = pair.imac.node.foreign("avahi-daemon");
    command.args(["--no-drop-root", "--no-chroot", "--no-rlimits"]);
    let mut avahi = pair.imac.node.spawn(command).expect("avahi");
    avahi.wait_for("Server startup complete", Duration::from_secs(20)).expect("avahi serves");
    both_told(&pair, || avahi.log());
}

#[test]
fn beside_resolved_realm_and_host_are_both_told_and_the_realm_is_taken_back() {
    let pair = Pair::new().expect("two machines");
    let resolved = Resolved::start(&pair.imac.node, "FallbackDNS=\nDNSSEC=no\nLLMNR=no\nMulticastDNS=yes\n").expect("resolved");
    resolved.control("mdns wire yes").expect("switched on");
    both_told(&pair, || resolved.log());
}

/// The machine's own responder tells its address, and ours tells its realm.
fn both_told(pair: &Pair, others_log: impl Fn() -> String) {
    let (imac, laptop) = (&pair.imac, &pair.laptop);
    let realm = RealmName::of_key(imac.key.spki());
    let announcement = Announcement::new("imac", &realm).expect("a name");
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().expect("a runtime");
    let index = imac.node.run("cat /sys/class/net/wire/ifindex").expect("its number").out.trim().parse().expect("a number");
    let socket = listener(laptop);
    let start = || {
        let _inside = runtime.enter();
        let network = |ipv6| Network { interface: "wire".to_owned(), index, ipv6 };
        Mdns::start(&announcement, [network(false), network(true)])
    };
    let mdns = imac.node.enter(start).expect("entered");
    assert_eq!(mdns.networks(), 2);

    let told = hear(&socket, "_kerberos.imac.local.", RecordType::TXT, |(_, text)| text == realm.as_str());
    assert_eq!(told, BTreeSet::from([(120, realm.to_string())]));
    // Asked as one machine asks another, and not as a link asks, only the host's own responder answers.
    let asked = hear_from(&socket, (imac.lan, PORT).into(), "_kerberos.imac.local.", RecordType::TXT);
    assert_eq!(asked, 0, "what is sent to the host's address is none of ours");
    let often = hear_from(&socket, (GROUP, PORT).into(), "_kerberos.imac.local.", RecordType::TXT);
    assert!((1..=4).contains(&often), "said {often} times in three seconds");
    let host = hear(&socket, "imac.local.", RecordType::A, |(_, address)| *address == imac.lan.to_string());
    assert!(
        host.iter().any(|(_, address)| *address == imac.lan.to_string()),
        "the host's own responder is silent: {host:?}\n{}",
        others_log()
    );
    drop(mdns);
    let told = hear(&socket, "_kerberos.imac.local.", RecordType::TXT, |(ttl, _)| *ttl == 0);
    assert!(told.contains(&(0, realm.to_string())), "no goodbye: {told:?}");
}
