//! A peer that has the right certificate and the wrong intentions: whatever it seals into its messages, nothing panics, states are neither leaked nor
//! removed twice, and mistakes are answered by their name. The protocol at its best and worst weather is in the package `tests`.

use std::collections::BTreeSet;
use std::net::{Ipv6Addr, SocketAddr};
use std::time::Instant;

use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair};
use proptest::collection::vec;
use proptest::prelude::*;

use super::channel::Channel;
use super::codec::number::{notify, protocol};
use super::codec::payload::read_inner;
use super::codec::tests::payload;
use super::codec::{Delete, Exchange, Message, Notify, Payload, Selector};
use super::crypto::{Group, KeyShare};
use super::established::Established;
use super::port::*;
use super::table::Sa;
use super::{Ike, IkeConfig, suite};
use crate::entropy::SystemEntropy;

const ED25519_SPKI: [u8; 12] = [0x30, 0x2a, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x03, 0x21, 0x00];

/// A certificate that everybody believes: name, inner address, key.
struct Believed {
    name: &'static str,
    inner: Ipv6Addr,
    key: Ed25519KeyPair,
    certificate: Vec<u8>,
}

impl Believed {
    fn new(name: &'static str, last: u16) -> Self {
        let (inner, key) = (Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, 0, last), Ed25519KeyPair::generate().unwrap());
        let certificate = [inner.octets().as_slice(), &ED25519_SPKI, key.public_key().as_ref(), name.as_bytes()].concat();
        Self { name, inner, key, certificate }
    }
}

impl Credentials for Believed {
    fn certificate(&self) -> &[u8] {
        &self.certificate
    }

    fn name(&self) -> &str {
        self.name
    }

    fn inner(&self) -> Ipv6Addr {
        self.inner
    }

    fn algorithm(&self) -> SignatureAlgorithm {
        SignatureAlgorithm::Ed25519
    }

    fn sign(&self, message: &[u8]) -> Result<Option<Vec<u8>>, CredentialError> {
        Ok(Some(self.key.sign(message).as_ref().to_vec()))
    }

    fn verify_peer(&self, certificate: &[u8], _: &[&[u8]]) -> Result<PeerIdentity, CredentialError> {
        let (inner, rest) = certificate.split_first_chunk::<16>().ok_or_else(|| CredentialError("short".into()))?;
        let (spki, name) = rest.split_at(44);
        Ok(PeerIdentity { name: String::from_utf8(name.to_vec()).unwrap(), inner: (*inner).into(), spki: spki.to_vec() })
    }
}

/// A machine of ours and the channel of a peer that is up with it.
struct Victim {
    ike: Ike,
    installed: BTreeSet<SaRef>,
    attacker: Channel,
    next_id: u32,
    now: Instant,
}

fn addresses() -> [SocketAddr; 2] {
    ["192.0.2.1:4500".parse().unwrap(), "192.0.2.2:4500".parse().unwrap()]
}

impl Victim {
    fn new() -> Self {
        let (now, [a, b]) = (Instant::now(), addresses());
        let machine = |name, last| Ike::new(IkeConfig::default(), Box::new(Believed::new(name, last)), Box::new(SystemEntropy));
        let (mut attacker, mut ike) = (machine("a.x.y", 1), machine("b.x.y", 2));
        attacker
            .handle(Input::Initiate { peer: "b.x.y".into(), inner: Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, 0, 2), candidates: vec![b] }, now);
        let mut installed = BTreeSet::new();
        for _ in 0..2 {
            deliver(&mut attacker, &mut ike, a, b, now, |_| {});
            deliver(&mut ike, &mut attacker, b, a, now, |command| note(&mut installed, command));
        }
        assert_eq!((installed.len(), ike.counts().established), (2, 1));
        let channel = attacker.sas.into_values().find_map(|sa| match sa {
            Sa::Established(established) => Some(*established),
            _ => None,
        });
        let Established { channel, .. } = channel.expect("the attacker is up too");
        Self { ike, installed, attacker: channel, next_id: 2, now }
    }

    fn hear(&mut self, bytes: Vec<u8>) -> Vec<Payload> {
        let [a, b] = addresses();
        self.ike.handle(Input::Datagram { local: b, remote: a, bytes }, self.now);
        let mut answer = Vec::new();
        while let Some(command) = self.ike.poll_command() {
            note(&mut self.installed, &command);
            if let Command::Send { bytes, .. } = command
                && let Some(payloads) = self.opened(&bytes)
            {
                answer = payloads;
            }
        }
        answer
    }

    fn opened(&self, bytes: &[u8]) -> Option<Vec<Payload>> {
        let message = Message::parse(bytes).ok().filter(|message| message.header.response)?;
        let protected = message.protected?;
        let plain = self.attacker.keys.er.open(protected.associated, protected.content)?;
        read_inner(protected.first, &plain).ok()
    }

    fn request(&mut self, exchange: Exchange, payloads: &[Payload]) -> Vec<Payload> {
        let bytes = self.attacker.seal(exchange, false, self.next_id, payloads);
        self.next_id += 1;
        self.hear(bytes)
    }

    fn their_spis(&self) -> (u32, u32) {
        let status = &self.ike.status()[0];
        (status.child_in.unwrap(), status.child_out.unwrap())
    }

    /// A rekey request with everything right but what `bend` changes.
    fn rekey(&mut self, bend: impl FnOnce(&mut Vec<Payload>)) -> Vec<Payload> {
        let (_, attackers_inbound) = self.their_spis();
        let share = KeyShare::generate(Group::X25519, &mut SystemEntropy);
        let rekeyed =
            Notify { protocol: protocol::ESP, spi: attackers_inbound.to_be_bytes().to_vec(), kind: notify::REKEY_SA, data: Vec::new() };
        let mut payloads = vec![
            Payload::Notify(rekeyed),
            Payload::Sa(vec![suite::esp_proposal(1, Some(Group::X25519), 0x2222_2222)]),
            Payload::Nonce(vec![5; 32]),
            Payload::Ke { group: 31, data: share.public().to_vec() },
            Payload::TsI(vec![Selector::host(Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, 0, 1))]),
            Payload::TsR(vec![Selector::host(Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, 0, 2))]),
        ];
        bend(&mut payloads);
        self.request(Exchange::CREATE_CHILD_SA, &payloads)
    }
}

fn note(installed: &mut BTreeSet<SaRef>, command: &Command) {
    match command {
        Command::InstallSa(sa) => assert!(installed.insert(sa.sa_ref())),
        Command::RemoveSa(sa) => assert!(installed.remove(sa), "{sa:?} was not installed"),
        _ => {}
    }
}

fn deliver(from: &mut Ike, to: &mut Ike, source: SocketAddr, target: SocketAddr, now: Instant, mut see: impl FnMut(&Command)) {
    while let Some(command) = from.poll_command() {
        see(&command);
        if let Command::Send { bytes, .. } = command {
            to.handle(Input::Datagram { local: target, remote: source, bytes }, now);
        }
    }
}

fn only_error(answer: &[Payload]) -> u16 {
    match answer {
        [Payload::Notify(told)] => told.kind,
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_true_rekey_is_granted_and_its_repetition_refused() {
    let mut victim = Victim::new();
    assert!(victim.rekey(|_| {}).iter().any(|payload| matches!(payload, Payload::Sa(_))));
    assert_eq!(only_error(&victim.rekey(|_| {})), notify::TEMPORARY_FAILURE);
    assert_eq!(victim.installed.len(), 3);
}

#[test]
fn a_rekey_with_something_wrong_is_answered_by_its_name() {
    let mut victim = Victim::new();
    let wide = Selector::Range { protocol: 0, ports: (0, u16::MAX), first: Ipv6Addr::UNSPECIFIED.into(), last: Ipv6Addr::LOCALHOST.into() };
    assert_eq!(only_error(&victim.rekey(|request| request[4] = Payload::TsI(vec![wide]))), notify::TS_UNACCEPTABLE);
    assert_eq!(only_error(&victim.rekey(|request| request.truncate(4))), notify::TS_UNACCEPTABLE);
    assert_eq!(
        only_error(&victim.rekey(|request| request[1] = Payload::Sa(vec![suite::esp_proposal(1, Some(Group::P256), 0x2222_2222)]))),
        notify::NO_PROPOSAL_CHOSEN
    );
    assert_eq!(only_error(&victim.rekey(|request| request[3] = Payload::Ke { group: 19, data: vec![1; 64] })), notify::INVALID_KE_PAYLOAD);
    assert_eq!(only_error(&victim.rekey(|request| request[3] = Payload::Ke { group: 31, data: vec![0; 32] })), notify::INVALID_SYNTAX);
    assert_eq!(only_error(&victim.rekey(|request| drop(request.remove(2)))), notify::INVALID_SYNTAX);
    let unknown = Notify { protocol: protocol::ESP, spi: vec![9; 4], kind: notify::REKEY_SA, data: Vec::new() };
    assert_eq!(only_error(&victim.rekey(|request| request[0] = Payload::Notify(unknown))), notify::CHILD_SA_NOT_FOUND);
    assert_eq!(only_error(&victim.rekey(|request| drop(request.remove(0)))), notify::NO_ADDITIONAL_SAS);
    assert_eq!(victim.installed.len(), 2);
    assert!(victim.rekey(|_| {}).len() > 1, "after all that, a true one is still granted");
}

#[test]
fn an_unknown_critical_payload_is_named_and_an_unreadable_one_is_called_syntax() {
    let mut victim = Victim::new();
    let critical = victim.attacker.seal_raw(Exchange::INFORMATIONAL, false, 2, 222, &[0, 0x80, 0, 4]);
    assert!(
        matches!(victim.hear(critical).as_slice(), [Payload::Notify(told)] if told.kind == notify::UNSUPPORTED_CRITICAL_PAYLOAD && told.data == [222])
    );
    let broken = victim.attacker.seal_raw(Exchange::INFORMATIONAL, false, 3, 41, &[0, 0, 0, 3]);
    assert_eq!(only_error(&victim.hear(broken)), notify::INVALID_SYNTAX);
    assert_eq!(victim.ike.counts().established, 1);
}

#[test]
fn a_repeated_request_gets_the_same_answer_and_an_old_one_none() {
    let mut victim = Victim::new();
    let first = victim.attacker.seal(Exchange::INFORMATIONAL, false, 2, &[]);
    let [a, b] = addresses();
    let mut answers = Vec::new();
    for _ in 0..3 {
        victim.ike.handle(Input::Datagram { local: b, remote: a, bytes: first.clone() }, victim.now);
        answers.extend(std::iter::from_fn(|| victim.ike.poll_command()).map(|command| match command {
            Command::Send { bytes, .. } => bytes,
            other => panic!("{other:?}"),
        }));
    }
    assert!(answers.len() == 3 && answers.iter().all(|answer| *answer == answers[0]));
    victim.next_id = 3;
    victim.request(Exchange::INFORMATIONAL, &[]);
    victim.ike.handle(Input::Datagram { local: b, remote: a, bytes: first }, victim.now);
    assert!(victim.ike.poll_command().is_none(), "two requests ago");
}

fn exchange() -> impl Strategy<Value = Exchange> {
    prop_oneof![Just(Exchange::INFORMATIONAL), Just(Exchange::CREATE_CHILD_SA), Just(Exchange::AUTH), any::<u8>().prop_map(Exchange)]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]

    #[test]
    fn sealed_nonsense_neither_panics_nor_leaks(requests in vec((exchange(), vec(payload(), 0..5), any::<bool>()), 1..6)) {
        let mut victim = Victim::new();
        for (exchange, mut payloads, deletes) in requests {
            if deletes && victim.ike.counts().established > 0 {
                let (_, spi) = victim.their_spis();
                payloads.push(Payload::Delete(Delete { protocol: protocol::ESP, spis: vec![spi] }));
            }
            victim.request(exchange, &payloads);
        }
        victim.ike.handle(Input::Close { peer: "a.x.y".into() }, victim.now);
        while let Some(command) = victim.ike.poll_command() {
            note(&mut victim.installed, &command);
        }
        prop_assert!(victim.installed.is_empty());
    }

    #[test]
    fn a_rekey_request_with_anything_in_a_payloads_place_is_survived(at in 0..6usize, anything in payload()) {
        let mut victim = Victim::new();
        victim.rekey(|request| request[at] = anything);
        prop_assert!(victim.ike.counts().established == 1 || victim.installed.is_empty());
    }
}
