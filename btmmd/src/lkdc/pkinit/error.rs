//! Why the KDC refuses a PKINIT request, and how a client is told (RFC 4556 §3.1.3, RFC 8636 §3 §4 §7, RFC 8070 §2.4).

use super::certificate::Parts;
use super::cms::CmsError;
use super::der::{self, DerError};
use super::oid;
use crate::account::certificate::CertificateError;

/// TD-TRUSTED-CERTIFIERS.
const TD_TRUSTED_CERTIFIERS: i32 = 104;
/// TD-INVALID-CERTIFICATES.
const TD_INVALID_CERTIFICATES: i32 = 105;
/// TD-DH-PARAMETERS.
pub(super) const TD_DH_PARAMETERS: i32 = 109;
/// TD-CMS-DIGEST-ALGORITHMS.
const TD_CMS_DIGEST_ALGORITHMS: i32 = 111;
/// TD-CERT-DIGEST-ALGORITHMS.
const TD_CERT_DIGEST_ALGORITHMS: i32 = 112;

/// Why a request was refused. Carries what a log line needs.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PkinitError {
    /// Not what RFC 4556 describes.
    #[error(transparent)]
    Malformed(#[from] DerError),
    /// Not signed, although the client does not claim to be anonymous, or the other way round.
    #[error("{client} must {} its request", if *.signed { "not sign" } else { "sign" })]
    Signed {
        /// The client named.
        client: String,
        /// Whether the request is signed.
        signed: bool,
    },
    /// The signed message is not in order.
    #[error(transparent)]
    Cms(#[from] CmsError),
    /// The certificate is not valid now or damaged, or its machine has left the account.
    #[error(transparent)]
    Certificate(#[from] CertificateError),
    /// The certificate is signed over a digest that can be forged.
    #[error("the client's certificate is signed over a digest algorithm that is not accepted")]
    CertificateDigest,
    /// A machine of the account that asks for a name that is not its own.
    #[error("{machine} may not be {client}")]
    WrongName {
        /// The machine.
        machine: String,
        /// The name it asks for.
        client: String,
    },
    /// The clocks differ too much.
    #[error("the client's clock differs too much")]
    Skew,
    /// There is no checksum over the request.
    #[error("the signed part does not cover the request")]
    NoChecksum,
    /// The signed part belongs to another request.
    #[error("the signed part belongs to another request")]
    OtherRequest,
    /// The freshness token is too old or not ours.
    #[error("the freshness token is too old")]
    Stale,
    /// A freshness token is required.
    #[error("the request has no freshness token")]
    NotFresh,
    /// No public value: the client wants its key encrypted to an RSA key.
    #[error("the client wants its key encrypted instead of agreed on")]
    NoKeyAgreement,
    /// The group, curve or public value is not acceptable.
    #[error("the client's Diffie-Hellman parameters are not accepted")]
    Group,
    /// None of the client's key derivations is known.
    #[error("none of the client's key derivations is known")]
    NoKdf,
    /// No encryption type in common.
    #[error("no encryption type in common")]
    NoEtype,
}

impl PkinitError {
    /// The error code of the KRB-ERROR.
    pub fn code(&self) -> i32 {
        match self {
            Self::NoEtype => 14,
            Self::Malformed(_) | Self::Signed { .. } | Self::NotFresh => 24,
            Self::Skew => 37,
            Self::OtherRequest => 41,
            Self::Group => 65,
            Self::WrongName { .. } => 75,
            Self::CertificateDigest => 78,
            Self::NoChecksum => 79,
            Self::NoKeyAgreement => 81,
            Self::Stale => 90,
            Self::NoKdf => 100,
            Self::Cms(error) => match error {
                CmsError::NoCertificate => 70,
                CmsError::Digest => 80,
                CmsError::Changed | CmsError::Signature => 64,
                // Our own key does not sign: a token is out. KDC_ERR_SVC_UNAVAILABLE would say so better, but has MIT's library ask
                // for half a minute for KDCs that there are not. With this one it ends at once; why is in the text, which ours shows.
                CmsError::Sign(_) => 60,
                _ => 24,
            },
            Self::Certificate(error) => match error {
                CertificateError::OtherAuthority { .. } => 70,
                CertificateError::WrongPurpose { .. } => 77,
                CertificateError::WrongName { .. } | CertificateError::WrongAddress { .. } | CertificateError::Replaced { .. } => 62,
                CertificateError::Removed { .. } => 72,
                CertificateError::Unlisted { .. } => 73,
                _ => 71,
            },
        }
    }

    /// What helps the client to do better, if anything does: type and value of a TYPED-DATA.
    pub(super) fn typed_data(&self, authority: &[u8], client_certificate: Option<&[u8]>, groups: &[Vec<u8>]) -> Option<(i32, Vec<u8>)> {
        match self.code() {
            65 => Some((TD_DH_PARAMETERS, der::sequence(&[&groups.concat()]))),
            70 => Some((TD_TRUSTED_CERTIFIERS, der::sequence(&[&principal_identifier(authority, false)?]))),
            71 | 72 => Some((TD_INVALID_CERTIFICATES, der::sequence(&[&principal_identifier(client_certificate?, true)?]))),
            78 => Some((TD_CERT_DIGEST_ALGORITHMS, cert_digests())),
            80 => Some((TD_CMS_DIGEST_ALGORITHMS, cms_digests())),
            _ => None,
        }
    }
}

/// A refusal and what the client is told with it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{error}")]
pub struct Refused {
    /// Why.
    pub error: PkinitError,
    pub(super) data: Option<(i32, Vec<u8>)>,
}

impl Refused {
    /// The error code of the KRB-ERROR.
    pub fn code(&self) -> i32 {
        self.error.code()
    }

    /// The e-data of the KRB-ERROR: TYPED-DATA (RFC 4120 §5.9.1) of one entry.
    pub fn typed_data(&self) -> Option<Vec<u8>> {
        let (number, value) = self.data.as_ref()?;
        let number = der::unsigned(u64::from(number.unsigned_abs()));
        Some(der::sequence(&[&der::sequence(&[&der::explicit(0, &number), &der::explicit(1, &der::octets(value))])]))
    }
}

/// ExternalPrincipalIdentifier (RFC 4556 §3.2.1) of a certificate: by its subject, or by its issuer and serial number.
fn principal_identifier(certificate: &[u8], serial: bool) -> Option<Vec<u8>> {
    let parts = Parts::of(certificate).ok()?;
    let (number, identifier) = if serial { (1, parts.issuer_and_serial()) } else { (0, parts.subject.to_vec()) };
    Some(der::sequence(&[&der::value(der::implicit(number), &[&identifier])]))
}

/// TD-CMS-DIGEST-ALGORITHMS-DATA (RFC 8636 §3): signature algorithms, best first.
fn cms_digests() -> Vec<u8> {
    der::sequence(&[&der::algorithm(oid::ECDSA_SHA256), &der::algorithm(oid::ED25519), &der::algorithm(oid::SHA256_WITH_RSA)])
}

/// TD-CERT-DIGEST-ALGORITHMS-DATA (RFC 8636 §4): allowedAlgorithms.
fn cert_digests() -> Vec<u8> {
    der::sequence(&[&der::explicit(0, &cms_digests())])
}
