//! IKE with the account's own X.509 certificates.

use std::net::{Ipv6Addr, SocketAddr};
use std::sync::Arc;
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

    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, CredentialError> {
        self.key.sign(message).map_err(|error| CredentialError(error.to_string()))
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
