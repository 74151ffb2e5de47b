//! IKE with the account's own X.509 certificates.

use std::net::{Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Instant, SystemTime};

use btmmd::account::authority::Authority;
use btmmd::account::certificate::{AccountTrust, verify_peer};
use btmmd::account::key::{KeyAlgorithm, MachineKey};
use btmmd::account::prefix::UlaPrefix;
use btmmd::account::public_key::PublicKey;
use btmmd::entropy::SystemEntropy;
use btmmd::ike::{Command, CredentialError, Credentials, Ike, IkeConfig, Input, PeerIdentity, SignatureAlgorithm};

/// What every IPv6 path carries, less the headers of IPv6 and UDP and the non-ESP marker.
const UNFRAGMENTED: usize = 1280 - 40 - 8 - 4;

#[derive(Clone)]
struct Machine {
    key: Arc<MachineKey>,
    certificate: Vec<u8>,
    trust: AccountTrust,
    name: String,
    inner: Ipv6Addr,
}

impl Machine {
    fn new(authority: &Authority, name: &str, algorithm: KeyAlgorithm) -> Self {
        let (key, now, trust) = (MachineKey::generate(algorithm).unwrap(), SystemTime::now(), authority.trust().clone());
        let certificate = authority.issue(&PublicKey::from_spki(key.spki()).unwrap(), &name.parse().unwrap(), now).unwrap();
        let own = verify_peer(&certificate, &trust, now).unwrap();
        Self { key: Arc::new(key), certificate, trust, name: own.fqdn, inner: own.inner }
    }

    fn ike(&self) -> Ike {
        Ike::new(IkeConfig::default(), Box::new(self.clone()), Box::new(SystemEntropy))
    }
}

impl Credentials for Machine {
    fn certificate(&self) -> &[u8] {
        &self.certificate
    }

    fn name(&self) -> &str {
        &self.name
    }

    fn inner(&self) -> Ipv6Addr {
        self.inner
    }

    fn algorithm(&self) -> SignatureAlgorithm {
        match self.key.algorithm() {
            KeyAlgorithm::EcdsaP256 => SignatureAlgorithm::EcdsaP256Sha256,
            KeyAlgorithm::Ed25519 => SignatureAlgorithm::Ed25519,
        }
    }

    fn sign(&self, message: &[u8]) -> Result<Option<Vec<u8>>, CredentialError> {
        self.key.sign_soon(message).map_err(|error| CredentialError(error.to_string()))
    }

    fn verify_peer(&self, certificate: &[u8], _: &[&[u8]]) -> Result<PeerIdentity, CredentialError> {
        let peer = verify_peer(certificate, &self.trust, SystemTime::now()).map_err(|error| CredentialError(error.to_string()))?;
        Ok(PeerIdentity { name: peer.fqdn, inner: peer.inner, spki: peer.spki })
    }
}

fn account() -> Authority {
    let prefix: UlaPrefix = "fd12:3456:789a::/48".parse().unwrap();
    Authority::create("alice".parse().unwrap(), "alice.btmm.internal".parse().unwrap(), prefix, SystemTime::now()).unwrap()
}

/// Raises a tunnel from `a` to `b`; the answer is `a`'s last word on it and the longest message.
fn connect(a: &Machine, b: &Machine) -> (Command, usize) {
    let addresses: [SocketAddr; 2] = ["192.0.2.1:4500".parse().unwrap(), "192.0.2.2:4500".parse().unwrap()];
    let (mut ikes, now) = ([a.ike(), b.ike()], Instant::now());
    ikes[0].handle(Input::Initiate { peer: b.name.clone(), inner: b.inner, candidates: vec![addresses[1]] }, now);
    let (mut outcome, mut longest) = (None, 0);
    for turn in 0..8 {
        let from = turn % 2;
        while let Some(command) = ikes[from].poll_command() {
            match command {
                Command::Send { bytes, .. } => {
                    longest = longest.max(bytes.len());
                    ikes[1 - from].handle(Input::Datagram { local: addresses[1 - from], remote: addresses[from], bytes }, now);
                }
                told @ (Command::Up { .. } | Command::Failed { .. }) if from == 0 => outcome = Some(told),
                _ => {}
            }
        }
    }
    (outcome.expect("told something"), longest)
}

#[test]
fn certificates_of_both_kinds_of_key_raise_a_tunnel_without_fragments() {
    let account = account();
    for kinds in [[KeyAlgorithm::EcdsaP256, KeyAlgorithm::Ed25519], [KeyAlgorithm::Ed25519, KeyAlgorithm::EcdsaP256]] {
        let (a, b) = (Machine::new(&account, "imac", kinds[0]), Machine::new(&account, "laptop", kinds[1]));
        let (told, longest) = connect(&a, &b);
        assert!(matches!(&told, Command::Up { peer, inner, .. } if *peer == b.name && *inner == b.inner), "{told:?}");
        assert!(longest <= UNFRAGMENTED, "{longest} octets");
    }
}

#[test]
fn a_machine_of_another_account_is_refused_and_told_so() {
    let (ours, theirs) = (account(), account());
    let (a, b) = (Machine::new(&theirs, "imac", KeyAlgorithm::EcdsaP256), Machine::new(&ours, "laptop", KeyAlgorithm::EcdsaP256));
    let (told, _) = connect(&a, &b);
    let text = "laptop.alice.btmm.internal does not accept our certificate or signature";
    assert!(matches!(&told, Command::Failed { why, .. } if why.text == text), "{told:?}");
}

/// A machine whose key is somewhere slow: there is no signature before `ready`.
struct Slow {
    machine: Machine,
    ready: Arc<AtomicBool>,
}

impl Credentials for Slow {
    fn certificate(&self) -> &[u8] {
        self.machine.certificate()
    }

    fn name(&self) -> &str {
        self.machine.name()
    }

    fn inner(&self) -> Ipv6Addr {
        self.machine.inner()
    }

    fn algorithm(&self) -> SignatureAlgorithm {
        self.machine.algorithm()
    }

    fn sign(&self, message: &[u8]) -> Result<Option<Vec<u8>>, CredentialError> {
        if self.ready.load(Ordering::Relaxed) { self.machine.sign(message) } else { Ok(None) }
    }

    fn verify_peer(&self, certificate: &[u8], chain: &[&[u8]]) -> Result<PeerIdentity, CredentialError> {
        self.machine.verify_peer(certificate, chain)
    }
}

/// Two slow machines on a wire.
struct SlowPair {
    ikes: [Ike; 2],
    ready: [Arc<AtomicBool>; 2],
    told: Vec<Command>,
    now: Instant,
}

impl SlowPair {
    /// The first wants a tunnel to the second.
    fn new() -> Self {
        let account = account();
        let machines = ["imac", "laptop"].map(|name| Machine::new(&account, name, KeyAlgorithm::EcdsaP256));
        let ready: [Arc<AtomicBool>; 2] = Default::default();
        let (peer, inner) = (machines[1].name.clone(), machines[1].inner);
        let mut place = 0..;
        let mut ikes = machines.map(|machine| {
            let ready = Arc::clone(&ready[place.next().unwrap_or_default()]);
            Ike::new(IkeConfig::default(), Box::new(Slow { machine, ready }), Box::new(SystemEntropy))
        });
        let now = Instant::now();
        ikes[0].handle(Input::Initiate { peer, inner, candidates: vec![Self::ADDRESSES[1]] }, now);
        Self { ikes, ready, told: Vec::new(), now }
    }

    const ADDRESSES: [SocketAddr; 2] = [
        SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 1)), 4500),
        SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 2)), 4500),
    ];

    /// Carries messages until nobody has one; tells how many there were.
    fn carry(&mut self) -> usize {
        let mut carried = 0;
        while (0..2).any(|from| self.step(from, &mut carried)) {}
        carried
    }

    fn step(&mut self, from: usize, carried: &mut usize) -> bool {
        match self.ikes[from].poll_command() {
            Some(Command::Send { bytes, .. }) => {
                *carried += 1;
                let (local, remote) = (Self::ADDRESSES[1 - from], Self::ADDRESSES[from]);
                self.ikes[1 - from].handle(Input::Datagram { local, remote, bytes }, self.now);
                true
            }
            Some(told) => {
                self.told.extend((from == 0).then_some(told));
                true
            }
            None => false,
        }
    }

    /// The key of this machine has become ready.
    fn sign(&mut self, who: usize) {
        self.ready[who].store(true, Ordering::Relaxed);
        self.ikes[who].handle(Input::Signed, self.now);
    }
}

#[test]
fn a_signature_that_takes_its_time_holds_up_its_own_exchange_until_it_is_there() {
    let mut pair = SlowPair::new();
    assert_eq!(pair.carry(), 2, "IKE_SA_INIT needs no signature");
    pair.ikes[0].handle(Input::Signed, pair.now);
    assert_eq!(pair.carry(), 0, "somebody else's signature");
    pair.sign(0);
    assert_eq!(pair.carry(), 1, "IKE_AUTH");
    // Sent again, as to a peer that may not have heard it: it is neither answered nor taken for another one.
    pair.now += std::time::Duration::from_secs(1);
    pair.ikes[0].handle(Input::Timeout, pair.now);
    assert_eq!(pair.carry(), 1, "IKE_AUTH again");
    assert!(pair.told.is_empty(), "{:?}", pair.told);
    pair.sign(1);
    pair.carry();
    assert!(pair.told.iter().any(|told| matches!(told, Command::Up { .. })), "{:?}", pair.told);
    assert_eq!(pair.ikes[1].counts().established, 1);
}

#[test]
fn a_peer_that_is_silent_after_a_late_signature_is_what_is_told() {
    let mut pair = SlowPair::new();
    pair.carry();
    pair.now += std::time::Duration::from_secs(6);
    pair.sign(0);
    // The dial ends before the last transmission of IKE_AUTH.
    pair.now += std::time::Duration::from_secs(6);
    pair.ikes[0].handle(Input::Timeout, pair.now);
    pair.carry();
    let text = "laptop.alice.btmm.internal at 192.0.2.2:4500 did not answer IKE_AUTH";
    assert!(matches!(&pair.told[..], [Command::Failed { why, .. }] if why.text == text), "{:?}", pair.told);
}

#[test]
fn a_tunnel_whose_signature_never_comes_fails_and_leaves_nothing_half_open() {
    let mut pair = SlowPair::new();
    pair.carry();
    assert_eq!(pair.ikes[1].counts().half_open, 1);
    for _ in 0..200 {
        pair.now += std::time::Duration::from_secs(1);
        for ike in &mut pair.ikes {
            ike.handle(Input::Timeout, pair.now);
        }
        pair.carry();
    }
    let text = "no signature of imac.alice.btmm.internal has come from its key";
    assert!(matches!(&pair.told[..], [Command::Failed { why, .. }] if why.text == text), "{:?}", pair.told);
    let left = pair.ikes.each_ref().map(Ike::counts);
    assert!(left.iter().all(|left| left.half_open + left.dialling + left.established == 0), "{left:?}");
}
