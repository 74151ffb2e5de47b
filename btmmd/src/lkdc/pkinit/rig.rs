//! An account for tests: its CA, machines, a KDC and what it is asked.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use super::client::{KdcTrust, PkinitClientError, PkinitQuestion, PkinitReply, PkinitResult, Waiting, ask};
use super::error::{PkinitError, Refused};
use super::kdc::{PkinitAnswer, PkinitKdc, PkinitRequest};
use super::sign::Signatory;
use super::trust::Believers;
use crate::account::authority::Authority;
use crate::account::key::{KeyAlgorithm, MachineKey};
use crate::account::prefix::UlaPrefix;
use crate::account::public_key::PublicKey;
use crate::account::roster::{KeyHash, Machine, Roster};
use crate::entropy::SystemEntropy;
use crate::lkdc::crypto::Etype;
use crate::lkdc::crypto::dh::DhGroup;
use crate::lkdc::name::{Principal, RealmName};

pub(super) const BODY: &[u8] = b"the octets of a KDC-REQ-BODY";
pub(super) const SKEW: Duration = Duration::from_secs(300);

/// When the rosters here were made: after all certificates of [`now`].
const CHANGED: u64 = 1_800_000_000;

pub(super) fn now() -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::new(1_800_000_000, 123_456_000)
}

pub(super) fn account() -> Authority {
    let prefix = UlaPrefix::with_global_id([1, 2, 3, 4, 5]);
    Authority::create("alice".parse().unwrap(), "alice.btmm.internal".parse().unwrap(), prefix, now()).unwrap()
}

pub(super) fn signatory(account: &Authority, name: &str, algorithm: KeyAlgorithm, at: SystemTime) -> Signatory {
    let key = MachineKey::generate(algorithm).unwrap();
    let certificate = account.issue(&PublicKey::from_spki(key.spki()).unwrap(), &name.parse().unwrap(), at).unwrap();
    Signatory::new(Arc::new(key), certificate).unwrap()
}

pub(super) fn roster(account: &Authority, machines: &[(&str, &Signatory)]) -> Roster {
    let machine = |(name, signatory): &(&str, &Signatory)| Machine {
        name: name.parse().unwrap(),
        inner: account.trust().prefix.inner_address(signatory.spki()),
        key: KeyHash::of(signatory.spki()),
        joined_at: 1,
        base: false,
    };
    Roster::new(account.trust(), 1, CHANGED, machines.iter().map(machine).collect())
}

/// `imac` with its KDC, and `laptop`.
pub(super) struct Rig {
    pub(super) account: Authority,
    pub(super) imac: Signatory,
    pub(super) laptop: Signatory,
    pub(super) kdc: PkinitKdc,
    pub(super) realm: RealmName,
    pub(super) server: Principal,
}

/// One exchange, as far as the test wants it to be ordinary.
pub(super) struct Asked<'a> {
    pub(super) client: Principal,
    pub(super) signatory: Option<&'a Signatory>,
    pub(super) group: DhGroup,
    pub(super) may_reuse: bool,
    pub(super) token: Option<Vec<u8>>,
    pub(super) etypes: &'a [Etype],
    /// The client's clock.
    pub(super) at: SystemTime,
}

impl Rig {
    pub(super) fn new() -> Self {
        Self::of_kinds(KeyAlgorithm::EcdsaP256, KeyAlgorithm::EcdsaP256)
    }

    pub(super) fn of_kinds(imac: KeyAlgorithm, laptop: KeyAlgorithm) -> Self {
        let account = account();
        let (imac, laptop) = (signatory(&account, "imac", imac, now()), signatory(&account, "laptop", laptop, now()));
        let roster = roster(&account, &[("imac", &imac), ("laptop", &laptop)]);
        let believers = Believers::new(account.trust().clone(), Some(roster), ["alice".to_owned()]);
        let kdc = PkinitKdc::new(imac.clone(), believers, &mut SystemEntropy);
        let realm = RealmName::of_key(imac.spki());
        let server = Principal::krbtgt(realm.as_str());
        Self { account, imac, laptop, kdc, realm, server }
    }

    /// What `laptop` asks on an ordinary day.
    pub(super) fn ordinary(&self) -> Asked<'_> {
        Asked {
            client: Principal::user("alice"),
            signatory: Some(&self.laptop),
            group: DhGroup::P256,
            may_reuse: false,
            token: None,
            etypes: &[Etype::Aes256CtsHmacSha384_192],
            at: now(),
        }
    }

    pub(super) fn ask(&self, asked: &Asked<'_>) -> (Vec<u8>, Waiting) {
        let nonce = crate::lkdc::client::request::nonce(&mut SystemEntropy);
        let question = PkinitQuestion {
            req_body: BODY,
            nonce,
            freshness_token: asked.token.as_deref(),
            group: asked.group,
            may_reuse: asked.may_reuse,
        };
        ask(&question, asked.signatory, asked.at, &mut SystemEntropy).unwrap()
    }

    /// What the KDC says to `value`, in an AS-REQ that is nothing else.
    pub(super) fn answer(&self, asked: &Asked<'_>, value: &[u8], body: &[u8]) -> Result<PkinitAnswer, Refused> {
        let request = PkinitRequest {
            value,
            as_req: value,
            req_body: body,
            client: &asked.client,
            server: &self.server,
            realm: self.realm.as_str(),
            etypes: asked.etypes,
            skew: SKEW,
        };
        self.kdc.answer(&request, now(), &mut SystemEntropy)
    }

    pub(super) fn refusal(&self, asked: &Asked<'_>) -> PkinitError {
        let (value, _) = self.ask(asked);
        self.answer(asked, &value, BODY).unwrap_err().error
    }

    pub(super) fn finish(
        &self,
        asked: &Asked<'_>,
        waiting: &Waiting,
        as_req: &[u8],
        value: &[u8],
    ) -> Result<PkinitResult, PkinitClientError> {
        let etype = *asked.etypes.first().unwrap();
        let reply = PkinitReply { value, as_req, client: &asked.client, server: &self.server, etype };
        waiting.finish(&reply, self.trust(), now())
    }

    pub(super) fn trust(&self) -> KdcTrust<'_> {
        KdcTrust::Machine { trust: self.account.trust(), realm: &self.realm }
    }
}
