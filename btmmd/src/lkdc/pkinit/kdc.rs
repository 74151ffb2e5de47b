//! The KDC's half: from PA-PK-AS-REQ to PA-PK-AS-REP and the key that seals the reply (RFC 4556 §3.2.2, §3.2.3).

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use aws_lc_rs::digest::{SHA1_FOR_LEGACY_USE_ONLY, digest};
use subtle::ConstantTimeEq;

use super::algorithm::Digest;
use super::asn1::{AuthPack, DhRepInfo, KdcDhKeyInfo, PaPkAsReq, PkAuthenticator};
use super::cms::{self, SignedData};
use super::error::{PkinitError, Refused};
use super::freshness::FreshnessKey;
use super::group;
use super::kdf::{self, Exchange};
use super::oid;
use super::sign::Signatory;
use super::trust::Believers;
use crate::account::certificate::PeerIdentity;
use crate::entropy::Entropy;
use crate::lkdc::crypto::dh::{DhGroup, DhKeyPair, DhKeyPairs};
use crate::lkdc::crypto::pkinit_key::octetstring2key;
use crate::lkdc::crypto::{Etype, Key};
use crate::lkdc::name::Principal;

/// How long a key pair serves clients that allow it by sending a nonce (RFC 4556 §3.2.3.1): they cost the KDC half as much. Whoever
/// steals a pair from its memory can read the replies of this time.
pub const REUSE: Duration = Duration::from_secs(600);
/// How much longer clients are told that it lasts: their clocks may be ahead of ours.
const AHEAD: Duration = Duration::from_secs(300);

/// A request as the KDC received it.
#[derive(Clone, Copy, Debug)]
pub struct PkinitRequest<'a> {
    /// The value of PA-PK-AS-REQ.
    pub value: &'a [u8],
    /// The whole AS-REQ, as its sender encoded it.
    pub as_req: &'a [u8],
    /// The KDC-REQ-BODY in it, as its sender encoded it.
    pub req_body: &'a [u8],
    /// Whose ticket is asked for.
    pub client: &'a Principal,
    /// For which service.
    pub server: &'a Principal,
    /// In which realm.
    pub realm: &'a str,
    /// Encryption types that both sides know, the client's favourite first.
    pub etypes: &'a [Etype],
    /// How much the clocks may differ.
    pub skew: Duration,
}

/// Who made the request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Who {
    /// A machine of the account.
    Machine(Arc<PeerIdentity>),
    /// Somebody who does not say (RFC 8062).
    Anonymous,
}

/// What the client gets.
#[derive(Debug)]
pub struct PkinitAnswer {
    /// The value of PA-PK-AS-REP.
    pub padata: Vec<u8>,
    /// The key that seals the reply.
    pub reply_key: Key,
    /// Who asked.
    pub who: Who,
    /// Whether the request was proven to be made just now (RFC 8070).
    pub fresh: bool,
    /// What the client signed. Octets around it may differ, and even signatures: of one by ECDSA anybody can make a second.
    pub content: Vec<u8>,
}

/// What the KDC knows to answer with.
#[derive(Debug)]
pub struct PkinitKdc {
    signatory: Signatory,
    believers: Believers,
    freshness: FreshnessKey,
    reused: DhKeyPairs,
    require_freshness: bool,
}

impl PkinitKdc {
    /// A KDC that signs as `signatory`: the machine's key and sharing certificate.
    pub fn new(signatory: Signatory, believers: Believers, entropy: &mut dyn Entropy) -> Self {
        Self { signatory, believers, freshness: FreshnessKey::new(entropy), reused: DhKeyPairs::new(REUSE), require_freshness: false }
    }

    /// Refuses requests without a freshness token (RFC 8070 §2.3). Not for clients older than MIT krb5 1.17.
    #[must_use]
    pub fn requiring_freshness(self) -> Self {
        Self { require_freshness: true, ..self }
    }

    /// Whom it believes.
    pub fn believers(&self) -> &Believers {
        &self.believers
    }

    /// A token for a client that asks for one with an empty PA_AS_FRESHNESS.
    pub fn freshness_token(&self, now: SystemTime) -> Vec<u8> {
        self.freshness.token(now)
    }

    /// Answers a request, or says why not.
    pub fn answer(&self, request: &PkinitRequest<'_>, now: SystemTime, entropy: &mut dyn Entropy) -> Result<PkinitAnswer, Refused> {
        self.try_answer(request, now, entropy).map_err(|error| self.refuse(error, request))
    }

    fn try_answer(&self, request: &PkinitRequest<'_>, now: SystemTime, entropy: &mut dyn Entropy) -> Result<PkinitAnswer, PkinitError> {
        let message = PaPkAsReq::parse(request.value)?;
        let signed = SignedData::parse(message.signed_auth_pack, oid::PKINIT_AUTH_DATA)?;
        let who = self.identify(&signed, request, now)?;
        let pack = AuthPack::parse(signed.content())?;
        check_binding(&pack.authenticator, request, now)?;
        let fresh = self.check_freshness(&pack.authenticator, now)?;
        let (padata, reply_key) = self.agree(&pack, request, now, entropy)?;
        Ok(PkinitAnswer { padata, reply_key, who, fresh, content: signed.content().to_vec() })
    }

    /// Who signed, and whether they may be the client they ask for.
    fn identify(&self, signed: &SignedData<'_>, request: &PkinitRequest<'_>, now: SystemTime) -> Result<Who, PkinitError> {
        if signed.is_signed() == request.client.is_anonymous() {
            return Err(PkinitError::Signed { client: request.client.to_string(), signed: signed.is_signed() });
        }
        if !signed.is_signed() {
            return Ok(Who::Anonymous);
        }
        let peer = self.believers.believe(signed.certificate()?, now)?;
        signed.verify(oid::PKINIT_AUTH_DATA)?;
        if !self.believers.may_be(&peer, request.client) {
            return Err(PkinitError::WrongName { machine: peer.fqdn.clone(), client: request.client.to_string() });
        }
        Ok(Who::Machine(peer))
    }

    fn check_freshness(&self, authenticator: &PkAuthenticator<'_>, now: SystemTime) -> Result<bool, PkinitError> {
        match authenticator.freshness_token {
            Some(token) if self.freshness.is_fresh(token, now) => Ok(true),
            Some(_) => Err(PkinitError::Stale),
            None if self.require_freshness => Err(PkinitError::NotFresh),
            None => Ok(false),
        }
    }

    /// Agrees on a key with the client and writes the reply.
    fn agree(
        &self,
        pack: &AuthPack<'_>,
        request: &PkinitRequest<'_>,
        now: SystemTime,
        entropy: &mut dyn Entropy,
    ) -> Result<(Vec<u8>, Key), PkinitError> {
        let etype = *request.etypes.first().ok_or(PkinitError::NoEtype)?;
        let kdf = match &pack.supported_kdfs {
            Some(offered) => Some(kdf::choose(offered).ok_or(PkinitError::NoKdf)?),
            None => None,
        };
        let offered = pack.client_public_value.ok_or(PkinitError::NoKeyAgreement)?;
        let (group, public) = group::read_public(offered)?.ok_or(PkinitError::Group)?;
        let half = self.half(group, pack, now, entropy)?;
        let secret = half.pair.agree(&public).map_err(|_| PkinitError::Group)?;
        let info = KdcDhKeyInfo { public_value: &group::to_wire(group, half.pair.public()), nonce: half.nonce, expires: half.expires };
        let signed = cms::sign(oid::PKINIT_DH_KEY_DATA, &info.encode(), &self.signatory)?;
        let server_nonce = half.server_nonce.as_ref().map(<[u8; 32]>::as_slice);
        let padata = DhRepInfo { signed_data: &signed, server_dh_nonce: server_nonce, kdf: kdf.map(kdf::oid) }.encode();
        let PkinitRequest { realm, client, server, as_req, .. } = *request;
        let key = match kdf {
            Some(kdf) => Exchange { realm, client, server, as_req, pk_as_rep: &padata }.reply_key(kdf, &secret, etype),
            None => octetstring2key(etype, &[&secret, pack.client_dh_nonce.unwrap_or_default(), server_nonce.unwrap_or_default()]),
        };
        Ok((padata, key))
    }

    fn half(&self, group: DhGroup, pack: &AuthPack<'_>, now: SystemTime, entropy: &mut dyn Entropy) -> Result<Half, PkinitError> {
        if pack.client_dh_nonce.is_none() {
            let pair = DhKeyPair::generate(group, entropy).map_err(|_| PkinitError::Group)?;
            return Ok(Half { pair: Arc::new(pair), nonce: pack.authenticator.nonce, expires: None, server_nonce: None });
        }
        let (end, pair) = self.reused.pair(group, now, entropy).map_err(|_| PkinitError::Group)?;
        let mut server_nonce = [0; 32];
        entropy.fill(&mut server_nonce);
        Ok(Half { pair, nonce: 0, expires: Some(end + AHEAD), server_nonce: Some(server_nonce) })
    }

    fn refuse(&self, error: PkinitError, request: &PkinitRequest<'_>) -> Refused {
        let certificate = PaPkAsReq::parse(request.value)
            .ok()
            .and_then(|message| SignedData::parse(message.signed_auth_pack, oid::PKINIT_AUTH_DATA).ok()?.certificate().ok());
        // MIT's clients stop reading at the first that they do not know, and know modular ones only.
        let mut groups = DhGroup::ACCEPTABLE;
        groups.sort_by_key(|group| !group.is_modular());
        let groups = groups.map(group::algorithm);
        let data = error.typed_data(&self.believers.trust().ca, certificate, &groups);
        Refused { error, data }
    }
}

/// Our half of the agreement with one client.
struct Half {
    pair: Arc<DhKeyPair>,
    nonce: u32,
    expires: Option<SystemTime>,
    server_nonce: Option<[u8; 32]>,
}

/// Whether the signed part belongs to this very request, and was made now.
fn check_binding(authenticator: &PkAuthenticator<'_>, request: &PkinitRequest<'_>, now: SystemTime) -> Result<(), PkinitError> {
    let distance = now.duration_since(authenticator.at).unwrap_or_else(|error| error.duration());
    if distance > request.skew {
        return Err(PkinitError::Skew);
    }
    let mut bound = false;
    if let Some(checksum) = authenticator.checksum {
        // RFC 4556 §3.2.1 knows no digest but SHA-1 here. It guards only against mixing parts of the client's own requests.
        bound = same(digest(&SHA1_FOR_LEGACY_USE_ONLY, request.req_body).as_ref(), checksum)?;
    }
    if let Some((algorithm, checksum)) = authenticator.checksum2 {
        let algorithm = Digest::from_oid(algorithm).ok_or(PkinitError::NoChecksum)?;
        bound = same(algorithm.of(request.req_body).as_ref(), checksum)?;
    }
    if bound { Ok(()) } else { Err(PkinitError::NoChecksum) }
}

fn same(ours: &[u8], theirs: &[u8]) -> Result<bool, PkinitError> {
    if ours.ct_eq(theirs).into() { Ok(true) } else { Err(PkinitError::OtherRequest) }
}

#[cfg(test)]
mod tests;
