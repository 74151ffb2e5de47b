//! The client's half: a signed request, and the KDC's reply checked down to the key that the realm's name promises.

use std::time::{Duration, SystemTime};

use aws_lc_rs::digest::{SHA1_FOR_LEGACY_USE_ONLY, digest};
use zeroize::Zeroizing;

use super::algorithm::Digest;
use super::asn1::{AuthPack, DhRepInfo, KdcDhKeyInfo, PaPkAsReq, PkAuthenticator};
use super::certificate::Parts;
use super::cms::{self, CmsError, SignedData};
use super::der::{self, DerError, Value};
use super::error::TD_DH_PARAMETERS;
use super::group;
use super::kdf::{self, Exchange};
use super::oid;
use super::sign::Signatory;
use crate::account::certificate::{self, AccountTrust, CertificateError, PeerIdentity, Purpose};
use crate::entropy::Entropy;
use crate::lkdc::crypto::dh::{DhGroup, DhKeyPair};
use crate::lkdc::crypto::pkinit_key::{PkinitKdf, octetstring2key};
use crate::lkdc::crypto::{Etype, Key};
use crate::lkdc::name::{Principal, RealmName};

/// The longest that a KDC may use one key pair.
const LONGEST_REUSE: Duration = Duration::from_secs(24 * 3600);

/// The derivations that we offer and accept.
const ACCEPTED_KDFS: [PkinitKdf; 3] = [PkinitKdf::Sha256, PkinitKdf::Sha512, PkinitKdf::Sha384];

/// Why a KDC was not believed, or no request could be made.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PkinitClientError {
    /// Not what RFC 4556 describes.
    #[error("the KDC's reply: {0}")]
    Malformed(#[from] DerError),
    /// The signed part of the reply, or our own signature.
    #[error(transparent)]
    Cms(#[from] CmsError),
    /// The KDC's certificate.
    #[error(transparent)]
    Certificate(#[from] CertificateError),
    /// The account vouches for this machine, but it is not the one whose realm was asked.
    #[error("{machine} poses as the KDC of {realm}: that realm's name stands for another key")]
    Impostor {
        /// Who signed.
        machine: String,
        /// Whom we asked.
        realm: RealmName,
    },
    /// The certificate is not that of a KDC of this realm.
    #[error("the KDC's certificate is not for the realm {realm}")]
    OtherRealm {
        /// Whom we asked.
        realm: String,
    },
    /// The reply belongs to another request.
    #[error("the KDC's reply belongs to another request")]
    OtherRequest,
    /// The KDC uses a key pair again without our leave, or for too long.
    #[error("the KDC uses a key pair that it should not use")]
    Reuse,
    /// The KDC derives the key in a way that we did not offer.
    #[error("the KDC derives the key in a way that was not offered")]
    Kdf,
    /// The group to agree in is too weak.
    #[error("the group to agree in is too weak")]
    WeakGroup,
    /// The KDC's public value is not in the group.
    #[error("the KDC's public value is not acceptable")]
    PublicValue,
}

/// Who a KDC must be.
#[derive(Clone, Copy, Debug)]
pub enum KdcTrust<'a> {
    /// The machine of the account that the realm names.
    Machine {
        /// Whom the account believes.
        trust: &'a AccountTrust,
        /// The realm asked.
        realm: &'a RealmName,
    },
    /// Any KDC of `realm` that this CA vouches for, such as one of MIT krb5.
    Authority {
        /// The CA's certificate, DER.
        ca: &'a [u8],
        /// The realm asked.
        realm: &'a str,
    },
}

/// What a client wants to ask.
#[derive(Clone, Copy, Debug)]
pub struct PkinitQuestion<'a> {
    /// The KDC-REQ-BODY as it is sent.
    pub req_body: &'a [u8],
    /// The body's nonce, used here too: MIT krb5's KDC sends that one back where RFC 4556 §3.2.3.1 has the PKAuthenticator's.
    pub nonce: u32,
    /// The token from the KDC's PA_AS_FRESHNESS.
    pub freshness_token: Option<&'a [u8]>,
    /// The group to agree in.
    pub group: DhGroup,
    /// Whether the KDC may use its key pair for others as well: faster for it.
    pub may_reuse: bool,
}

/// A question that waits for its reply.
#[derive(Debug)]
pub struct Waiting {
    pair: DhKeyPair,
    group: DhGroup,
    nonce: u32,
    dh_nonce: Option<[u8; 32]>,
}

/// A reply, with the request that it answers.
#[derive(Clone, Copy, Debug)]
pub struct PkinitReply<'a> {
    /// The value of PA-PK-AS-REP.
    pub value: &'a [u8],
    /// The whole AS-REQ that was sent.
    pub as_req: &'a [u8],
    /// The client in it.
    pub client: &'a Principal,
    /// The service in it.
    pub server: &'a Principal,
    /// The encryption type of the AS-REP's encrypted part.
    pub etype: Etype,
}

/// What a reply that was believed gives.
#[derive(Debug)]
pub struct PkinitResult {
    /// The key that opens the AS-REP.
    pub reply_key: Key,
    /// The machine that answered; `None` for a KDC that is no machine of the account.
    pub kdc: Option<PeerIdentity>,
}

/// The value of PA-PK-AS-REQ, signed as `signatory` or, for an anonymous client, not at all.
pub fn ask(
    question: &PkinitQuestion<'_>,
    signatory: Option<&Signatory>,
    now: SystemTime,
    entropy: &mut dyn Entropy,
) -> Result<(Vec<u8>, Waiting), PkinitClientError> {
    let dh_nonce = question.may_reuse.then(|| {
        let mut nonce = [0; 32];
        entropy.fill(&mut nonce);
        nonce
    });
    let pair = DhKeyPair::generate(question.group, entropy).map_err(|_| PkinitClientError::WeakGroup)?;
    let sha1 = digest(&SHA1_FOR_LEGACY_USE_ONLY, question.req_body);
    let sha256 = Digest::Sha256.of(question.req_body);
    let pack = AuthPack {
        authenticator: PkAuthenticator {
            at: now,
            nonce: question.nonce,
            checksum: Some(sha1.as_ref()),
            freshness_token: question.freshness_token,
            checksum2: Some((oid::SHA256, sha256.as_ref())),
        },
        client_public_value: Some(&group::write_public(question.group, pair.public())),
        client_dh_nonce: dh_nonce.as_ref().map(<[u8; 32]>::as_slice),
        supported_kdfs: Some(ACCEPTED_KDFS.map(kdf::oid).to_vec()),
    };
    let content = pack.encode();
    let signed = match signatory {
        Some(signatory) => cms::sign(oid::PKINIT_AUTH_DATA, &content, signatory)?,
        None => cms::unsigned(oid::PKINIT_AUTH_DATA, &content),
    };
    let value = PaPkAsReq { signed_auth_pack: &signed }.encode();
    Ok((value, Waiting { pair, group: question.group, nonce: question.nonce, dh_nonce }))
}

impl Waiting {
    /// Checks who answered, and agrees on the key.
    pub fn finish(&self, reply: &PkinitReply<'_>, trust: KdcTrust<'_>, now: SystemTime) -> Result<PkinitResult, PkinitClientError> {
        let info = DhRepInfo::parse(reply.value)?;
        let signed = SignedData::parse(info.signed_data, oid::PKINIT_DH_KEY_DATA)?;
        let kdc = trust.check(signed.certificate()?, now)?;
        let key_info = KdcDhKeyInfo::parse(signed.verify(oid::PKINIT_DH_KEY_DATA)?)?;
        let server_nonce = self.check_binding(&key_info, &info, now)?;
        let secret = self.agree(&key_info)?;
        let reply_key = match info.kdf {
            Some(chosen) => {
                let kdf = ACCEPTED_KDFS.into_iter().find(|kdf| kdf::oid(*kdf) == chosen).ok_or(PkinitClientError::Kdf)?;
                let PkinitReply { client, server, as_req, value: pk_as_rep, .. } = *reply;
                Exchange { realm: trust.realm(), client, server, as_req, pk_as_rep }.reply_key(kdf, &secret, reply.etype)
            }
            // A KDC older than RFC 8636. What was signed says what we offer, so nobody in between made it look so.
            None => octetstring2key(reply.etype, &[&secret, self.dh_nonce.as_ref().map_or(&[], <[u8; 32]>::as_slice), server_nonce]),
        };
        Ok(PkinitResult { reply_key, kdc })
    }

    /// Whether the reply is for us. Gives the KDC's nonce, if the key pair is used for others too.
    fn check_binding<'a>(&self, key: &KdcDhKeyInfo<'_>, info: &DhRepInfo<'a>, now: SystemTime) -> Result<&'a [u8], PkinitClientError> {
        match (key.expires, info.server_dh_nonce) {
            (None, None) if key.nonce == self.nonce => Ok(&[]),
            (None, None) => Err(PkinitClientError::OtherRequest),
            (Some(end), Some(nonce)) if self.dh_nonce.is_some() && key.nonce == 0 => {
                let good = now <= end && end <= now + LONGEST_REUSE;
                if good { Ok(nonce) } else { Err(PkinitClientError::Reuse) }
            }
            _ => Err(PkinitClientError::Reuse),
        }
    }

    fn agree(&self, key: &KdcDhKeyInfo<'_>) -> Result<Zeroizing<Vec<u8>>, PkinitClientError> {
        let public = group::from_wire(self.group, key.public_value)?;
        self.pair.agree(&public).map_err(|_| PkinitClientError::PublicValue)
    }
}

impl KdcTrust<'_> {
    fn realm(&self) -> &str {
        match self {
            Self::Machine { realm, .. } => realm.as_str(),
            Self::Authority { realm, .. } => realm,
        }
    }

    /// Whether the holder of `certificate` is the KDC that was asked.
    fn check(&self, certificate: &[u8], now: SystemTime) -> Result<Option<PeerIdentity>, PkinitClientError> {
        let is_kdc = Parts::of(certificate)?.is_kdc_of(self.realm())?;
        let kdc = match self {
            Self::Machine { trust, realm } => {
                let kdc = certificate::verify(certificate, trust, Purpose::PkinitKdc, now)?;
                // The heart of it: a realm is its key. Any other machine of the account is an impostor here.
                if !realm.matches_key(&kdc.spki) {
                    return Err(PkinitClientError::Impostor { machine: kdc.fqdn, realm: (*realm).clone() });
                }
                Some(kdc)
            }
            Self::Authority { ca, .. } => {
                certificate::verify_path(certificate, ca, Purpose::PkinitKdc, now)?;
                None
            }
        };
        if is_kdc { Ok(kdc) } else { Err(PkinitClientError::OtherRealm { realm: self.realm().to_owned() }) }
    }
}

/// The groups that a KDC offers in the e-data of KDC_ERR_DH_KEY_PARAMETERS_NOT_ACCEPTED, in its order.
pub fn groups_offered(typed_data: &[u8]) -> Result<Vec<DhGroup>, PkinitClientError> {
    const WHAT: &str = "e-data";
    let mut list = Value::only(typed_data, der::SEQUENCE, WHAT)?.values();
    while !list.is_empty() {
        let mut entry = list.take(der::SEQUENCE, WHAT)?.values();
        // TYPED-DATA numbers its fields from 0, PA-DATA from 1.
        let typed = entry.optional_field(0, der::INTEGER, WHAT)?;
        let number = match typed {
            Some(number) => number,
            None => entry.field(1, der::INTEGER, WHAT)?,
        };
        let value = entry.optional_field(if typed.is_some() { 1 } else { 2 }, der::OCTET_STRING, WHAT)?;
        if let (Ok(TD_DH_PARAMETERS), Some(value)) = (i32::try_from(number.number(WHAT)?), value) {
            return Ok(group::read_parameters(value.contents)?);
        }
    }
    Ok(Vec::new())
}

#[cfg(test)]
mod tests;
