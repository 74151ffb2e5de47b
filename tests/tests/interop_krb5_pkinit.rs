//! Sharing certificates in place of passwords: MIT's own clients at our KDC, and each thing that it must refuse.

use std::io::{Read, Write};
use std::net::{Ipv6Addr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, SystemTime};

use btmm_tests::lab::Running;
use btmm_tests::lab::kerberos::{Conf, Machine, Pair, ZONE, pem};
use btmmd::account::authority::Authority;
use btmmd::account::key::{KeyAlgorithm, MachineKey};
use btmmd::account::public_key::PublicKey;
use btmmd::entropy::SystemEntropy;
use btmmd::lkdc::crypto::dh::DhGroup;
use btmmd::lkdc::pkinit::client::ask;
use btmmd::lkdc::pkinit::{PkinitQuestion, Signatory};

const YEAR: Duration = Duration::from_secs(366 * 24 * 3600);

fn pair() -> (Pair, Running) {
    Pair::with_kdc(&["--password", "alice=correct horse battery"]).expect("our KDC")
}

#[test]
fn a_certificate_gets_tickets_over_udp_and_tcp() {
    let (pair, _kdc) = pair();
    let laptop = &pair.laptop;
    for (limit, transport) in [("1", "stream"), ("32700", "dgram")] {
        laptop.configure(&Conf::new().realm_of(&pair.imac).set(&format!("udp_preference_limit = {limit}"))).expect("a krb5.conf");
        laptop.kinit_by_certificate(&[&pair.user("alice")]).expect("done");
        let trace = laptop.trace();
        assert!(trace.contains(&format!("from {transport} {}", pair.imac.inner)), "not over {transport}:\n{trace}");
        for step in
            ["PKINIT client verified DH reply", "matched KDC principal krbtgt/LKDC:SHA256.", "PKINIT client used KDF 2B06010502030602"]
        {
            assert!(trace.contains(step), "{step:?} is not in\n{trace}");
        }
        laptop.kvno(&[&pair.imac.service("host", &pair.imac.realm())]).expect("done");
        let list = laptop.klist(&["-e"]).expect("done").out;
        assert!(list.contains(&format!("Default principal: {}", pair.user("alice"))), "{list}");
        laptop.kdestroy().expect("done");
    }
}

#[test]
fn a_machine_is_itself_by_its_certificate() {
    let (pair, _kdc) = pair();
    let itself = format!("host/{}@{}", pair.laptop.fqdn(), pair.imac.realm());
    pair.laptop.kinit_by_certificate(&[&itself]).expect("done");
    assert!(pair.laptop.klist(&[]).expect("done").out.contains(&itself));
    let other = format!("host/{}@{}", pair.imac.fqdn(), pair.imac.realm());
    let refused = format!("{:#}", pair.laptop.kinit_by_certificate(&[&other]).expect_err("that is somebody else"));
    assert!(refused.contains("Client name mismatch"), "{refused}");
}

#[test]
fn stock_clients_agree_in_modp_groups_14_and_16() {
    let (pair, _kdc) = pair();
    // The public value alone makes the requests of the larger group larger, too.
    let mut lengths = Vec::new();
    for bits in ["2048", "4096"] {
        let conf = Conf::new().realm_of(&pair.imac).realm_with(&pair.imac.realm(), &format!("pkinit_dh_min_bits = {bits}"));
        pair.laptop.configure(&conf).expect("a krb5.conf");
        pair.laptop.kinit_by_certificate(&[&pair.user("alice")]).expect("done");
        let trace = pair.laptop.trace();
        let sizes = trace.split("Sending request (").skip(1).filter_map(|rest| rest.split(' ').next()?.parse::<usize>().ok());
        lengths.push(sizes.max().unwrap_or_default());
    }
    assert!(lengths[1] > lengths[0] + 700, "{lengths:?}");
}

#[test]
fn a_client_that_does_not_say_who_it_is_gets_armor_and_a_certificate_goes_inside() {
    let (pair, _kdc) = pair();
    let laptop = &pair.laptop;
    let armor = "FILE:/run/krb5/armor";
    laptop.kinit(&["-n", "-c", armor, &format!("@{}", pair.imac.realm())], None).expect("done");
    let list = laptop.klist(&["-f", "-c", armor]).expect("done").out;
    assert!(list.contains("Default principal: WELLKNOWN/ANONYMOUS@WELLKNOWN:ANONYMOUS"), "{list}");
    laptop.kinit_by_certificate(&["-T", armor, &pair.user("alice")]).expect("done");
    let trace = laptop.trace();
    assert!(trace.contains("FAST") && trace.contains("PKINIT client verified DH reply"), "{trace}");
}

#[test]
fn a_freshness_token_is_given_and_comes_back() {
    let (pair, _kdc) = pair();
    pair.laptop.kinit_by_certificate(&[&pair.user("alice")]).expect("done");
    assert!(pair.laptop.trace().contains("PKINIT client received freshness token from KDC"), "{}", pair.laptop.trace());
}

/// A key with a certificate of `authority`, in `NAME.key` and `NAME.pem` of the machine; the value for `X509_user_identity`.
fn credentials(machine: &Machine, authority: &Authority, name: &str, at: SystemTime) -> String {
    let key = MachineKey::generate(KeyAlgorithm::EcdsaP256).expect("a key");
    let public = PublicKey::from_spki(key.spki()).expect("its public half");
    let certificate = authority.issue(&public, &name.parse().expect("a name"), at).expect("a certificate");
    machine.write_credentials(name, &key, &certificate).expect("files");
    format!("X509_user_identity=FILE:/run/krb5/{name}.pem,/run/krb5/{name}.key")
}

#[test]
fn a_removed_machine_and_one_of_another_account_are_refused_each_with_its_own_error() {
    let (pair, kdc) = pair();
    let laptop = &pair.laptop;
    let refusal = |identity: &str| format!("{:#}", laptop.kinit(&["-X", identity, &pair.user("alice")], None).expect_err("refused"));
    // In possession of a certificate of the account, and not on its roster.
    let removed = credentials(laptop, &pair.authority, "lost", SystemTime::now() - Duration::from_secs(3600));
    let refused = refusal(&removed);
    assert!(refused.contains("Revoked certificate"), "{refused}\n{}", kdc.log());
    let (account, zone) = ("mallory".parse().expect("a name"), ZONE.parse().expect("a zone"));
    let prefix = pair.authority.trust().prefix;
    let theirs = Authority::create(account, zone, prefix, SystemTime::now()).expect("another account, as like ours as can be");
    laptop.write("theirs.pem", &pem("CERTIFICATE", &theirs.trust().ca)).expect("a file");
    // Its own account must be known to kinit, which would not send the certificate otherwise.
    let conf = Conf::new().realm_of(&pair.imac).realm_with(&pair.imac.realm(), "pkinit_anchors = FILE:/run/krb5/theirs.pem");
    laptop.configure(&conf).expect("a krb5.conf");
    let refused = refusal(&credentials(laptop, &theirs, "stranger", SystemTime::now()));
    assert!(refused.contains("Can't verify certificate"), "{refused}\n{}", kdc.log());
}

#[test]
fn an_expired_certificate_is_refused_with_its_own_error() {
    let (pair, kdc) = pair();
    // MIT's client looks at its own certificate first and sends nothing. So this is its request, signed anew.
    let requests = relay(&pair, |_| {});
    pair.laptop.kinit_by_certificate(&[&pair.user("alice")]).expect("done");
    let request = requests.recv().expect("its first request");
    let body = btmmd::lkdc::asn1::req_body(&request).expect("a body");
    let key = MachineKey::from_pem(pair.laptop.key.to_pem().expect("PEM").as_bytes()).expect("the laptop's key");
    let public = PublicKey::from_spki(key.spki()).expect("its public half");
    for (at, expected) in [(SystemTime::now() - 2 * YEAR, Some(71)), (SystemTime::now(), None)] {
        let certificate = pair.authority.issue(&public, &pair.laptop.name, at).expect("a certificate");
        let key = MachineKey::from_pem(key.to_pem().expect("PEM").as_bytes()).expect("a copy");
        let signatory = Signatory::new(Arc::new(key), certificate).expect("that belong together");
        let question = PkinitQuestion { req_body: body, nonce: 7, freshness_token: None, group: DhGroup::P256, may_reuse: false };
        let (value, _) = ask(&question, Some(&signatory), SystemTime::now(), &mut SystemEntropy).expect("a question");
        let reply = send(&pair.laptop, &pair, &as_req(&value, body));
        let refused = if reply.first() == Some(&AS_REP) { None } else { code(&reply) };
        assert_eq!(refused, expected, "{}", kdc.log());
    }
}

const AS_REP: u8 = 0x6b;
const KRB_ERROR: u8 = 0x7e;

/// An AS-REQ with nothing but PKINIT before its body.
fn as_req(value: &[u8], body: &[u8]) -> Vec<u8> {
    let number = |field: u8, number: u8| tlv(0xa0 | field, &[2, 1, number]);
    let padata = tlv(0x30, &[number(1, 16), tlv(0xa2, &tlv(4, value))].concat());
    let message = [number(1, 5), number(2, 10), tlv(0xa3, &tlv(0x30, &padata)), tlv(0xa4, body)].concat();
    tlv(0x6a, &tlv(0x30, &message))
}

fn tlv(tag: u8, contents: &[u8]) -> Vec<u8> {
    let length = u16::try_from(contents.len()).expect("not that long").to_be_bytes();
    [&[tag, 0x82, length[0], length[1]], contents].concat()
}

/// What the KDC answers to this machine.
fn send(from: &Machine, pair: &Pair, request: &[u8]) -> Vec<u8> {
    let ask = || exchange(&mut TcpStream::connect((pair.imac.inner, 88))?, request);
    from.node.enter(ask).expect("the node").expect("an answer")
}

/// A relay on `laptop` before the KDC: what `kinit` sends is told, and may be changed on its way.
fn relay(pair: &Pair, change: impl Fn(&mut Vec<u8>) + Send + 'static) -> Receiver<Vec<u8>> {
    let kdc = (pair.imac.inner, 88);
    let here = pair.laptop.node.enter(|| TcpListener::bind((Ipv6Addr::LOCALHOST, 88))).expect("the node").expect("a socket");
    let (told, requests) = channel();
    // Ends with the process, in the laptop's network.
    let serve = move || -> std::io::Result<()> {
        loop {
            let (mut client, _) = here.accept()?;
            let mut request = receive(&mut client)?;
            change(&mut request);
            let _ = told.send(request.clone());
            let reply = exchange(&mut TcpStream::connect(kdc)?, &request)?;
            client.write_all(&framed(&reply))?;
        }
    };
    pair.laptop.node.enter(|| std::thread::spawn(serve)).expect("the node");
    let conf = Conf::new().realm_with(&pair.imac.realm(), "kdc = [::1]:88").set("udp_preference_limit = 1");
    pair.laptop.configure(&conf).expect("a krb5.conf");
    requests
}

/// With its length before it (RFC 4120 §7.2.2).
fn framed(message: &[u8]) -> Vec<u8> {
    [&u32::try_from(message.len()).expect("not that long").to_be_bytes(), message].concat()
}

fn receive(stream: &mut TcpStream) -> std::io::Result<Vec<u8>> {
    let mut length = [0; 4];
    stream.read_exact(&mut length)?;
    let mut message = vec![0; usize::try_from(u32::from_be_bytes(length)).expect("at least 32 bits")];
    stream.read_exact(&mut message)?;
    Ok(message)
}

fn exchange(stream: &mut TcpStream, request: &[u8]) -> std::io::Result<Vec<u8>> {
    stream.write_all(&framed(request))?;
    receive(stream)
}

/// The error code of a KRB-ERROR: `[6] INTEGER`.
fn code(reply: &[u8]) -> Option<u8> {
    assert_eq!(reply.first(), Some(&KRB_ERROR), "a KRB-ERROR");
    reply.windows(5).find_map(|octets| match octets {
        [0xa6, 3, 2, 1, code] => Some(*code),
        _ => None,
    })
}

#[test]
fn a_tampered_auth_pack_is_refused_with_its_own_error() {
    let (pair, kdc) = pair();
    // id-pkinit-authData stands before the signed AuthPack: the octet after it that tells cusec's first digit is changed.
    let requests = relay(&pair, |request| {
        let content_type = [0x2b, 6, 1, 5, 2, 3, 1];
        if let Some(at) = request.windows(7).position(|octets| octets == content_type) {
            let cusec = request[at..].windows(2).position(|octets| octets == [0xa0, 5]).map(|start| at + start + 6);
            request[cusec.expect("a cusec of three octets")] ^= 1;
        }
    });
    let refused = format!("{:#}", pair.laptop.kinit_by_certificate(&[&pair.user("alice")]).expect_err("refused"));
    assert!(refused.contains("Invalid signature"), "{refused}\n{}", kdc.log());
    assert!(requests.iter().take(2).count() == 2);
}

#[test]
fn a_replayed_request_is_refused_with_its_own_error_and_a_repeated_one_gets_its_reply_again() {
    let (pair, kdc) = pair();
    let requests = relay(&pair, |_| {});
    pair.laptop.kinit_by_certificate(&[&pair.user("alice")]).expect("done");
    let request = requests.iter().take(2).last().expect("the request with a proof");
    assert!(request.len() > 1500, "{} octets", request.len());
    assert_eq!(send(&pair.laptop, &pair, &request).first(), Some(&AS_REP), "lost replies are sent again");
    // KRB_AP_ERR_REPEAT
    assert_eq!(code(&send(&pair.imac, &pair, &request)), Some(34), "{}", kdc.log());
}
