//! Who is let in, and what those hear who are not. The initiator's cause names the notification it was answered with.

use std::net::Ipv6Addr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use btmm_tests::sim::Sim;
use btmm_tests::sim::credentials::{Authority, Held, Identity};
use btmm_tests::sim::node::{Node, Told};
use btmmd::ike::{Cause, CredentialError, Credentials, Ike, IkeConfig, Input, PeerIdentity, Reason, SignatureAlgorithm};

const ED25519: SignatureAlgorithm = SignatureAlgorithm::Ed25519;

fn inner(last: u16) -> Ipv6Addr {
    Ipv6Addr::new(0xfd12, 0x3456, 0x789a, 0, 0, 0, 0, last)
}

/// A machine that lies about one thing, or stops believing the others.
struct Liar {
    held: Held,
    removed: Arc<AtomicBool>,
    inner: Option<Ipv6Addr>,
    name: Option<&'static str>,
    bent: bool,
    keyless: bool,
}

impl Credentials for Liar {
    fn certificate(&self) -> &[u8] {
        self.held.certificate()
    }

    fn name(&self) -> &str {
        self.name.unwrap_or(self.held.name())
    }

    fn inner(&self) -> Ipv6Addr {
        self.inner.unwrap_or(self.held.inner())
    }

    fn algorithm(&self) -> SignatureAlgorithm {
        self.held.algorithm()
    }

    fn sign(&self, message: &[u8]) -> Result<Option<Vec<u8>>, CredentialError> {
        if self.keyless {
            return Err(CredentialError("there is no token \"card\"".to_owned()));
        }
        let mut signature = self.held.sign(message)?;
        if let Some(signature) = &mut signature {
            signature[7] ^= u8::from(self.bent);
        }
        Ok(signature)
    }

    fn verify_peer(&self, certificate: &[u8], intermediates: &[&[u8]]) -> Result<PeerIdentity, CredentialError> {
        match self.removed.load(Ordering::Relaxed) {
            true => Err(CredentialError("removed".to_owned())),
            false => self.held.verify_peer(certificate, intermediates),
        }
    }
}

struct Cast {
    authority: Arc<Authority>,
    a: Arc<Identity>,
    b: Arc<Identity>,
}

impl Cast {
    fn new() -> Self {
        let authority = Authority::new();
        let a = Identity::new(&authority, "a.x.internal", inner(1), ED25519);
        let b = Identity::new(&authority, "b.x.internal", inner(2), ED25519);
        Self { authority, a, b }
    }

    fn sim(&self) -> Sim {
        let mut sim = Sim::new(1, &IkeConfig::default());
        sim.nodes[0] = Node::of(self.a.clone(), self.b.clone(), 0, IkeConfig::default(), 1);
        sim.nodes[1] = Node::of(self.b.clone(), self.a.clone(), 1, IkeConfig::default(), 2);
        sim
    }

    fn liar(&self, node: usize) -> Liar {
        Liar { held: Held([&self.a, &self.b][node].clone()), removed: Arc::default(), inner: None, name: None, bent: false, keyless: false }
    }
}

/// Machine 0 dials machine 1 and must fail; nothing may be installed anywhere, ever.
fn refused(mut sim: Sim) -> Cause {
    sim.want(0);
    sim.nodes[0].wanted = false;
    sim.run_for(Duration::from_secs(60));
    assert!(sim.nodes.iter().all(|node| !node.kernel.ever_used() && !node.is_up()));
    sim.empty().unwrap();
    assert!(sim.nodes[1].told.is_empty(), "a responder that refuses tells nobody: {:?}", sim.nodes[1].told);
    match sim.nodes[0].told.as_slice() {
        [Told::Failed(why)] => why.clone(),
        other => panic!("{other:?}"),
    }
}

fn with_liar(cast: &Cast, node: usize, liar: Liar) -> Sim {
    let mut sim = cast.sim();
    sim.nodes[node].ike = Ike::new(IkeConfig::default(), Box::new(liar), Box::new(btmm_tests::sim::random::Random::new(5)));
    sim
}

#[test]
fn honest_machines_get_through() {
    let mut sim = Cast::new().sim();
    sim.want(0);
    sim.run_for(Duration::from_secs(1));
    sim.converged().unwrap();
}

#[test]
fn an_initiator_of_another_authority_hears_authentication_failed() {
    let (ours, theirs) = (Cast::new(), Cast::new());
    let mut sim = ours.sim();
    sim.nodes[0] = Node::of(theirs.a.clone(), ours.b.clone(), 0, IkeConfig::default(), 1);
    let why = refused(sim);
    assert_eq!(
        (why.reason, why.text.as_str()),
        (Reason::AuthenticationFailed, "b.x.internal does not accept our certificate or signature")
    );
}

#[test]
fn an_initiator_with_a_wrong_signature_hears_authentication_failed() {
    let cast = Cast::new();
    let why = refused(with_liar(&cast, 0, Liar { bent: true, ..cast.liar(0) }));
    assert_eq!(
        (why.reason, why.text.as_str()),
        (Reason::AuthenticationFailed, "b.x.internal does not accept our certificate or signature")
    );
}

#[test]
fn an_initiator_that_takes_another_name_than_its_certificates_hears_authentication_failed() {
    let cast = Cast::new();
    let why = refused(with_liar(&cast, 0, Liar { name: Some("c.x.internal"), ..cast.liar(0) }));
    assert_eq!(
        (why.reason, why.text.as_str()),
        (Reason::AuthenticationFailed, "b.x.internal does not accept our certificate or signature")
    );
}

#[test]
fn an_initiator_that_wants_traffic_of_another_address_hears_ts_unacceptable() {
    let cast = Cast::new();
    let why = refused(with_liar(&cast, 0, Liar { inner: Some(inner(9)), ..cast.liar(0) }));
    assert_eq!((why.reason, why.text.as_str()), (Reason::TrafficSelectors, "b.x.internal does not accept the two inner addresses"));
}

#[test]
fn a_responder_with_a_wrong_signature_is_not_believed() {
    let cast = Cast::new();
    let mut sim = with_liar(&cast, 1, Liar { bent: true, ..cast.liar(1) });
    sim.want(0);
    sim.nodes[0].wanted = false;
    sim.run_for(Duration::from_secs(60));
    assert!(!sim.nodes[0].kernel.ever_used());
    assert!(matches!(&sim.nodes[0].told[..], [Told::Failed(why)] if why.text == "b.x.internal: the signature does not verify"));
    // It believed itself up until it was told otherwise.
    assert!(matches!(&sim.nodes[1].told[..], [Told::Up, Told::Down(why)] if why.reason == Reason::PeerClosed));
    sim.empty().unwrap();
}

#[test]
fn whose_key_is_out_of_reach_is_told_at_either_end() {
    let cast = Cast::new();
    let own = refused(with_liar(&cast, 0, Liar { keyless: true, ..cast.liar(0) }));
    assert_eq!((own.reason, own.text.as_str()), (Reason::OwnCredentials, "cannot sign for a.x.internal: there is no token \"card\""));
    let theirs = refused(with_liar(&cast, 1, Liar { keyless: true, ..cast.liar(1) }));
    let text = "b.x.internal cannot sign now: its own key is out of reach (see btmm status there)";
    assert_eq!((theirs.reason, theirs.text.as_str()), (Reason::PeerCredentials, text));
}

#[test]
fn a_responder_with_another_address_than_wanted_is_not_believed() {
    let cast = Cast::new();
    let wanted = Identity::new(&cast.authority, "b.x.internal", inner(77), ED25519);
    let mut sim = cast.sim();
    sim.nodes[0] = Node::of(cast.a.clone(), wanted, 0, IkeConfig::default(), 1);
    let why = refused(sim);
    assert_eq!(why.reason, Reason::WrongPeer);
    assert_eq!(why.text, "198.51.100.2:4500 answered as b.x.internal (fd12:3456:789a::2), not b.x.internal (fd12:3456:789a::4d)");
}

#[test]
fn a_responder_that_is_not_the_one_asked_for_refuses() {
    let cast = Cast::new();
    let wanted = Identity::new(&cast.authority, "c.x.internal", inner(2), ED25519);
    let mut sim = cast.sim();
    sim.nodes[0] = Node::of(cast.a.clone(), wanted, 0, IkeConfig::default(), 1);
    let why = refused(sim);
    assert_eq!(
        (why.reason, why.text.as_str()),
        (Reason::AuthenticationFailed, "c.x.internal does not accept our certificate or signature")
    );
}

#[test]
fn a_peer_that_is_not_believed_any_more_loses_its_states_at_once_and_does_not_come_back() {
    let (cast, removed) = (Cast::new(), Arc::new(AtomicBool::new(false)));
    let mut sim = with_liar(&cast, 1, Liar { removed: removed.clone(), ..cast.liar(1) });
    sim.want(0);
    sim.run_for(Duration::from_secs(1));
    sim.input(1, Input::TrustChanged);
    sim.run_for(Duration::from_secs(1));
    sim.converged().expect("whoever is still believed stays");

    removed.store(true, Ordering::Relaxed);
    // It does not answer.
    sim.network.loss = 1000;
    sim.input(1, Input::TrustChanged);
    assert_eq!((sim.nodes[1].kernel.count(), sim.nodes[1].ike.counts().established), ((0, 0), 0), "no time has passed");
    let text = "a.x.internal is not believed any more: removed";
    assert!(matches!(&sim.nodes[1].told[..], [Told::Up, Told::Down(why)] if why.reason == Reason::NotBelieved && why.text == text));
    sim.run_for(Duration::from_secs(5));

    sim.network.heal();
    sim.run_for(Duration::from_secs(600));
    assert_eq!((sim.nodes[1].told.len(), sim.nodes[1].kernel.count()), (2, (0, 0)), "{:?}", sim.nodes[1].told);
    assert_eq!(sim.nodes[0].kernel.count(), (0, 0));
    let refused = |told: &Told| matches!(told, Told::Failed(why) if why.reason == Reason::AuthenticationFailed);
    assert!(sim.nodes[0].told.last().is_some_and(refused), "{:?}", sim.nodes[0].told.last());
}

#[test]
fn a_certificate_that_has_run_out_ends_its_tunnel_at_the_next_renewal_whoever_begins_it() {
    for begins in 0..2 {
        let (cast, run_out) = (Cast::new(), Arc::new(AtomicBool::new(false)));
        let mut sim = with_liar(&cast, 1, Liar { removed: run_out.clone(), ..cast.liar(1) });
        sim.want(0);
        sim.run_for(Duration::from_secs(1));
        sim.nodes[0].wanted = false;
        run_out.store(true, Ordering::Relaxed);
        let peer = sim.nodes[begins].peer();
        sim.input(begins, Input::RekeyIke { peer });
        sim.run_for(Duration::from_secs(1));
        assert!(
            matches!(&sim.nodes[1].told[..], [Told::Up, Told::Down(why)] if why.reason == Reason::NotBelieved),
            "{:?}",
            sim.nodes[1].told
        );
        assert!(
            matches!(&sim.nodes[0].told[..], [Told::Up, Told::Down(why)] if why.reason == Reason::PeerClosed),
            "{:?}",
            sim.nodes[0].told
        );
        sim.run_for(Duration::from_secs(60));
        sim.empty().unwrap();
    }
}
