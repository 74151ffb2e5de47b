//! The account's CA: it issues sharing certificates and signs the roster.

use std::net::IpAddr;
use std::time::{Duration, SystemTime};

use rcgen::{
    BasicConstraints, CertificateParams, CidrSubnet, CustomExtension, DistinguishedName, DnType, ExtendedKeyUsagePurpose, GeneralSubtree,
    IsCa, Issuer, KeyUsagePurpose, NameConstraints, SerialNumber,
};
use rustls::pki_types::CertificateDer;
use x509_cert::der::Encode;
use x509_cert::der::asn1::{Ia5String, ObjectIdentifier, OctetString};
use x509_cert::ext::pkix::SubjectAltName;
use x509_cert::ext::pkix::name::{GeneralName, OtherName};

use super::certificate::{AccountTrust, BACKDATED, CertificateError};
use super::key::{KeyAlgorithm, KeyError, MachineKey, random};
use super::name::{AccountName, MachineName, ZoneName};
use super::prefix::UlaPrefix;
use super::public_key::PublicKey;
use crate::wire::der;

/// How long a sharing certificate is valid.
pub const CERTIFICATE_LIFE: Duration = Duration::from_secs(365 * 24 * 3600);
/// The CA certificate outlives its owner's interest in it: it is the account.
const AUTHORITY_LIFE: Duration = Duration::from_secs(50 * 365 * 24 * 3600);

/// The latest start, since 1970, that leaves room before the year 9999: a clock beyond it is wrong.
const LATEST: Duration = Duration::from_secs(1000 * 365 * 24 * 3600);

const SUBJECT_ALT_NAME: &[u64] = &[2, 5, 29, 17];
const IPSEC_IKE: &[u64] = &[1, 3, 6, 1, 5, 5, 7, 3, 17];
const PKINIT_CLIENT: &[u64] = &[1, 3, 6, 1, 5, 2, 3, 4];
const PKINIT_KDC: &[u64] = &[1, 3, 6, 1, 5, 2, 3, 5];
const PKINIT_SAN: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.6.1.5.2.2");

/// Why the CA could not do its work.
#[derive(Debug, thiserror::Error, PartialEq, Eq, Clone)]
pub enum AuthorityError {
    /// The machine's key or the CA's.
    #[error(transparent)]
    Key(#[from] KeyError),
    /// The CA certificate and the CA key do not belong together.
    #[error("the CA key and the CA certificate do not belong together")]
    Mismatch,
    /// The certificate could not be written.
    #[error("cannot write the certificate of {0}")]
    Certificate(String),
}

/// The account CA.
#[derive(Debug)]
pub struct Authority {
    key: MachineKey,
    account: AccountName,
    trust: AccountTrust,
}

impl Authority {
    /// Founds an account: a new CA key and its self-signed certificate, constrained to the zone and the prefix (RFC 5280 §4.2.1.10).
    pub fn create(account: AccountName, zone: ZoneName, prefix: UlaPrefix, now: SystemTime) -> Result<Self, AuthorityError> {
        let key = MachineKey::generate(KeyAlgorithm::EcdsaP256)?;
        let mut params = CertificateParams::default();
        params.distinguished_name = common_name(&format!("btmm account {account}"));
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign, KeyUsagePurpose::DigitalSignature];
        params.name_constraints = Some(NameConstraints {
            permitted_subtrees: vec![
                GeneralSubtree::DnsName(zone.as_str().to_owned()),
                GeneralSubtree::IpAddress(CidrSubnet::from_addr_prefix(IpAddr::V6(prefix.network()), UlaPrefix::BITS)),
            ],
            excluded_subtrees: Vec::new(),
        });
        set_validity(&mut params, now, AUTHORITY_LIFE)?;
        let certificate = params.self_signed(&key).map_err(|_| AuthorityError::Certificate(account.to_string()))?;
        Ok(Self { key, account, trust: AccountTrust { ca: certificate.der().to_vec(), zone, prefix } })
    }

    /// Takes a stored CA up again.
    pub fn from_parts(key: MachineKey, account: AccountName, trust: AccountTrust) -> Result<Self, AuthorityError> {
        if trust.authority_key().map_err(|_| AuthorityError::Mismatch)?.spki() != key.spki() {
            return Err(AuthorityError::Mismatch);
        }
        Ok(Self { key, account, trust })
    }

    /// Whom members of the account believe.
    pub fn trust(&self) -> &AccountTrust {
        &self.trust
    }

    /// The account's name.
    pub fn account(&self) -> &AccountName {
        &self.account
    }

    /// The CA's private key, for its file.
    pub(super) fn key(&self) -> &MachineKey {
        &self.key
    }

    /// Issues the sharing certificate (DER) of the machine `name`, whose key has been proven to be `key`.
    pub fn issue(&self, key: &PublicKey, name: &MachineName, now: SystemTime) -> Result<Vec<u8>, AuthorityError> {
        let fqdn = name.in_zone(&self.trust.zone);
        let refuse = || AuthorityError::Certificate(fqdn.clone());
        let mut params = CertificateParams::default();
        params.distinguished_name = common_name(&fqdn);
        params.is_ca = IsCa::ExplicitNoCa;
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![
            ExtendedKeyUsagePurpose::Other(IPSEC_IKE.to_vec()),
            ExtendedKeyUsagePurpose::ServerAuth,
            ExtendedKeyUsagePurpose::ClientAuth,
            ExtendedKeyUsagePurpose::Other(PKINIT_CLIENT.to_vec()),
            ExtendedKeyUsagePurpose::Other(PKINIT_KDC.to_vec()),
        ];
        params.use_authority_key_identifier_extension = true;
        let names = self.alternative_names(key, &fqdn).ok_or_else(refuse)?;
        params.custom_extensions = vec![CustomExtension::from_oid_content(SUBJECT_ALT_NAME, names)];
        set_validity(&mut params, now, CERTIFICATE_LIFE)?;
        let ca = CertificateDer::from(self.trust.ca.as_slice());
        let issuer = Issuer::from_ca_cert_der(&ca, &self.key).map_err(|_| refuse())?;
        Ok(params.signed_by(key, &issuer).map_err(|_| refuse())?.der().to_vec())
    }

    /// Signs `message` for the one use that `context` names.
    pub(super) fn sign(&self, context: &str, message: &[u8]) -> Result<Vec<u8>, KeyError> {
        self.key.sign_for(context, message)
    }

    fn alternative_names(&self, key: &PublicKey, fqdn: &str) -> Option<Vec<u8>> {
        let inner = self.trust.prefix.inner_address(key.spki());
        let zone = self.trust.zone.as_str().to_ascii_uppercase();
        let owner = principal_name(&zone, NT_PRINCIPAL, &[self.account.as_str()]);
        // The machine is a realm of its own too, named by its key: as a KDC it signs with the same key.
        let realm = key.realm();
        let kdc = principal_name(&realm, NT_SRV_INST, &["krbtgt", &realm]);
        let san = |principal: &[u8]| Some(GeneralName::OtherName(OtherName { type_id: PKINIT_SAN, value: der::x509(principal).ok()? }));
        let names = SubjectAltName(vec![
            GeneralName::DnsName(Ia5String::new(fqdn).ok()?),
            GeneralName::IpAddress(OctetString::new(inner.octets()).ok()?),
            san(&owner)?,
            san(&kdc)?,
        ]);
        names.to_der().ok()
    }
}

impl AccountTrust {
    /// The CA's public key.
    pub fn authority_key(&self) -> Result<PublicKey, CertificateError> {
        let certificate = der::x509::<x509_cert::Certificate>(&self.ca).map_err(|_| CertificateError::Authority)?;
        let spki = certificate.tbs_certificate.subject_public_key_info.to_der().map_err(|_| CertificateError::Authority)?;
        PublicKey::from_spki(&spki).map_err(|_| CertificateError::Authority)
    }

    /// Whether the CA signed `message` for the use that `context` names.
    pub(super) fn signed(&self, context: &str, message: &[u8], signature: &[u8]) -> bool {
        self.authority_key().is_ok_and(|key| key.signed(context, message, signature))
    }
}

fn common_name(name: &str) -> DistinguishedName {
    let mut subject = DistinguishedName::new();
    subject.push(DnType::CommonName, name);
    subject
}

/// Validity from a little before `now`, and a random serial number of 127 bits (RFC 5280 §4.1.2.2: positive, at most 20 octets).
fn set_validity(params: &mut CertificateParams, now: SystemTime, life: Duration) -> Result<(), KeyError> {
    let since_epoch = now.duration_since(SystemTime::UNIX_EPOCH).unwrap_or(Duration::ZERO).min(LATEST);
    let epoch = rcgen::date_time_ymd(1970, 1, 1);
    params.not_before = epoch + since_epoch.saturating_sub(BACKDATED);
    params.not_after = epoch + since_epoch + life;
    let [first, rest @ ..] = random::<16>()?;
    let mut serial = vec![(first & 0x7f) | 0x40];
    serial.extend_from_slice(&rest);
    params.serial_number = Some(SerialNumber::from_slice(&serial));
    Ok(())
}

/// Name types of RFC 4120 §6.2.
const NT_PRINCIPAL: u8 = 1;
const NT_SRV_INST: u8 = 2;

/// KRB5PrincipalName (RFC 4556 §3.2.2) of the principal with these components in `realm`.
fn principal_name(realm: &str, name_type: u8, components: &[&str]) -> Vec<u8> {
    const SEQUENCE: u8 = 0x30;
    const GENERAL_STRING: u8 = 0x1b;
    const INTEGER: u8 = 0x02;
    let components: Vec<u8> = components.iter().flat_map(|part| tlv(GENERAL_STRING, part.as_bytes())).collect();
    let principal = [tlv(0xa0, &tlv(INTEGER, &[name_type])), tlv(0xa1, &tlv(SEQUENCE, &components))].concat();
    tlv(SEQUENCE, &[tlv(0xa0, &tlv(GENERAL_STRING, realm.as_bytes())), tlv(0xa1, &tlv(SEQUENCE, &principal))].concat())
}

/// DER tag, length and value, for values shorter than 65,536 octets.
fn tlv(tag: u8, value: &[u8]) -> Vec<u8> {
    let [.., high, low] = value.len().to_be_bytes();
    let header = match (high, low) {
        (0, low @ 0..0x80) => vec![tag, low],
        (0, low) => vec![tag, 0x81, low],
        (high, low) => vec![tag, 0x82, high, low],
    };
    [header.as_slice(), value].concat()
}
