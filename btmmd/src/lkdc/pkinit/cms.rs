//! CMS SignedData (RFC 5652 §5) as PKINIT uses it: content inside, one signer or none, the signer's certificate inside.

use subtle::ConstantTimeEq;

use super::algorithm::{Digest, VerifyingKey};
use super::certificate::Parts;
use super::der::{self, DerError, Value, Values};
use super::oid::{self, Oid};
use super::sign::Signatory;
use crate::account::key::KeyError;

/// The most certificates that a message may bring. Ours bring one.
const MAX_CERTIFICATES: usize = 8;

/// Why a signed message was refused or could not be made.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CmsError {
    /// Not SignedData, or part of it is something else.
    #[error(transparent)]
    Malformed(#[from] DerError),
    /// SignedData of something else.
    #[error("the signed message holds another type of content")]
    ContentType,
    /// Nobody signed.
    #[error("the message is not signed")]
    Unsigned,
    /// More than one signer.
    #[error("the message has several signers")]
    SeveralSigners,
    /// The signer's certificate is not inside.
    #[error("the message does not hold its signer's certificate")]
    NoCertificate,
    /// Signed over a digest that can be forged, or that we do not know.
    #[error("the message is signed over a digest algorithm that is not accepted")]
    Digest,
    /// The content was changed after it was signed.
    #[error("the message is not the one that was signed")]
    Changed,
    /// Not this key's signature.
    #[error("the signature is not by the key in the signer's certificate")]
    Signature,
    /// Key and certificate do not belong together.
    #[error("the certificate is for another key")]
    OtherKey,
    /// No signature could be made.
    #[error(transparent)]
    Sign(#[from] KeyError),
}

/// SignedData as it came. Nothing in it is proven before [`SignedData::verify`].
#[derive(Clone, Debug)]
pub struct SignedData<'a> {
    content: &'a [u8],
    certificates: Vec<Parts<'a>>,
    signer: Option<SignerInfo<'a>>,
}

/// The one signer (RFC 5652 §5.3).
#[derive(Clone, Copy, Debug)]
struct SignerInfo<'a> {
    identifier: Value<'a>,
    digest: &'a [u8],
    attributes: Value<'a>,
    algorithm: &'a [u8],
    signature: &'a [u8],
}

impl<'a> SignedData<'a> {
    /// Reads a ContentInfo (RFC 5652 §3) that holds SignedData of a content of type `expected`.
    pub(crate) fn parse(message: &'a [u8], expected: &[u8]) -> Result<Self, CmsError> {
        const WHAT: &str = "the signed message";
        let mut info = Value::only(message, der::SEQUENCE, WHAT)?.values();
        if info.take(der::OID, WHAT)?.contents != oid::SIGNED_DATA {
            return Err(DerError(WHAT).into());
        }
        let mut signed = info.field(0, der::SEQUENCE, WHAT)?.values();
        info.finish(WHAT)?;
        signed.take(der::INTEGER, "the version of the signed message")?;
        signed.take(der::SET, "the digest algorithms of the signed message")?;
        let mut inner = signed.take(der::SEQUENCE, "the signed content")?.values();
        if inner.take(der::OID, "the type of the signed content")?.contents != expected {
            return Err(CmsError::ContentType);
        }
        let content = inner.field(0, der::OCTET_STRING, "the signed content")?.contents;
        let certificates = signed.optional(der::context(0), "the signer's certificates")?;
        signed.optional(der::context(1), "the revocation lists of the signed message")?;
        let mut signers = signed.take(der::SET, "the signers")?.values();
        signed.finish(WHAT)?;
        let signer = if signers.is_empty() { None } else { Some(SignerInfo::parse(&mut signers)?) };
        if !signers.is_empty() {
            return Err(CmsError::SeveralSigners);
        }
        Ok(Self { content, certificates: certificates.map_or(Ok(Vec::new()), read_certificates)?, signer })
    }

    /// The content, whoever wrote it.
    pub fn content(&self) -> &'a [u8] {
        self.content
    }

    /// Whether somebody claims to have signed it.
    pub fn is_signed(&self) -> bool {
        self.signer.is_some()
    }

    /// The certificate (DER) of the claimed signer.
    pub fn certificate(&self) -> Result<&'a [u8], CmsError> {
        self.signers_certificate().map(|parts| parts.whole)
    }

    fn signers_certificate(&self) -> Result<Parts<'a>, CmsError> {
        let signer = self.signer.ok_or(CmsError::Unsigned)?;
        self.certificates.iter().find(|parts| parts.is_named_by(signer.identifier)).copied().ok_or(CmsError::NoCertificate)
    }

    /// The content, once the key in the signer's certificate is seen to have signed it as content of type `expected`.
    /// Whether to believe the certificate is another question.
    pub(crate) fn verify(&self, expected: &[u8]) -> Result<&'a [u8], CmsError> {
        let signer = self.signer.ok_or(CmsError::Unsigned)?;
        let key = VerifyingKey::from_spki(self.signers_certificate()?.spki)?;
        let digest = Digest::from_oid(signer.digest).ok_or(CmsError::Digest)?;
        let (content_type, message_digest) = signer.required_attributes()?;
        if content_type != expected {
            return Err(CmsError::ContentType);
        }
        if !bool::from(digest.of(self.content).as_ref().ct_eq(message_digest)) {
            return Err(CmsError::Changed);
        }
        // RFC 5652 §5.4: what is signed is the DER of the attributes as SET OF, although they travel under [0].
        let signed = der::value(der::SET, &[signer.attributes.contents]);
        if key.verifies(digest, signer.algorithm, &signed, signer.signature) { Ok(self.content) } else { Err(CmsError::Signature) }
    }
}

impl<'a> SignerInfo<'a> {
    fn parse(signers: &mut Values<'a>) -> Result<Self, DerError> {
        let mut signer = signers.take(der::SEQUENCE, "the signer")?.values();
        signer.take(der::INTEGER, "the version of the signer")?;
        let identifier = signer.next("the identity of the signer")?;
        let digest =
            signer.take(der::SEQUENCE, "the signer's digest algorithm")?.values().take(der::OID, "the signer's digest algorithm")?;
        // RFC 5652 §5.3: required, as the content is never id-data.
        let attributes = signer.take(der::context(0), "the signed attributes")?;
        let algorithm = signer.take(der::SEQUENCE, "the signature algorithm")?.values().take(der::OID, "the signature algorithm")?;
        let signature = signer.take(der::OCTET_STRING, "the signature")?.contents;
        Ok(Self { identifier, digest: digest.contents, attributes, algorithm: algorithm.contents, signature })
    }

    /// The contents of the attributes content-type and message-digest, each there exactly once and with one value (RFC 5652 §11).
    ///
    /// Besides them only the time of signing is known, and nothing else is passed over. The same key signs octets in IKE_AUTH of which its
    /// peer chooses the first eight and a nonce (RFC 7296 §2.15): with room for anything in an attribute that nobody reads, these could be
    /// made to look like signed attributes.
    fn required_attributes(&self) -> Result<(&'a [u8], &'a [u8]), DerError> {
        const WHAT: &str = "the signed attributes";
        let (mut content_type, mut message_digest, mut signing_time) = (None, None, None);
        let mut attributes = self.attributes.values();
        while !attributes.is_empty() {
            let mut attribute = attributes.take(der::SEQUENCE, WHAT)?.values();
            let name = attribute.take(der::OID, WHAT)?.contents;
            let mut values = attribute.take(der::SET, WHAT)?.values();
            attribute.finish(WHAT)?;
            let value = values.next(WHAT)?;
            values.finish(WHAT)?;
            let place = match (name, value.tag) {
                (oid::CONTENT_TYPE, der::OID) => &mut content_type,
                (oid::MESSAGE_DIGEST, der::OCTET_STRING) => &mut message_digest,
                (oid::SIGNING_TIME, der::UTC_TIME | der::GENERALIZED_TIME) => &mut signing_time,
                _ => return Err(DerError(WHAT)),
            };
            if place.replace(value.contents).is_some() {
                return Err(DerError(WHAT));
            }
        }
        content_type.zip(message_digest).ok_or(DerError(WHAT))
    }
}

fn read_certificates(list: Value<'_>) -> Result<Vec<Parts<'_>>, DerError> {
    const WHAT: &str = "the signer's certificates";
    let mut list = list.values();
    let mut certificates = Vec::new();
    while !list.is_empty() {
        if certificates.len() == MAX_CERTIFICATES {
            return Err(DerError(WHAT));
        }
        certificates.push(Parts::of(list.next(WHAT)?.whole)?);
    }
    Ok(certificates)
}

/// `content` of type `content_type`, signed.
pub(crate) fn sign(content_type: &[u8], content: &[u8], signatory: &Signatory) -> Result<Vec<u8>, CmsError> {
    sign_with(VerifyingKey::from_spki(signatory.spki())?.kind.signs_with(), content_type, content, signatory)
}

/// The same, by a key that signs over this digest, under this name.
fn sign_with(how: (Digest, Oid), content_type: &[u8], content: &[u8], signatory: &Signatory) -> Result<Vec<u8>, CmsError> {
    let message_digest = how.0.of(content);
    let attributes =
        vec![attribute(oid::CONTENT_TYPE, &der::oid(content_type)), attribute(oid::MESSAGE_DIGEST, &der::octets(message_digest.as_ref()))];
    sign_attributes(how, attributes, content_type, content, signatory)
}

fn sign_attributes(
    (digest, algorithm): (Digest, Oid),
    mut attributes: Vec<Vec<u8>>,
    content_type: &[u8],
    content: &[u8],
    signatory: &Signatory,
) -> Result<Vec<u8>, CmsError> {
    attributes.sort_unstable();
    let attributes: Vec<&[u8]> = attributes.iter().map(Vec::as_slice).collect();
    let signature = signatory.key.sign(&der::value(der::SET, &attributes))?;
    let signer = der::sequence(&[
        &der::unsigned(1),
        &signatory.parts()?.issuer_and_serial(),
        &der::algorithm(digest.oid()),
        &der::value(der::context(0), &attributes),
        &der::algorithm(algorithm),
        &der::octets(&signature),
    ]);
    Ok(content_info(&der::algorithm(digest.oid()), content_type, content, &der::explicit(0, signatory.certificate()), &signer))
}

/// `content` of type `content_type`, signed by nobody (RFC 8062 §4.1).
pub(crate) fn unsigned(content_type: &[u8], content: &[u8]) -> Vec<u8> {
    content_info(&[], content_type, content, &[], &[])
}

fn content_info(digest: &[u8], content_type: &[u8], content: &[u8], certificates: &[u8], signer: &[u8]) -> Vec<u8> {
    let inner = der::sequence(&[&der::oid(content_type), &der::explicit(0, &der::octets(content))]);
    let version = der::unsigned(3);
    let signed = der::sequence(&[&version, &der::value(der::SET, &[digest]), &inner, certificates, &der::value(der::SET, &[signer])]);
    der::sequence(&[&der::oid(oid::SIGNED_DATA), &der::explicit(0, &signed)])
}

fn attribute(name: &[u8], value: &[u8]) -> Vec<u8> {
    der::sequence(&[&der::oid(name), &der::value(der::SET, &[value])])
}

#[cfg(test)]
mod tests;
