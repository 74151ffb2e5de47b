//! TLS 1.3 between machines and the base: both ends show sharing certificates, and only the account's CA is believed.
//!
//! No session is resumed, so every connection proves anew who is at the other end; no TLS 1.2, no other CA.

use std::fmt;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::{Duration, SystemTime};

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{ResolvesClientCert, Resumption, WantsClientCert};
use rustls::crypto::{CryptoProvider, aws_lc_rs, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::server::{ClientHello, NoServerSessionStorage, ResolvesServerCert};
use rustls::sign::{CertifiedKey, Signer, SigningKey};
use rustls::{
    ClientConfig, ConfigBuilder, ConnectionCommon, DigitallySignedStruct, DistinguishedName, Error, OtherError, PeerMisbehaved,
    ServerConfig, SignatureAlgorithm, SignatureScheme, version,
};

use super::certificate::{self, AccountTrust, CertificateError, Purpose};
use super::identity::Identity;
use super::invite::Fingerprint;
use super::key::{KeyAlgorithm, MachineKey};

/// ALPN of DNS over TLS (RFC 7858).
pub const ALPN_DOT: &[u8] = b"dot";
/// ALPN of HTTP/1.1 (RFC 7301), which carries enrolment.
pub const ALPN_HTTP: &[u8] = b"http/1.1";

/// What both ends of one TLS connection know and no other connection has: the channel binding `tls-exporter` (RFC 9266), which the exporter
/// of TLS makes (RFC 8446 §7.5). Signing it proves that the key is at this end of this connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ChannelBinding(pub(super) [u8; 32]);

impl ChannelBinding {
    /// That of a connection whose handshake is done.
    pub fn of<Data>(connection: &ConnectionCommon<Data>) -> Result<Self, Error> {
        connection.export_keying_material([0; 32], b"EXPORTER-Channel-Binding", Some(&[])).map(Self)
    }

    /// Its octets.
    pub fn octets(&self) -> &[u8; 32] {
        &self.0
    }
}

/// What a machine shows of itself in TLS. It can be replaced while connections use it, so that a renewed certificate takes effect at once.
#[derive(Debug)]
pub struct OwnCertificate(RwLock<Arc<CertifiedKey>>);

impl OwnCertificate {
    /// What `identity` shows.
    pub fn new(identity: &Identity) -> Arc<Self> {
        Arc::new(Self(RwLock::new(certified(identity))))
    }

    /// From now on, shows the certificate of `identity`.
    pub fn replace(&self, identity: &Identity) {
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = certified(identity);
    }

    fn current(&self) -> Arc<CertifiedKey> {
        Arc::clone(&self.0.read().unwrap_or_else(PoisonError::into_inner))
    }
}

/// The chain goes out with the CA certificate in it: a machine that joins knows only its fingerprint.
fn certified(identity: &Identity) -> Arc<CertifiedKey> {
    let chain = vec![identity.certificate().to_vec().into(), identity.trust().ca.clone().into()];
    Arc::new(CertifiedKey::new(chain, Arc::new(TlsKey(Arc::clone(identity.key())))))
}

impl ResolvesServerCert for OwnCertificate {
    fn resolve(&self, _hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(self.current())
    }
}

impl ResolvesClientCert for OwnCertificate {
    fn resolve(&self, _authorities: &[&[u8]], _schemes: &[SignatureScheme]) -> Option<Arc<CertifiedKey>> {
        Some(self.current())
    }

    fn has_certs(&self) -> bool {
        true
    }
}

/// The base's end: DNS over TLS and enrolment, told apart by ALPN. A client may show a certificate, and is refused if it is not a right one.
pub fn base_config(identity: &Identity, own: Arc<OwnCertificate>) -> Result<Arc<ServerConfig>, Error> {
    let verifier = Arc::new(MemberVerifier(Verifying::new(), identity.trust().clone()));
    let mut config = ServerConfig::builder_with_provider(provider())
        .with_protocol_versions(&[&version::TLS13])?
        .with_client_cert_verifier(verifier)
        .with_cert_resolver(own);
    config.alpn_protocols = vec![ALPN_DOT.to_vec(), ALPN_HTTP.to_vec()];
    config.session_storage = Arc::new(NoServerSessionStorage {});
    config.send_tls13_tickets = 0;
    Ok(Arc::new(config))
}

/// A member's end, for [`ALPN_DOT`] or [`ALPN_HTTP`]: believes only the account's base, whatever name is asked for, and shows its own certificate.
pub fn member_config(identity: &Identity, own: Arc<OwnCertificate>, alpn: &[u8]) -> Result<Arc<ClientConfig>, Error> {
    let fqdn = identity.base().name.in_zone(identity.zone());
    let sought = Sought::Joined { trust: identity.trust().clone(), fqdn };
    Ok(Arc::new(settled(seeking(sought)?.with_client_cert_resolver(own), alpn)))
}

/// The end of a machine that joins: believes only the base that `fingerprint` describes, and shows nothing.
pub(super) fn joining_config(fingerprint: Fingerprint) -> Result<Arc<ClientConfig>, Error> {
    Ok(Arc::new(settled(seeking(Sought::Invited(fingerprint))?.with_no_client_auth(), ALPN_HTTP)))
}

fn seeking(sought: Sought) -> Result<ConfigBuilder<ClientConfig, WantsClientCert>, Error> {
    let verifier = Arc::new(BaseVerifier { verifying: Verifying::new(), sought });
    let builder = ClientConfig::builder_with_provider(provider()).with_protocol_versions(&[&version::TLS13])?;
    Ok(builder.dangerous().with_custom_certificate_verifier(verifier))
}

fn settled(mut config: ClientConfig, alpn: &[u8]) -> ClientConfig {
    config.alpn_protocols = vec![alpn.to_vec()];
    config.resumption = Resumption::disabled();
    config
}

fn provider() -> Arc<CryptoProvider> {
    Arc::new(aws_lc_rs::default_provider())
}

/// The base, as a machine that joins has found it.
#[derive(Clone, Debug)]
pub(super) struct FoundBase {
    pub(super) certificate: Vec<u8>,
    pub(super) authority: Vec<u8>,
    pub(super) fqdn: String,
}

impl FoundBase {
    /// The base whose chain this is, if it is the one that `fingerprint` describes. The path is not checked yet.
    pub(super) fn recognise(
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        fingerprint: Fingerprint,
    ) -> Option<Self> {
        let fqdn = certificate::claimed_fqdn(end_entity).ok()?;
        let authority = intermediates.first()?;
        let same = Fingerprint::of(authority, &fqdn) == fingerprint;
        same.then(|| Self { certificate: end_entity.to_vec(), authority: authority.to_vec(), fqdn })
    }
}

/// The peer's chain is not the one that the invitation code describes.
#[derive(Debug, thiserror::Error)]
#[error("it is not the base that made this invitation code")]
struct OtherBase;

/// By what a machine recognises the base.
#[derive(Debug)]
enum Sought {
    /// By the fingerprint in the invitation code.
    Invited(Fingerprint),
    /// By the name that it has in the account that this machine is in.
    Joined { trust: AccountTrust, fqdn: String },
}

impl Sought {
    fn check(&self, end_entity: &CertificateDer<'_>, intermediates: &[CertificateDer<'_>], now: SystemTime) -> Result<(), Error> {
        match self {
            Self::Invited(fingerprint) => {
                let found = FoundBase::recognise(end_entity, intermediates, *fingerprint).ok_or_else(|| refuse(OtherBase))?;
                certificate::verify_path(end_entity, &found.authority, Purpose::TlsServer, now).map_err(refuse)
            }
            Self::Joined { trust, fqdn } => {
                let peer = certificate::verify(end_entity, trust, Purpose::TlsServer, now).map_err(refuse)?;
                if peer.fqdn == *fqdn {
                    return Ok(());
                }
                Err(refuse(CertificateError::NotTheBase { subject: peer.fqdn, base: fqdn.clone() }))
            }
        }
    }
}

/// Recognises the base.
#[derive(Debug)]
struct BaseVerifier {
    verifying: Verifying,
    sought: Sought,
}

impl ServerCertVerifier for BaseVerifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        self.sought.check(end_entity, intermediates, time(now)).map(|()| ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _message: &[u8],
        _certificate: &CertificateDer<'_>,
        _signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Err(NO_TLS12)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.verifying.signature(message, certificate, signed)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.verifying.schemes()
    }
}

/// Recognises the machines of the account, also those whose certificate has ended, or they could never ask for a new one. Whether it has,
/// and whether they are still in the roster, is asked later, where there is somebody to answer and it is known what they want.
#[derive(Debug)]
struct MemberVerifier(Verifying, AccountTrust);

impl ClientCertVerifier for MemberVerifier {
    fn client_auth_mandatory(&self) -> bool {
        false
    }

    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &[]
    }

    fn verify_client_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        certificate::verify_even_ended(end_entity, &self.1, Purpose::TlsClient, time(now)).map_err(refuse)?;
        Ok(ClientCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _message: &[u8],
        _certificate: &CertificateDer<'_>,
        _signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Err(NO_TLS12)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.0.signature(message, certificate, signed)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.schemes()
    }
}

const NO_TLS12: Error = Error::PeerMisbehaved(PeerMisbehaved::SignedHandshakeWithUnadvertisedSigScheme);

/// Checks handshake signatures by the algorithms that machines have.
#[derive(Debug)]
struct Verifying(Arc<CryptoProvider>);

impl Verifying {
    fn new() -> Self {
        Self(provider())
    }

    fn signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, certificate, signed, &self.0.signature_verification_algorithms)
    }

    fn schemes(&self) -> Vec<SignatureScheme> {
        vec![SignatureScheme::ECDSA_NISTP256_SHA256, SignatureScheme::ED25519]
    }
}

fn refuse(error: impl std::error::Error + Send + Sync + 'static) -> Error {
    Error::InvalidCertificate(rustls::CertificateError::Other(OtherError(Arc::new(error))))
}

fn time(now: UnixTime) -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_secs(now.as_secs())
}

/// The machine's key at the service of TLS, which never holds a copy of it.
struct TlsKey(Arc<MachineKey>);

impl fmt::Debug for TlsKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl SigningKey for TlsKey {
    fn choose_scheme(&self, offered: &[SignatureScheme]) -> Option<Box<dyn Signer>> {
        let scheme = self.scheme();
        offered.contains(&scheme).then(|| Box::new(Self(Arc::clone(&self.0))) as Box<dyn Signer>)
    }

    fn algorithm(&self) -> SignatureAlgorithm {
        match self.0.algorithm() {
            KeyAlgorithm::EcdsaP256 => SignatureAlgorithm::ECDSA,
            KeyAlgorithm::Ed25519 => SignatureAlgorithm::ED25519,
        }
    }
}

impl Signer for TlsKey {
    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, Error> {
        self.0.sign(message).map_err(|error| Error::General(error.to_string()))
    }

    fn scheme(&self) -> SignatureScheme {
        match self.0.algorithm() {
            KeyAlgorithm::EcdsaP256 => SignatureScheme::ECDSA_NISTP256_SHA256,
            KeyAlgorithm::Ed25519 => SignatureScheme::ED25519,
        }
    }
}
