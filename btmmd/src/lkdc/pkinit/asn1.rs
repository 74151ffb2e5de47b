//! The messages of PKINIT: RFC 4556 with the fields of RFC 8070 (freshness) and RFC 8636 (agility), and Microsoft's paChecksum2.

use std::time::SystemTime;

use rasn_kerberos::KerberosTime;

use super::der::{self, DerError, Value, Values};
use crate::lkdc::asn1;

/// The most key derivations that a client may offer.
const MAX_KDFS: usize = 16;
/// The longest nonce for a reused key; RFC 4556 §3.2.1 asks for at least 32 octets.
const MAX_DH_NONCE: usize = 128;

/// PA-PK-AS-REQ (RFC 4556 §3.2.1): which CA the client trusts, and which certificate it expects, do not matter to a KDC that has one of each.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct PaPkAsReq<'a> {
    /// A ContentInfo.
    pub(crate) signed_auth_pack: &'a [u8],
}

impl<'a> PaPkAsReq<'a> {
    pub(crate) fn parse(value: &'a [u8]) -> Result<Self, DerError> {
        let mut fields = Value::only(value, der::SEQUENCE, "PA-PK-AS-REQ")?.values();
        Ok(Self { signed_auth_pack: fields.take(der::implicit(0), "signedAuthPack")?.contents })
    }

    pub(crate) fn encode(&self) -> Vec<u8> {
        der::sequence(&[&der::value(der::implicit(0), &[self.signed_auth_pack])])
    }
}

/// PKAuthenticator (RFC 4556 §3.2.1, RFC 8070 §2.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct PkAuthenticator<'a> {
    /// ctime and cusec.
    pub(crate) at: SystemTime,
    pub(crate) nonce: u32,
    /// SHA-1 of the req-body.
    pub(crate) checksum: Option<&'a [u8]>,
    pub(crate) freshness_token: Option<&'a [u8]>,
    /// Another digest of the req-body: contents of its OID, and the digest.
    pub(crate) checksum2: Option<(&'a [u8], &'a [u8])>,
}

impl<'a> PkAuthenticator<'a> {
    fn parse(value: Value<'a>) -> Result<Self, DerError> {
        let mut fields = value.values();
        let micros = fields.field(0, der::INTEGER, "cusec")?.number("cusec")?;
        let time = fields.field(1, der::GENERALIZED_TIME, "ctime")?;
        let nonce = read_nonce(fields.field(2, der::INTEGER, "nonce")?)?;
        let checksum = fields.optional_field(3, der::OCTET_STRING, "paChecksum")?.map(|value| value.contents);
        let freshness_token = fields.optional_field(4, der::OCTET_STRING, "freshnessToken")?.map(|value| value.contents);
        let checksum2 = match fields.optional_field(5, der::SEQUENCE, "paChecksum2")? {
            Some(value) => Some(read_checksum2(value)?),
            None => None,
        };
        let micros = u32::try_from(micros).ok().filter(|micros| *micros < 1_000_000).ok_or(DerError("cusec"))?;
        Ok(Self { at: asn1::time::joined(&read_time(time, "ctime")?, &micros.into()), nonce, checksum, freshness_token, checksum2 })
    }

    fn encode(&self) -> Vec<u8> {
        let micros = self.at.duration_since(SystemTime::UNIX_EPOCH).map_or(0, |since| since.subsec_micros());
        let optional = |number, value: Option<&[u8]>| value.map_or(Vec::new(), |value| der::explicit(number, &der::octets(value)));
        let checksum2 = self.checksum2.map_or(Vec::new(), |(oid, digest)| {
            der::explicit(5, &der::sequence(&[&der::explicit(0, &der::octets(digest)), &der::explicit(1, &der::algorithm(oid))]))
        });
        der::sequence(&[
            &der::explicit(0, &der::unsigned(micros.into())),
            &der::explicit(1, &asn1::encode(&asn1::time(self.at))),
            &der::explicit(2, &der::unsigned(self.nonce.into())),
            &optional(3, self.checksum),
            &optional(4, self.freshness_token),
            &checksum2,
        ])
    }
}

/// AuthPack (RFC 4556 §3.2.1, RFC 8636 §6).
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct AuthPack<'a> {
    pub(crate) authenticator: PkAuthenticator<'a>,
    /// The client's half of the key agreement, a DER SubjectPublicKeyInfo. Without it the client wants the key encrypted to RSA.
    pub(crate) client_public_value: Option<&'a [u8]>,
    /// There if the client lets the KDC use one key pair more than once.
    pub(crate) client_dh_nonce: Option<&'a [u8]>,
    /// Key derivations, best first: contents of OIDs.
    pub(crate) supported_kdfs: Option<Vec<&'a [u8]>>,
}

impl<'a> AuthPack<'a> {
    pub(crate) fn parse(content: &'a [u8]) -> Result<Self, DerError> {
        let mut fields = Value::only(content, der::SEQUENCE, "AuthPack")?.values();
        let authenticator = PkAuthenticator::parse(fields.field(0, der::SEQUENCE, "pkAuthenticator")?)?;
        let client_public_value = fields.optional_field(1, der::SEQUENCE, "clientPublicValue")?.map(|value| value.whole);
        fields.optional(der::context(2), "supportedCMSTypes")?;
        let client_dh_nonce = fields.optional_field(3, der::OCTET_STRING, "clientDHNonce")?.map(|value| value.contents);
        let supported_kdfs = match fields.optional_field(4, der::SEQUENCE, "supportedKDFs")? {
            Some(list) => Some(read_kdfs(list.values())?),
            None => None,
        };
        if client_dh_nonce.is_some_and(|nonce| nonce.len() > MAX_DH_NONCE) {
            return Err(DerError("clientDHNonce"));
        }
        Ok(Self { authenticator, client_public_value, client_dh_nonce, supported_kdfs })
    }

    pub(crate) fn encode(&self) -> Vec<u8> {
        let kdfs = self.supported_kdfs.as_ref().map_or(Vec::new(), |kdfs| {
            let list: Vec<u8> = kdfs.iter().flat_map(|kdf| write_kdf(kdf)).collect();
            der::explicit(4, &der::sequence(&[&list]))
        });
        der::sequence(&[
            &der::explicit(0, &self.authenticator.encode()),
            &self.client_public_value.map_or(Vec::new(), |value| der::explicit(1, value)),
            &self.client_dh_nonce.map_or(Vec::new(), |nonce| der::explicit(3, &der::octets(nonce))),
            &kdfs,
        ])
    }
}

/// DHRepInfo (RFC 4556 §3.2.3.1, RFC 8636 §6), the only kind of PA-PK-AS-REP that we send or accept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct DhRepInfo<'a> {
    /// A ContentInfo.
    pub(crate) signed_data: &'a [u8],
    pub(crate) server_dh_nonce: Option<&'a [u8]>,
    /// The key derivation chosen: contents of its OID.
    pub(crate) kdf: Option<&'a [u8]>,
}

impl<'a> DhRepInfo<'a> {
    pub(crate) fn parse(value: &'a [u8]) -> Result<Self, DerError> {
        const WHAT: &str = "PA-PK-AS-REP";
        let mut choice = Value::only(value, der::context(0), WHAT)?.values();
        let mut fields = choice.take(der::SEQUENCE, WHAT)?.values();
        choice.finish(WHAT)?;
        let signed_data = fields.take(der::implicit(0), "dhSignedData")?.contents;
        let server_dh_nonce = fields.optional_field(1, der::OCTET_STRING, "serverDHNonce")?.map(|value| value.contents);
        let kdf = match fields.optional_field(2, der::SEQUENCE, "kdf")? {
            Some(value) => Some(value.values().field(0, der::OID, "kdf")?.contents),
            None => None,
        };
        if server_dh_nonce.is_some_and(|nonce| nonce.len() > MAX_DH_NONCE) {
            return Err(DerError("serverDHNonce"));
        }
        Ok(Self { signed_data, server_dh_nonce, kdf })
    }

    pub(crate) fn encode(&self) -> Vec<u8> {
        let info = der::sequence(&[
            &der::value(der::implicit(0), &[self.signed_data]),
            &self.server_dh_nonce.map_or(Vec::new(), |nonce| der::explicit(1, &der::octets(nonce))),
            &self.kdf.map_or(Vec::new(), |kdf| der::explicit(2, &write_kdf(kdf))),
        ]);
        der::explicit(0, &info)
    }
}

/// KDCDHKeyInfo (RFC 4556 §3.2.3.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct KdcDhKeyInfo<'a> {
    /// The KDC's half of the key agreement: for MODP a DER INTEGER, for curves the point.
    pub(crate) public_value: &'a [u8],
    /// The client's nonce, or 0 if the KDC uses the key pair more than once.
    pub(crate) nonce: u32,
    /// Until when the KDC uses the key pair, if more than once.
    pub(crate) expires: Option<SystemTime>,
}

impl<'a> KdcDhKeyInfo<'a> {
    pub(crate) fn parse(content: &'a [u8]) -> Result<Self, DerError> {
        let mut fields = Value::only(content, der::SEQUENCE, "KDCDHKeyInfo")?.values();
        let public_value = fields.field(0, der::BIT_STRING, "subjectPublicKey")?.bits("subjectPublicKey")?;
        let nonce = read_nonce(fields.field(1, der::INTEGER, "nonce")?)?;
        let expires = match fields.optional_field(2, der::GENERALIZED_TIME, "dhKeyExpiration")? {
            Some(time) => Some(asn1::system_time(&read_time(time, "dhKeyExpiration")?)),
            None => None,
        };
        Ok(Self { public_value, nonce, expires })
    }

    pub(crate) fn encode(&self) -> Vec<u8> {
        der::sequence(&[
            &der::explicit(0, &der::bits(self.public_value)),
            &der::explicit(1, &der::unsigned(self.nonce.into())),
            &self.expires.map_or(Vec::new(), |at| der::explicit(2, &asn1::encode(&asn1::time(at)))),
        ])
    }
}

/// A nonce of 32 bits. MIT krb5 writes it as a signed number.
fn read_nonce(value: Value<'_>) -> Result<u32, DerError> {
    let number = value.number("nonce")?;
    u32::try_from(number).or_else(|_| i32::try_from(number).map(i32::cast_unsigned)).map_err(|_| DerError("nonce"))
}

fn read_time(value: Value<'_>, what: &'static str) -> Result<KerberosTime, DerError> {
    asn1::decode(value.whole).map_err(|_| DerError(what))
}

fn read_checksum2<'a>(value: Value<'a>) -> Result<(&'a [u8], &'a [u8]), DerError> {
    const WHAT: &str = "paChecksum2";
    let mut fields = value.values();
    let digest = fields.field(0, der::OCTET_STRING, WHAT)?.contents;
    let algorithm = fields.field(1, der::SEQUENCE, WHAT)?.values().take(der::OID, WHAT)?.contents;
    Ok((algorithm, digest))
}

/// KDFAlgorithmId (RFC 8636 §6), repeated.
fn read_kdfs<'a>(mut list: Values<'a>) -> Result<Vec<&'a [u8]>, DerError> {
    const WHAT: &str = "supportedKDFs";
    let mut kdfs = Vec::new();
    while !list.is_empty() {
        if kdfs.len() == MAX_KDFS {
            return Err(DerError(WHAT));
        }
        kdfs.push(list.take(der::SEQUENCE, WHAT)?.values().field(0, der::OID, WHAT)?.contents);
    }
    Ok(kdfs)
}

fn write_kdf(oid: &[u8]) -> Vec<u8> {
    der::sequence(&[&der::explicit(0, &der::oid(oid))])
}

#[cfg(test)]
mod tests;
