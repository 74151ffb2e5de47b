//! Hostile bytes at PKINIT: signed messages, requests and replies are parsed or refused, never believed, and nothing panics.

use std::sync::{Arc, LazyLock, Mutex};
use std::time::{Duration, SystemTime};

use bolero::check;
use btmm_tests::damage::{self, Damage};
use btmmd::account::authority::Authority;
use btmmd::account::key::{KeyAlgorithm, MachineKey};
use btmmd::account::prefix::UlaPrefix;
use btmmd::account::public_key::PublicKey;
use btmmd::account::roster::{KeyHash, Machine, Roster};
use btmmd::entropy::SystemEntropy;
use btmmd::lkdc::crypto::Etype;
use btmmd::lkdc::crypto::dh::DhGroup;
use btmmd::lkdc::name::{Principal, RealmName};
use btmmd::lkdc::pkinit::client::{Waiting, ask, groups_offered};
use btmmd::lkdc::pkinit::{Believers, KdcTrust, PkinitAnswer, PkinitKdc, PkinitQuestion, PkinitReply, PkinitRequest, Refused, Signatory};

const BODY: &[u8] = b"a request's body";

/// A KDC, a client, and a true conversation between them.
struct Stage {
    account: Authority,
    kdc: PkinitKdc,
    realm: RealmName,
    server: Principal,
    client: Principal,
    /// By the laptop, and by a client that says nothing of itself.
    request: Vec<u8>,
    nobodys: Vec<u8>,
    reply: Vec<u8>,
    waiting: Waiting,
    spki: Vec<u8>,
}

fn now() -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_secs(1_800_000_000)
}

fn signatory(account: &Authority, name: &str) -> Signatory {
    let key = MachineKey::generate(KeyAlgorithm::EcdsaP256).expect("a key");
    let public = PublicKey::from_spki(key.spki()).expect("its public half");
    let certificate = account.issue(&public, &name.parse().expect("a name"), now()).expect("a certificate");
    Signatory::new(Arc::new(key), certificate).expect("that belong together")
}

impl Stage {
    fn new() -> Self {
        let prefix = UlaPrefix::with_global_id([1, 2, 3, 4, 5]);
        let (name, zone) = ("alice".parse().expect("a name"), "alice.btmm.internal".parse().expect("a zone"));
        let account = Authority::create(name, zone, prefix, now()).expect("an account");
        let (imac, laptop) = (signatory(&account, "imac"), signatory(&account, "laptop"));
        let realm = RealmName::of_key(imac.spki());
        let machines = [("imac", &imac), ("laptop", &laptop)].map(|(name, signatory)| Machine {
            name: name.parse().expect("a name"),
            inner: prefix.inner_address(signatory.spki()),
            key: KeyHash::of(signatory.spki()),
            joined_at: 0,
            base: false,
        });
        let roster = Roster::new(account.trust(), 1, 0, machines.to_vec());
        let believers = Believers::new(account.trust().clone(), Some(roster), ["alice".to_owned()]);
        let spki = imac.spki().to_vec();
        let kdc = PkinitKdc::new(imac, believers, &mut SystemEntropy);
        let question = PkinitQuestion { req_body: BODY, nonce: 7, freshness_token: None, group: DhGroup::X25519, may_reuse: true };
        let (request, waiting) = ask(&question, Some(&laptop), now(), &mut SystemEntropy).expect("a request");
        let (server, client) = (Principal::krbtgt(realm.as_str()), Principal::user("alice"));
        let (nobodys, _) = ask(&question, None, now(), &mut SystemEntropy).expect("a request");
        let mut stage = Self { account, kdc, realm, server, client, request, nobodys, reply: Vec::new(), waiting, spki };
        stage.reply = stage.answer(&stage.request).expect("the true request is answered").padata;
        stage
    }

    fn answer(&self, value: &[u8]) -> Result<PkinitAnswer, Refused> {
        self.answer_to(&self.client, value)
    }

    fn answer_to(&self, client: &Principal, value: &[u8]) -> Result<PkinitAnswer, Refused> {
        let request = PkinitRequest {
            value,
            as_req: value,
            req_body: BODY,
            client,
            server: &self.server,
            realm: self.realm.as_str(),
            etypes: &Etype::ALL,
            skew: Duration::from_secs(300),
        };
        self.kdc.answer(&request, now(), &mut SystemEntropy)
    }

    fn finish(&self, value: &[u8]) -> bool {
        let etype = Etype::ALL[0];
        let reply = PkinitReply { value, as_req: &self.request, client: &self.client, server: &self.server, etype };
        let trust = KdcTrust::Machine { trust: self.account.trust(), realm: &self.realm };
        self.waiting.finish(&reply, trust, now()).is_ok()
    }
}

static STAGE: LazyLock<Mutex<Stage>> = LazyLock::new(|| Mutex::new(Stage::new()));

fn stage() -> std::sync::MutexGuard<'static, Stage> {
    STAGE.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}

#[test]
fn any_bytes_are_refused_with_an_error_of_kerberos() {
    check!().for_each(|bytes: &[u8]| {
        let stage = stage();
        let refused = stage.answer(bytes).expect_err("nobody signed that");
        assert!((1..=100).contains(&refused.code()), "{refused}");
        let _ = refused.typed_data();
        assert!(!stage.finish(bytes));
        let _ = groups_offered(bytes);
    });
}

impl Stage {
    /// What is made of the laptop's request proves the laptop or nobody: octets that nobody signs may change.
    fn judge_request(&self, value: &[u8]) {
        if let Ok(answer) = self.answer(value) {
            let btmmd::lkdc::pkinit::Who::Machine(peer) = answer.who else { panic!("an anonymous alice") };
            assert_eq!(peer.name.as_str(), "laptop");
        }
    }

    /// What is made of a request that nobody signed proves nobody.
    fn judge_nobodys_request(&self, value: &[u8]) {
        assert!(self.answer(value).is_err(), "alice did not sign that");
        if let Ok(answer) = self.answer_to(&Principal::anonymous(), value) {
            assert_eq!(answer.who, btmmd::lkdc::pkinit::Who::Anonymous);
        }
    }

    /// What is believed of what is made of the reply has the KDC's key in it.
    fn judge_reply(&self, value: &[u8]) {
        assert!(!self.finish(value) || value.windows(self.spki.len()).any(|part| part == self.spki));
    }
}

#[test]
fn a_bent_request_proves_at_most_what_it_proved_before() {
    check!().with_type::<Damage>().for_each(|how| {
        let stage = stage();
        stage.judge_request(&damage::message(&stage.request, how));
    });
}

#[test]
fn a_bent_reply_is_still_the_kdcs_or_refused() {
    check!().with_type::<Damage>().for_each(|how| {
        let stage = stage();
        stage.judge_reply(&damage::message(&stage.reply, how));
    });
}

#[test]
fn a_bent_request_of_nobody_in_particular_proves_nobody() {
    check!().with_type::<Damage>().for_each(|how| {
        let stage = stage();
        stage.judge_nobodys_request(&damage::message(&stage.nobodys, how));
    });
}

#[test]
fn what_is_too_deep_or_too_long_is_refused() {
    damage::excessive(&[0x30, 0x80, 0xa0], |octets| {
        let stage = stage();
        assert!(stage.answer(octets).is_err() && stage.answer_to(&Principal::anonymous(), octets).is_err());
        assert!(!stage.finish(octets));
        let _ = groups_offered(octets);
    });
    // What is signed is DER inside octets.
    let [request, nobodys, reply] = {
        let stage = stage();
        [stage.request.clone(), stage.nobodys.clone(), stage.reply.clone()]
    };
    damage::excessive_inside(&request, |octets| stage().judge_request(octets));
    damage::excessive_inside(&nobodys, |octets| stage().judge_nobodys_request(octets));
    damage::excessive_inside(&reply, |octets| stage().judge_reply(octets));
}
