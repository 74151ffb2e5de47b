//! The parts of a certificate that CMS refers to. Believing it is `account::certificate`'s business.

use super::der::{self, DerError, Value};
use super::oid;

const WHAT: &str = "a certificate";
const BOOLEAN: u8 = 0x01;

/// A certificate, read but not believed.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Parts<'a> {
    /// All of it.
    pub(crate) whole: &'a [u8],
    serial: Value<'a>,
    issuer: &'a [u8],
    /// Its subject, a DER Name.
    pub(crate) subject: &'a [u8],
    /// Its key, a DER SubjectPublicKeyInfo.
    pub(crate) spki: &'a [u8],
    /// The algorithm of its issuer's signature: contents of an OID.
    pub(crate) signed_with: &'a [u8],
    extensions: Option<Value<'a>>,
}

impl<'a> Parts<'a> {
    /// Reads a DER Certificate (RFC 5280 §4.1).
    pub(crate) fn of(certificate: &'a [u8]) -> Result<Self, DerError> {
        let whole = Value::only(certificate, der::SEQUENCE, WHAT)?;
        let mut outer = whole.values();
        let mut tbs = outer.take(der::SEQUENCE, WHAT)?.values();
        let signed_with = outer.take(der::SEQUENCE, WHAT)?.values().take(der::OID, WHAT)?.contents;
        tbs.optional(der::context(0), WHAT)?;
        let serial = tbs.take(der::INTEGER, WHAT)?;
        tbs.take(der::SEQUENCE, WHAT)?;
        let issuer = tbs.take(der::SEQUENCE, WHAT)?.whole;
        tbs.take(der::SEQUENCE, WHAT)?;
        let subject = tbs.take(der::SEQUENCE, WHAT)?.whole;
        let spki = tbs.take(der::SEQUENCE, WHAT)?.whole;
        let extensions = tbs.optional_field(3, der::SEQUENCE, WHAT)?;
        Ok(Self { whole: whole.whole, serial, issuer, subject, spki, signed_with, extensions })
    }

    /// IssuerAndSerialNumber (RFC 5652 §10.2.4).
    pub(crate) fn issuer_and_serial(&self) -> Vec<u8> {
        der::sequence(&[self.issuer, self.serial.whole])
    }

    /// Whether a signer identified by `identifier` (SignerIdentifier, RFC 5652 §5.3) is the holder of this certificate.
    pub(crate) fn is_named_by(&self, identifier: Value<'_>) -> bool {
        if identifier.tag == der::SEQUENCE {
            return identifier.whole == self.issuer_and_serial();
        }
        identifier.tag == der::implicit(0) && self.key_identifier().is_ok_and(|found| found == Some(identifier.contents))
    }

    /// Whether the issuer signed it over a digest that can be forged.
    pub(crate) fn has_weak_digest(&self) -> bool {
        [oid::SHA1_WITH_RSA, oid::MD5_WITH_RSA, oid::ECDSA_SHA1].contains(&self.signed_with)
    }

    /// Whether id-pkinit-san names the ticket-granting service of `realm` (RFC 4556 §3.2.4).
    pub(crate) fn is_kdc_of(&self, realm: &str) -> Result<bool, DerError> {
        let Some(names) = self.extension(oid::SUBJECT_ALT_NAME)? else { return Ok(false) };
        let mut names = Value::only(names, der::SEQUENCE, WHAT)?.values();
        while !names.is_empty() {
            let name = names.next(WHAT)?;
            if name.tag == der::context(0) && names_krbtgt(name, realm).unwrap_or(false) {
                return Ok(true);
            }
        }
        Ok(false)
    }

    fn key_identifier(&self) -> Result<Option<&'a [u8]>, DerError> {
        let Some(wrapped) = self.extension(oid::SUBJECT_KEY_IDENTIFIER)? else { return Ok(None) };
        Value::only(wrapped, der::OCTET_STRING, WHAT).map(|value| Some(value.contents))
    }

    fn extension(&self, name: &[u8]) -> Result<Option<&'a [u8]>, DerError> {
        let Some(extensions) = self.extensions else { return Ok(None) };
        let mut extensions = extensions.values();
        while !extensions.is_empty() {
            let mut extension = extensions.take(der::SEQUENCE, WHAT)?.values();
            if extension.take(der::OID, WHAT)?.contents == name {
                extension.optional(BOOLEAN, WHAT)?;
                return extension.take(der::OCTET_STRING, WHAT).map(|value| Some(value.contents));
            }
        }
        Ok(None)
    }
}

/// Whether an otherName is KRB5PrincipalName (RFC 4556 §3.2.2) of `krbtgt/realm@realm`.
fn names_krbtgt(other_name: Value<'_>, realm: &str) -> Result<bool, DerError> {
    let mut other_name = other_name.values();
    if other_name.take(der::OID, WHAT)?.contents != oid::PKINIT_SAN {
        return Ok(false);
    }
    let mut principal = other_name.field(0, der::SEQUENCE, WHAT)?.values();
    let its_realm = principal.field(0, der::GENERAL_STRING, WHAT)?.contents;
    let mut name = principal.field(1, der::SEQUENCE, WHAT)?.values();
    name.field(0, der::INTEGER, WHAT)?;
    let mut components = name.field(1, der::SEQUENCE, WHAT)?.values();
    let mut next = || components.take(der::GENERAL_STRING, WHAT).map(|component| component.contents);
    let named = its_realm == realm.as_bytes() && next()? == b"krbtgt" && next()? == realm.as_bytes();
    Ok(named && components.is_empty())
}
