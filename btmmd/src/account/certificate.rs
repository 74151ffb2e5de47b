//! The sharing certificate: who a peer is, checked.

use std::fmt;
use std::net::Ipv6Addr;
use std::time::{Duration, SystemTime};

use rustls::pki_types::{CertificateDer, UnixTime};
use webpki::{ALL_VERIFICATION_ALGS, EndEntityCert, KeyUsage, anchor_from_trusted_cert};
use x509_cert::Certificate;
use x509_cert::der::Encode;
use x509_cert::ext::pkix::SubjectAltName;
use x509_cert::ext::pkix::name::GeneralName;

use super::name::{MachineName, ZoneName};
use super::prefix::UlaPrefix;
use crate::wire::der;

/// How far a certificate's start lies before the moment at which it was issued, so that a peer whose clock is a little behind believes it.
pub(super) const BACKDATED: Duration = Duration::from_secs(300);

/// The largest certificate that is looked at, in octets.
pub const MAX_CERTIFICATE: usize = 8192;

/// Contents of the OID id-kp-ipsecIKE, 1.3.6.1.5.5.7.3.17 (RFC 4945 §5.1.3.12).
const IPSEC_IKE: &[u8] = &[0x2b, 6, 1, 5, 5, 7, 3, 17];
/// Contents of the OID id-pkinit-KPClientAuth, 1.3.6.1.5.2.3.4 (RFC 4556 §3.2.2).
const PKINIT_CLIENT: &[u8] = &[0x2b, 6, 1, 5, 2, 3, 4];
/// Contents of the OID id-pkinit-KPKdc, 1.3.6.1.5.2.3.5 (RFC 4556 §3.2.4).
const PKINIT_KDC: &[u8] = &[0x2b, 6, 1, 5, 2, 3, 5];

/// What a certificate is being used for; it must name the purpose (RFC 5280 §4.2.1.12).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// A peer in IKE.
    Ike,
    /// The base, to a client.
    TlsServer,
    /// A machine, to the base.
    TlsClient,
    /// A machine, to the KDC of another.
    PkinitClient,
    /// The KDC of a machine, to its clients.
    PkinitKdc,
}

impl Purpose {
    fn usage(self) -> KeyUsage {
        match self {
            Self::Ike => KeyUsage::required(IPSEC_IKE),
            Self::TlsServer => KeyUsage::server_auth(),
            Self::TlsClient => KeyUsage::client_auth(),
            Self::PkinitClient => KeyUsage::required(PKINIT_CLIENT),
            Self::PkinitKdc => KeyUsage::required(PKINIT_KDC),
        }
    }
}

impl fmt::Display for Purpose {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Ike => "IKE",
            Self::TlsServer => "a TLS server",
            Self::TlsClient => "a TLS client",
            Self::PkinitClient => "a Kerberos client",
            Self::PkinitKdc => "a Kerberos KDC",
        })
    }
}

/// Whom the machines of an account believe.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AccountTrust {
    /// The account's CA certificate, DER.
    pub ca: Vec<u8>,
    /// The zone in which every machine's name lies.
    pub zone: ZoneName,
    /// The /48 in which every inner address lies.
    pub prefix: UlaPrefix,
}

/// A machine of the account, proven by its certificate (not yet by a signature: that is the protocol's to check).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PeerIdentity {
    /// Its name.
    pub name: MachineName,
    /// Its name in the zone, no trailing dot.
    pub fqdn: String,
    /// Its inner address, derived from its key.
    pub inner: Ipv6Addr,
    /// Its public key, DER SubjectPublicKeyInfo.
    pub spki: Vec<u8>,
    /// When the CA issued its certificate, by the CA's clock.
    pub issued_at: SystemTime,
}

/// Why a certificate was refused. Each names the certificate's subject, where it has one.
#[derive(Debug, thiserror::Error, PartialEq, Eq, Clone)]
pub enum CertificateError {
    /// Longer than [`MAX_CERTIFICATE`].
    #[error("a certificate of {0} octets is too long: at most {MAX_CERTIFICATE} are accepted")]
    TooLong(usize),
    /// Not an X.509 certificate in DER.
    #[error("not an X.509 certificate")]
    Malformed,
    /// The account's own CA certificate cannot be used.
    #[error("the account's CA certificate is damaged")]
    Authority,
    /// Past its end.
    #[error("the certificate of {subject} has expired")]
    Expired {
        /// Subject of the certificate.
        subject: String,
    },
    /// Before its start: one of the two clocks is wrong.
    #[error("the certificate of {subject} is not valid yet: check the clocks of both machines")]
    NotYetValid {
        /// Subject of the certificate.
        subject: String,
    },
    /// Not signed by the account's CA.
    #[error("the certificate of {subject} was not issued by this account")]
    OtherAuthority {
        /// Subject of the certificate.
        subject: String,
    },
    /// Not meant for this purpose.
    #[error("the certificate of {subject} is not meant for {purpose}")]
    WrongPurpose {
        /// Subject of the certificate.
        subject: String,
        /// The purpose it lacks.
        purpose: Purpose,
    },
    /// Not exactly one dNSName directly in the account's zone.
    #[error("the certificate of {subject} does not name exactly one machine of the zone {zone}")]
    WrongName {
        /// Subject of the certificate.
        subject: String,
        /// The account's zone.
        zone: ZoneName,
    },
    /// Not exactly one iPAddress, or not the one derived from the key.
    #[error("the certificate of {subject} does not hold exactly the address {expected} that its key gives")]
    WrongAddress {
        /// Subject of the certificate.
        subject: String,
        /// The address derived from the key.
        expected: Ipv6Addr,
    },
    /// Offered to a machine as its own, but for another key or name.
    #[error("the certificate of {subject} does not belong to this machine, {name}, and its key")]
    NotOurs {
        /// Subject of the certificate.
        subject: String,
        /// This machine's name.
        name: String,
    },
    /// A certificate of this account, but the account knows the machine by another key now.
    #[error("the account knows {subject} by another key now: that machine was replaced")]
    Replaced {
        /// Subject of the certificate.
        subject: String,
    },
    /// A certificate of this account for a machine that is not in it any more.
    #[error("{subject} is not in the account any more")]
    Removed {
        /// Subject of the certificate.
        subject: String,
    },
    /// Whether the account still has the machine cannot be known.
    #[error("{subject} is not believed: this machine has no readable list of the account's machines")]
    Unlisted {
        /// Subject of the certificate.
        subject: String,
    },
    /// A machine of the account that poses as its base.
    #[error("{subject} answers in place of the base, {base}")]
    NotTheBase {
        /// Who answered.
        subject: String,
        /// The base.
        base: String,
    },
    /// The chain failed in another way.
    #[error("the certificate of {subject} was refused: {why}")]
    Refused {
        /// Subject of the certificate.
        subject: String,
        /// What the path validation said.
        why: String,
    },
}

/// Checks the certificate of an IKE peer: [`verify`] with [`Purpose::Ike`].
pub fn verify_peer(certificate: &[u8], trust: &AccountTrust, now: SystemTime) -> Result<PeerIdentity, CertificateError> {
    verify(certificate, trust, Purpose::Ike, now)
}

/// Checks that `certificate` (DER) was issued by the account's CA for `purpose`, is valid at `now`, and binds exactly one name of
/// the zone to the one inner address that its key gives.
pub fn verify(certificate: &[u8], trust: &AccountTrust, purpose: Purpose, now: SystemTime) -> Result<PeerIdentity, CertificateError> {
    let read = Reading::of(certificate)?;
    read.check_path(certificate, &trust.ca, purpose, now)?;
    let names = read.names(trust)?;
    let spki = read.spki()?;
    let inner = trust.prefix.inner_address(&spki);
    if names.address != inner {
        return Err(CertificateError::WrongAddress { subject: read.subject, expected: inner });
    }
    Ok(PeerIdentity { fqdn: names.machine.in_zone(&trust.zone), name: names.machine, inner, spki, issued_at: read.issued_at() })
}

/// The same for a certificate that may have ended: it tells which machine asks for a new one, and is good for nothing else.
pub(super) fn verify_even_ended(
    certificate: &[u8],
    trust: &AccountTrust,
    purpose: Purpose,
    now: SystemTime,
) -> Result<PeerIdentity, CertificateError> {
    let (_, end) = validity(certificate)?;
    verify(certificate, trust, purpose, now.min(end))
}

/// Checks only that the CA `ca` issued `certificate` for `purpose` and that it is valid at `now`: for a machine that does not know its
/// account yet.
pub(crate) fn verify_path(certificate: &[u8], ca: &[u8], purpose: Purpose, now: SystemTime) -> Result<(), CertificateError> {
    Reading::of(certificate)?.check_path(certificate, ca, purpose, now)
}

/// When `certificate` (DER) starts and ends to be valid.
pub fn validity(certificate: &[u8]) -> Result<(SystemTime, SystemTime), CertificateError> {
    Ok(Reading::of(certificate)?.validity())
}

/// When a certificate should be renewed: at two thirds of its life.
pub fn renew_at(certificate: &[u8]) -> Result<SystemTime, CertificateError> {
    let (start, end) = validity(certificate)?;
    Ok(start + end.duration_since(start).unwrap_or(Duration::ZERO) / 3 * 2)
}

/// The machine name in `certificate` (DER), wherever its zone: the first label of its only dNSName. Proves nothing.
pub(super) fn claimed_fqdn(certificate: &[u8]) -> Result<String, CertificateError> {
    let read = Reading::of(certificate)?;
    let mut names = read.general_names()?.into_iter().filter_map(|name| match name {
        GeneralName::DnsName(name) => Some(name.to_string().to_ascii_lowercase()),
        _ => None,
    });
    match (names.next(), names.next()) {
        (Some(name), None) => Ok(name),
        _ => Err(CertificateError::Malformed),
    }
}

struct Names {
    machine: MachineName,
    address: Ipv6Addr,
}

/// A certificate being read; `subject` is for the errors.
struct Reading {
    certificate: Certificate,
    subject: String,
}

impl Reading {
    fn of(der: &[u8]) -> Result<Self, CertificateError> {
        if der.len() > MAX_CERTIFICATE {
            return Err(CertificateError::TooLong(der.len()));
        }
        let certificate = der::x509::<Certificate>(der).map_err(|_| CertificateError::Malformed)?;
        let subject = certificate.tbs_certificate.subject.to_string();
        let subject = subject.chars().filter(|c| !c.is_control()).take(128).collect();
        Ok(Self { certificate, subject })
    }

    fn validity(&self) -> (SystemTime, SystemTime) {
        let validity = self.certificate.tbs_certificate.validity;
        (validity.not_before.to_system_time(), validity.not_after.to_system_time())
    }

    /// When the CA issued it, by the CA's clock.
    fn issued_at(&self) -> SystemTime {
        self.validity().0 + BACKDATED
    }

    fn check_path(&self, der: &[u8], ca: &[u8], purpose: Purpose, now: SystemTime) -> Result<(), CertificateError> {
        let ca = CertificateDer::from(ca);
        let anchors = [anchor_from_trusted_cert(&ca).map_err(|_| CertificateError::Authority)?];
        let der = CertificateDer::from(der);
        let leaf = EndEntityCert::try_from(&der).map_err(|_| CertificateError::Malformed)?;
        let now = UnixTime::since_unix_epoch(now.duration_since(SystemTime::UNIX_EPOCH).unwrap_or(Duration::ZERO));
        let path = leaf.verify_for_usage(ALL_VERIFICATION_ALGS, &anchors, &[], now, purpose.usage(), None, None);
        path.map(drop).map_err(|error| self.blame(error, purpose))
    }

    fn blame(&self, error: webpki::Error, purpose: Purpose) -> CertificateError {
        let subject = self.subject.clone();
        match error {
            webpki::Error::CertExpired { .. } => CertificateError::Expired { subject },
            webpki::Error::CertNotValidYet { .. } => CertificateError::NotYetValid { subject },
            webpki::Error::UnknownIssuer | webpki::Error::InvalidSignatureForPublicKey => CertificateError::OtherAuthority { subject },
            webpki::Error::RequiredEkuNotFoundContext(_) => CertificateError::WrongPurpose { subject, purpose },
            other => CertificateError::Refused { subject, why: format!("{other:?}") },
        }
    }

    fn general_names(&self) -> Result<Vec<GeneralName>, CertificateError> {
        let extension = self.certificate.tbs_certificate.get::<SubjectAltName>();
        Ok(extension.map_err(|_| CertificateError::Malformed)?.map(|(_, names)| names.0).unwrap_or_default())
    }

    fn names(&self, trust: &AccountTrust) -> Result<Names, CertificateError> {
        let wrong_name = || CertificateError::WrongName { subject: self.subject.clone(), zone: trust.zone.clone() };
        let (mut machines, mut addresses) = (Vec::new(), Vec::new());
        for name in self.general_names()? {
            match name {
                GeneralName::DnsName(name) => machines.push(trust.zone.machine(name.as_str()).ok_or_else(wrong_name)?),
                GeneralName::IpAddress(octets) => addresses.push(<[u8; 16]>::try_from(octets.as_bytes()).ok().map(Ipv6Addr::from)),
                _ => {}
            }
        }
        let [machine] = <[MachineName; 1]>::try_from(machines).map_err(|_| wrong_name())?;
        match addresses.as_slice() {
            [Some(address)] => Ok(Names { machine, address: *address }),
            _ => Err(CertificateError::WrongAddress { subject: self.subject.clone(), expected: trust.prefix.inner_address(&self.spki()?) }),
        }
    }

    fn spki(&self) -> Result<Vec<u8>, CertificateError> {
        self.certificate.tbs_certificate.subject_public_key_info.to_der().map_err(|_| CertificateError::Malformed)
    }
}

#[cfg(test)]
mod tests;
