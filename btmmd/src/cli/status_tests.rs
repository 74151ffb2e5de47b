use super::*;

fn sample() -> Status {
    serde_json::from_str(include_str!("../control/status.sample.json")).unwrap()
}

const NOW: i64 = 1_790_000_000;

#[test]
fn the_page_tells_everything_at_a_glance() {
    let expected = "\
laptop.alice.btmm.internal is on
account      alice
address      fd7a:1b2c:3d4e:0:89ab:cdef:123:4567
certificate  ends in 115 days
port         203.0.113.9:4500, mapped by NAT-PMP, renewed or gone in 1 h
zone         published, server 198.51.100.1:4500, last success 10 s ago
names        stub at 127.45.0.1:53: ask 127.45.0.1 for alice.btmm.internal
tickets      LKDC:9F86D081… at [fd7a:1b2c:3d4e:0:89ab:cdef:123:4567]:88, 11 principals, 4 given, 1 refused
uplinks      eth0 192.168.1.2 2001:db8::2 (xdp)
firewall     allow

MACHINE  INNER ADDRESS      ONLINE  TUNNEL          THROUGH                   RTT      IN         OUT      LAST SEEN
imac     fd7a:1b2c:3d4e::1  yes     up 5 min        198.51.100.7:4500 direct  23.4 ms  100.0 MiB  2.0 KiB  just now
mini     fd7a:1b2c:3d4e::2  no      down            -                         -        -          -        never
server   fd7a:1b2c:3d4e::3  yes     connecting 1 s  -                         -        -          -        2 h ago
mini: no answer from 203.0.113.77:4500

warning: no port mapping
  because: the router answers neither NAT-PMP nor UPnP
  do: enable NAT-PMP or UPnP on the router
";
    assert_eq!(render(&sample(), NOW, Paint(false)), expected);
}

#[test]
fn a_machine_without_an_account_is_told_how_to_get_one() {
    let status =
        Status { account: None, peers: vec![], health: vec![], uplinks: vec![], kdc: None, firewall: Firewall::Absent, ..sample() };
    let expected = "\
btmm is on, and this machine is in no account: \"btmm join CODE\", or \"btmm account create NAME --serve\"
port      203.0.113.9:4500, mapped by NAT-PMP, renewed or gone in 1 h
uplinks   none
firewall  absent: the gate is attached to no uplink
";
    assert_eq!(render(&status, NOW, Paint(false)), expected);
}

#[test]
fn colour_only_adds_escapes() {
    let status = Status { on: false, firewall: Firewall::Block, ..sample() };
    let (plain, coloured) = (render(&status, NOW, Paint(false)), render(&status, NOW, Paint(true)));
    assert!(!plain.contains('\u{1b}') && coloured.contains('\u{1b}'));
    let stripped: String = coloured
        .split('\u{1b}')
        .map(|part| part.split_once('m').filter(|_| part.starts_with('[')).map_or(part, |(_, rest)| rest))
        .collect();
    assert_eq!(stripped, plain);
}

#[test]
fn texts_from_elsewhere_cannot_write_to_the_terminal() {
    let evil = "a\u{1b}]0;x\u{7}\nb".to_owned();
    let mut status = sample();
    status.port_mapping.text = evil.clone();
    status.rendezvous.error = Some(evil.clone());
    status.rendezvous.server = Some(evil.clone());
    status.rendezvous.state = evil.clone();
    status.resolver.state = evil.clone();
    status.resolver.hint = Some(evil.clone());
    status.kdc.as_mut().unwrap().realm = evil.clone();
    status.health[0].what = evil.clone();
    status.health[0].cause = evil.clone();
    status.uplinks[0].name = evil.clone();
    status.uplinks[0].gate = Some(evil.clone());
    status.peers[1].tunnel = Tunnel::Down { cause: Some(evil.clone()) };
    status.peers[1].name = evil.clone();
    let account = status.account.as_mut().unwrap();
    (account.account, account.machine, account.zone) = (evil.clone(), evil.clone(), evil);
    let page = render(&status, NOW, Paint(false));
    assert!(!page.contains('\u{1b}') && !page.contains('\u{7}') && !page.contains("\nb"), "{page}");
}
