//! AUTH: who somebody is, and the proof (RFC 7296 §2.15, RFC 7427).

use std::net::Ipv6Addr;
use std::sync::Arc;

use super::cause::{Cause, Reason};
use super::channel::Channel;
use super::codec::number::{self, AUTH_DIGITAL_SIGNATURE, CERT_X509, ID_FQDN, notify};
use super::codec::{Identity, Payload, Selector};
use super::crypto::keys::{Exchanged, IkeKeys};
use super::crypto::prf::prf;
use super::crypto::signature;
use super::parts::Parts;
use super::port::{CredentialError, Credentials, PeerIdentity, SignatureAlgorithm};
use super::turn::Core;

/// Certificates in one message, at most: the peer's own and what leads to the account's authority.
const CERTIFICATES_MAX: usize = 6;

/// What IKE_SA_INIT leaves behind for IKE_AUTH.
#[derive(Clone, Debug)]
pub(super) struct InitExchange {
    /// The request, as the initiator sent it last.
    pub request: Vec<u8>,
    /// The response.
    pub response: Vec<u8>,
    /// The initiator's nonce.
    pub ni: Vec<u8>,
    /// The responder's nonce.
    pub nr: Vec<u8>,
    /// The peer's SIGNATURE_HASH_ALGORITHMS.
    pub hashes: Vec<u8>,
    /// When the request was first sent, or seen, in the order of all events here.
    pub sequence: u64,
}

impl InitExchange {
    /// The lesser nonce, which decides between concurrent SAs.
    pub fn floor(&self) -> Vec<u8> {
        self.ni.clone().min(self.nr.clone())
    }

    /// What the keys are made of beside the shared secret.
    pub fn exchanged(&self, spi_i: u64, spi_r: u64) -> Exchanged<'_> {
        Exchanged { ni: &self.ni, nr: &self.nr, spi_i, spi_r }
    }

    /// The octets that the initiator (or the responder) signs.
    fn signed_by(&self, initiator: bool, keys: &IkeKeys, identity: &Identity) -> Vec<u8> {
        let (message, nonce, key) = if initiator { (&self.request, &self.nr, &keys.pi) } else { (&self.response, &self.ni, &keys.pr) };
        [message.as_slice(), nonce, prf(key.as_slice(), &[&identity.body()]).as_slice()].concat()
    }
}

/// An authenticated peer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Peer {
    pub name: String,
    pub inner: Ipv6Addr,
    pub signature: SignatureAlgorithm,
    /// What it showed, to be judged again when whom we believe has changed.
    pub certificates: Arc<[Vec<u8>]>,
}

impl Peer {
    /// Whether it would be let in today.
    pub fn still_believed(&self, credentials: &dyn Credentials) -> Result<(), CredentialError> {
        let (own, chain) = self.certificates.split_first().ok_or_else(|| CredentialError("no certificate".to_owned()))?;
        let chain: Vec<&[u8]> = chain.iter().map(Vec::as_slice).collect();
        credentials.verify_peer(own, &chain).map(drop)
    }
}

/// Why IKE_AUTH does not go through, and what the other side is told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct AuthFailure {
    pub notify: u16,
    pub why: Cause,
}

impl AuthFailure {
    fn authentication(reason: Reason, text: impl Into<String>) -> Self {
        Self { notify: notify::AUTHENTICATION_FAILED, why: Cause::new(reason, text) }
    }

    /// It is not the peer's proof that fails but ours, and a later attempt may go through: the peer is told so.
    fn own_key(text: String) -> Self {
        Self { notify: notify::TEMPORARY_FAILURE, why: Cause::new(Reason::OwnCredentials, text) }
    }
}

/// Our identification.
pub(super) fn identity(name: &str) -> Identity {
    Identity { kind: ID_FQDN, reserved: [0; 3], data: name.as_bytes().to_vec() }
}

/// CERT and AUTH of our side, in this order, after our ID. `None`: our signature is still on its way.
pub(super) fn prove(core: &Core, channel: &Channel, init: &InitExchange) -> Result<Option<Vec<Payload>>, AuthFailure> {
    let credentials = &core.credentials;
    if !signature::accepts(&init.hashes, credentials.algorithm()) {
        let text = format!("the peer does not accept {} signatures", credentials.algorithm().name());
        return Err(AuthFailure::authentication(Reason::AuthenticationFailed, text));
    }
    let identity = identity(credentials.name());
    let message = init.signed_by(channel.initiator, &channel.keys, &identity);
    let signed =
        credentials.sign(&message).map_err(|error| AuthFailure::own_key(format!("cannot sign for {}: {error}", credentials.name())))?;
    let Some(signed) = signed else { return Ok(None) };
    let own = std::iter::once(credentials.certificate()).chain(credentials.intermediates().iter().map(Vec::as_slice));
    let mut payloads = vec![if channel.initiator { Payload::IdI(identity) } else { Payload::IdR(identity) }];
    payloads.extend(own.map(|certificate| Payload::Cert { encoding: CERT_X509, data: certificate.to_vec() }));
    payloads.extend(
        credentials.authority().filter(|_| channel.initiator).map(|hash| Payload::CertReq { encoding: CERT_X509, data: hash.to_vec() }),
    );
    payloads.push(Payload::Auth { method: AUTH_DIGITAL_SIGNATURE, data: signature::wrap(credentials.algorithm(), &signed) });
    Ok(Some(payloads))
}

/// Checks the peer's ID, certificate and AUTH against each other.
pub(super) fn check(core: &Core, channel: &Channel, init: &InitExchange, parts: &Parts) -> Result<Peer, AuthFailure> {
    let refused = |text: String| AuthFailure::authentication(Reason::AuthenticationFailed, text);
    let claimed = if channel.initiator { &parts.id_r } else { &parts.id_i };
    let identity = claimed.as_ref().ok_or_else(|| refused("the peer does not say who it is".into()))?;
    let (method, data) = parts.auth.as_ref().ok_or_else(|| refused("the peer sends no AUTH".into()))?;
    let (own, chain) = parts.certificates.split_first().ok_or_else(|| refused("the peer sends no certificate".into()))?;
    if parts.certificates.len() > CERTIFICATES_MAX {
        return Err(refused(format!("the peer sends {} certificates", parts.certificates.len())));
    }
    let chain: Vec<&[u8]> = chain.iter().map(Vec::as_slice).collect();
    let PeerIdentity { name, inner, spki } =
        core.credentials.verify_peer(own, &chain).map_err(|error| refused(format!("the peer's certificate is refused: {error}")))?;
    let name = name.to_ascii_lowercase();
    if identity.kind != ID_FQDN || !identity.data.eq_ignore_ascii_case(name.as_bytes()) {
        let said = String::from_utf8_lossy(&identity.data).escape_debug().to_string();
        return Err(refused(format!("the peer says it is {said:?} but its certificate is for {name}")));
    }
    if *method != AUTH_DIGITAL_SIGNATURE {
        return Err(refused(format!("{name} authenticates by method {method}, not by digital signature")));
    }
    let message = init.signed_by(!channel.initiator, &channel.keys, identity);
    let signature = signature::verify(data, &spki, &message).map_err(|error| refused(format!("{name}: {error}")))?;
    if name == core.credentials.name() || inner == core.credentials.inner() {
        return Err(AuthFailure::authentication(Reason::WrongPeer, format!("the peer has this machine's own name or address ({name})")));
    }
    Ok(Peer { name, inner, signature, certificates: parts.certificates.clone().into() })
}

/// The traffic selectors must be exactly the two certificates' addresses: `initiator` and `responder` of the exchange.
pub(super) fn check_selectors(parts: &Parts, initiator: Ipv6Addr, responder: Ipv6Addr) -> Result<(), AuthFailure> {
    let exact = |selectors: &Option<Vec<Selector>>, address| selectors.as_deref() == Some(&[Selector::host(address)]);
    if exact(&parts.ts_i, initiator) && exact(&parts.ts_r, responder) {
        return Ok(());
    }
    let text = format!("the traffic selectors are not exactly {initiator} and {responder}");
    Err(AuthFailure { notify: notify::TS_UNACCEPTABLE, why: Cause::new(Reason::TrafficSelectors, text) })
}

/// TSi and TSr for the two addresses.
pub(super) fn selectors(initiator: Ipv6Addr, responder: Ipv6Addr) -> [Payload; 2] {
    [Payload::TsI(vec![Selector::host(initiator)]), Payload::TsR(vec![Selector::host(responder)])]
}

/// The cause that belongs to an error notification from `peer`.
pub(super) fn refusal(peer: &str, error: u16) -> Cause {
    let (reason, text) = match error {
        notify::AUTHENTICATION_FAILED => (Reason::AuthenticationFailed, "does not accept our certificate or signature".to_owned()),
        notify::TEMPORARY_FAILURE => {
            (Reason::PeerCredentials, "cannot sign now: its own key is out of reach (see btmm status there)".to_owned())
        }
        notify::NO_PROPOSAL_CHOSEN => (Reason::NoProposalChosen, "shares no algorithms with us".to_owned()),
        notify::TS_UNACCEPTABLE => (Reason::TrafficSelectors, "does not accept the two inner addresses".to_owned()),
        other => (Reason::Protocol, format!("answers {}", number::notify::name(other))),
    };
    Cause::new(reason, format!("{peer} {text}"))
}
