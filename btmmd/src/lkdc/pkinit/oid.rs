//! Object identifiers, by their contents (without tag and length).

/// A digest algorithm, a signature algorithm, a content type …
pub(crate) type Oid = &'static [u8];

/// id-data, 1.2.840.113549.1.7.1.
#[cfg(test)]
pub(crate) const DATA: Oid = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 7, 1];
/// id-signedData, 1.2.840.113549.1.7.2 (RFC 5652 §5.1).
pub(crate) const SIGNED_DATA: Oid = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 7, 2];
/// id-contentType, 1.2.840.113549.1.9.3 (RFC 5652 §11.1).
pub(crate) const CONTENT_TYPE: Oid = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 9, 3];
/// id-messageDigest, 1.2.840.113549.1.9.4 (RFC 5652 §11.2).
pub(crate) const MESSAGE_DIGEST: Oid = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 9, 4];

/// id-signingTime, 1.2.840.113549.1.9.5 (RFC 5652 §11.3).
pub(crate) const SIGNING_TIME: Oid = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 9, 5];

/// id-pkinit-authData, 1.3.6.1.5.2.3.1 (RFC 4556 §3.2.1).
pub(crate) const PKINIT_AUTH_DATA: Oid = &[0x2b, 6, 1, 5, 2, 3, 1];
/// id-pkinit-DHKeyData, 1.3.6.1.5.2.3.2 (RFC 4556 §3.2.3.1).
pub(crate) const PKINIT_DH_KEY_DATA: Oid = &[0x2b, 6, 1, 5, 2, 3, 2];
/// id-pkinit-san, 1.3.6.1.5.2.2 (RFC 4556 §3.2.2).
pub(crate) const PKINIT_SAN: Oid = &[0x2b, 6, 1, 5, 2, 2];

/// id-sha1, 1.3.14.3.2.26.
#[cfg(test)]
pub(crate) const SHA1: Oid = &[0x2b, 0x0e, 3, 2, 0x1a];
/// id-sha256, 2.16.840.1.101.3.4.2.1.
pub(crate) const SHA256: Oid = &[0x60, 0x86, 0x48, 1, 0x65, 3, 4, 2, 1];
/// id-sha384.
pub(crate) const SHA384: Oid = &[0x60, 0x86, 0x48, 1, 0x65, 3, 4, 2, 2];
/// id-sha512.
pub(crate) const SHA512: Oid = &[0x60, 0x86, 0x48, 1, 0x65, 3, 4, 2, 3];

/// rsaEncryption, 1.2.840.113549.1.1.1.
pub(crate) const RSA: Oid = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 1, 1];
/// sha1WithRSAEncryption.
pub(crate) const SHA1_WITH_RSA: Oid = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 1, 5];
/// md5WithRSAEncryption.
pub(crate) const MD5_WITH_RSA: Oid = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 1, 4];
/// id-RSASSA-PSS.
pub(crate) const RSA_PSS: Oid = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 1, 10];
/// sha256WithRSAEncryption.
pub(crate) const SHA256_WITH_RSA: Oid = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 1, 11];
/// ecdsa-with-SHA1.
pub(crate) const ECDSA_SHA1: Oid = &[0x2a, 0x86, 0x48, 0xce, 0x3d, 4, 1];
/// ecdsa-with-SHA256, 1.2.840.10045.4.3.2.
pub(crate) const ECDSA_SHA256: Oid = &[0x2a, 0x86, 0x48, 0xce, 0x3d, 4, 3, 2];
/// id-ecPublicKey, 1.2.840.10045.2.1.
pub(crate) const EC_PUBLIC_KEY: Oid = &[0x2a, 0x86, 0x48, 0xce, 0x3d, 2, 1];
/// secp256r1, 1.2.840.10045.3.1.7.
pub(crate) const P256: Oid = &[0x2a, 0x86, 0x48, 0xce, 0x3d, 3, 1, 7];
/// secp384r1, 1.3.132.0.34.
pub(crate) const P384: Oid = &[0x2b, 0x81, 4, 0, 0x22];
/// id-Ed25519, 1.3.101.112.
pub(crate) const ED25519: Oid = &[0x2b, 0x65, 0x70];
/// id-X25519, 1.3.101.110.
pub(crate) const X25519: Oid = &[0x2b, 0x65, 0x6e];
/// dhpublicnumber, 1.2.840.10046.2.1 (RFC 3279 §2.3.3).
pub(crate) const DH_PUBLIC_NUMBER: Oid = &[0x2a, 0x86, 0x48, 0xce, 0x3e, 2, 1];
/// subjectKeyIdentifier, 2.5.29.14.
pub(crate) const SUBJECT_KEY_IDENTIFIER: Oid = &[0x55, 0x1d, 14];
/// subjectAltName, 2.5.29.17.
pub(crate) const SUBJECT_ALT_NAME: Oid = &[0x55, 0x1d, 17];
