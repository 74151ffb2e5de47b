//! Enrolment over HTTP/1.1, the machine's end.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt;
use futures::stream::FuturesUnordered;
use http_body_util::Full;
use hyper::body::Bytes;
use hyper::header::HOST;
use hyper::{Method, Request, StatusCode};
use hyper_util::rt::TokioIo;
use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::net::TcpStream;
use tokio::time::{sleep, timeout};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use zeroize::Zeroizing;

use super::body;
use crate::account::certificate::CertificateError;
use crate::account::enrol::{MAX_REQUEST, MAX_RESPONSE, Membership, Refusal, RenewRequest, Renewal};
use crate::account::identity::Identity;
use crate::account::invite::{CodeError, Fingerprint, InvitationCode};
use crate::account::join::{AnswerError, Applicant};
use crate::account::key::{KeyError, MachineKey};
use crate::account::layout::StateError;
use crate::account::linux;
use crate::account::name::MachineName;
use crate::account::roster::{Roster, RosterError, SignedRoster};
use crate::account::tls::{ALPN_HTTP, ChannelBinding, FoundBase, OwnCertificate, joining_config, member_config};
use crate::clock;

/// How long connecting and shaking hands with one address may take.
const REACH_TIME: Duration = Duration::from_secs(8);
/// Head start of each address over the next.
const STAGGER: Duration = Duration::from_millis(250);
/// How long one request may take.
const REQUEST_TIME: Duration = Duration::from_secs(20);

/// Why one address did not lead to the base.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// No TCP connection.
    #[error("{0}")]
    Connect(std::io::Error),
    /// No answer in time.
    #[error("no answer")]
    Silent,
    /// A connection, but not to the base, or not over TLS.
    #[error("{0}")]
    Handshake(String),
}

/// Why the base did not give an answer that can be used.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// None of the addresses led to the base.
    #[error("cannot reach the base at {}; is btmmd running there, and its TCP port open to the internet?", list(.0))]
    Unreachable(Vec<(SocketAddr, Failure)>),
    /// No address is known.
    #[error("this machine does not know where its base is")]
    NoAddress,
    /// Reached, but the conversation broke off.
    #[error("the base at {address} broke off: {why}")]
    BrokeOff {
        /// Where.
        address: SocketAddr,
        /// What happened.
        why: String,
    },
    /// The base said no.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// The system's cryptography.
    #[error(transparent)]
    Key(#[from] KeyError),
    /// TLS could not be set up on this machine.
    #[error("TLS cannot be set up: {0}")]
    Tls(#[from] rustls::Error),
    /// The roster in the answer.
    #[error(transparent)]
    Roster(#[from] RosterError),
    /// The certificate in the answer.
    #[error(transparent)]
    Certificate(#[from] CertificateError),
    /// The state directory.
    #[error(transparent)]
    State(#[from] StateError),
}

/// Why this machine did not join. Nothing but its key was written.
#[derive(Debug, thiserror::Error)]
pub enum JoinError {
    /// The code.
    #[error(transparent)]
    Code(#[from] CodeError),
    /// The conversation with the base.
    #[error(transparent)]
    Client(#[from] ClientError),
    /// What the base answered.
    #[error(transparent)]
    Answer(#[from] AnswerError),
    /// The state directory.
    #[error(transparent)]
    State(#[from] StateError),
}

fn list(failures: &[(SocketAddr, Failure)]) -> String {
    let listed: Vec<String> = failures.iter().map(|(address, failure)| format!("{address} ({failure})")).collect();
    listed.join(", ")
}

/// Joins the account that `code` invites to, under the name `name`, and keeps what it learns in `state_dir`.
///
/// A machine that is in the account already may join again (its certificate ran out, say) with the name that it has.
pub async fn join(code: &InvitationCode, name: MachineName, state_dir: &Path) -> Result<Identity, JoinError> {
    if let Some(known) = Identity::load_if_joined(state_dir)? {
        let same_account = Fingerprint::of(&known.trust().ca, &known.base().name.in_zone(known.zone())) == code.fingerprint;
        if known.is_base() || !same_account {
            return Err(known.exists(state_dir).into());
        }
    }
    if clock::wall() >= code.expires_at() {
        return Err(CodeError::Expired.into());
    }
    let tls = joining_config(code.fingerprint).map_err(ClientError::Tls)?;
    let (address, stream) = reach(code.addresses(), tls).await?;
    let chain = stream.get_ref().1.peer_certificates().and_then(<[_]>::split_first);
    let found = chain.and_then(|(leaf, rest)| FoundBase::recognise(leaf, rest, code.fingerprint));
    let found = found.expect("the handshake does not end well with any other base");

    let applicant = Applicant { key: Arc::new(machine_key(state_dir).await?), name };
    let channel = ChannelBinding::of(stream.get_ref().1).map_err(ClientError::Tls)?;
    let request = applicant.request(code, &channel).map_err(ClientError::Key)?;
    let answer: Membership = exchange(address, stream, Method::POST, "/v1/join", Some(&request)).await?;
    let signed = answer.roster.clone();
    let addresses = preferring(address, code.addresses());
    let (identity, _) = applicant.accept(answer, &found, addresses, clock::wall())?;
    linux::write_roster(state_dir, &signed)?;
    identity.save(state_dir)?;
    Ok(identity)
}

/// The machine's key. A token takes its time.
async fn machine_key(state_dir: &Path) -> Result<MachineKey, StateError> {
    let state_dir = state_dir.to_owned();
    let opened = tokio::task::spawn_blocking(move || linux::machine_key(&state_dir)).await;
    opened.unwrap_or(Err(StateError::Key(KeyError::Library("open the key"))))
}

fn preferring(first: SocketAddr, all: &[SocketAddr]) -> Vec<SocketAddr> {
    std::iter::once(first).chain(all.iter().copied().filter(|address| *address != first)).collect()
}

/// A joined machine's way to its base.
#[derive(Debug)]
pub struct Member {
    identity: Identity,
    own: Arc<OwnCertificate>,
    tls: Arc<ClientConfig>,
    state_dir: PathBuf,
}

impl Member {
    /// The way from `identity`, kept in `state_dir`, to its base. `own` is what the machine shows of itself, here and elsewhere.
    pub fn new(identity: Identity, own: Arc<OwnCertificate>, state_dir: &Path) -> Result<Self, ClientError> {
        let tls = member_config(&identity, Arc::clone(&own), ALPN_HTTP)?;
        Ok(Self { identity, own, tls, state_dir: state_dir.to_owned() })
    }

    /// What the machine is, with its newest certificate.
    pub fn identity(&self) -> &Identity {
        &self.identity
    }

    /// From now on, and after a restart, looks for the base at `addresses`.
    pub fn move_base(&mut self, addresses: Vec<SocketAddr>) -> Result<(), StateError> {
        let mut moved = self.identity.clone();
        moved.base.addresses = addresses;
        moved.save(&self.state_dir)?;
        self.identity = moved;
        Ok(())
    }

    /// Asks for the roster, checks it against the one known, keeps it on disk unless a newer one is there, and returns it.
    pub async fn fetch_roster(&self, known: Option<&Roster>) -> Result<Roster, ClientError> {
        let (address, stream) = reach(&self.identity.base().addresses, Arc::clone(&self.tls)).await?;
        let signed: SignedRoster = exchange(address, stream, Method::GET, "/v1/roster", None::<&()>).await?;
        let roster = signed.verify(self.identity.trust())?.succeed(known)?;
        linux::keep_roster(&self.state_dir, &signed, &roster, self.identity.trust())?;
        Ok(roster)
    }

    /// Asks for a new certificate for the same key, keeps it on disk and shows it from now on.
    pub async fn renew(&mut self) -> Result<(), ClientError> {
        let (address, stream) = reach(&self.identity.base().addresses, Arc::clone(&self.tls)).await?;
        let request = RenewRequest { request: self.identity.key().certificate_request()? };
        let Renewal { certificate } = exchange(address, stream, Method::POST, "/v1/renew", Some(&request)).await?;
        let renewed = self.identity.renewed(certificate, clock::wall())?;
        renewed.save(&self.state_dir)?;
        self.own.replace(&renewed);
        self.identity = renewed;
        Ok(())
    }
}

/// Shakes hands with the base at the first of `addresses` to do so; later ones start a little later.
pub(super) async fn reach(addresses: &[SocketAddr], tls: Arc<ClientConfig>) -> Result<(SocketAddr, TlsStream<TcpStream>), ClientError> {
    let connector = TlsConnector::from(tls);
    let mut attempts: FuturesUnordered<_> = (0..)
        .zip(addresses)
        .map(|(place, address)| {
            let connector = connector.clone();
            async move {
                sleep(STAGGER * place).await;
                let reached = timeout(REACH_TIME, shake_hands(*address, connector)).await;
                (*address, reached.unwrap_or(Err(Failure::Silent)))
            }
        })
        .collect();
    let mut failures = Vec::new();
    while let Some((address, reached)) = attempts.next().await {
        match reached {
            Ok(stream) => return Ok((address, stream)),
            Err(failure) => failures.push((address, failure)),
        }
    }
    if failures.is_empty() { Err(ClientError::NoAddress) } else { Err(ClientError::Unreachable(failures)) }
}

async fn shake_hands(address: SocketAddr, connector: TlsConnector) -> Result<TlsStream<TcpStream>, Failure> {
    let stream = TcpStream::connect(address).await.map_err(Failure::Connect)?;
    stream.set_nodelay(true).map_err(Failure::Connect)?;
    // The base is known by its certificate alone; no name goes out in clear.
    let name = ServerName::IpAddress(address.ip().into());
    connector.connect(name, stream).await.map_err(|error| Failure::Handshake(explain(&error)))
}

/// What people should read of a failed handshake: our own reason, where it was ours.
fn explain(error: &std::io::Error) -> String {
    let inner = error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>());
    match inner {
        Some(rustls::Error::InvalidCertificate(rustls::CertificateError::Other(ours))) => ours.to_string(),
        Some(theirs) => theirs.to_string(),
        None => error.to_string(),
    }
}

/// Sends one request on a fresh connection and reads the answer.
pub(super) async fn exchange<T: DeserializeOwned>(
    address: SocketAddr,
    stream: TlsStream<TcpStream>,
    method: Method,
    path: &str,
    body: Option<&impl Serialize>,
) -> Result<T, ClientError> {
    let broke_off = |why: String| ClientError::BrokeOff { address, why };
    let body = body.map(|body| body::json(body, MAX_REQUEST)).unwrap_or_default();
    let request = Request::builder().method(method).uri(path).header(HOST, address.to_string()).body(Full::new(body));
    let request = request.map_err(|error| broke_off(error.to_string()))?;
    let (status, body) = timeout(REQUEST_TIME, converse(stream, request))
        .await
        .map_err(|_| broke_off("no answer".to_owned()))?
        .map_err(|error| broke_off(error.to_string()))?;
    let nonsense = |error: serde_json::Error| broke_off(format!("its answer makes no sense ({error})"));
    if status == StatusCode::OK {
        serde_json::from_slice(&body).map_err(nonsense)
    } else {
        Err(serde_json::from_slice::<Refusal>(&body).map_err(nonsense)?.into())
    }
}

type Unspecific = Box<dyn std::error::Error + Send + Sync>;

async fn converse(stream: TlsStream<TcpStream>, request: Request<Full<Bytes>>) -> Result<(StatusCode, Zeroizing<Vec<u8>>), Unspecific> {
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
    let answered = async {
        let response = sender.send_request(request).await?;
        let status = response.status();
        let body = body::read(response.into_body(), MAX_RESPONSE).await?;
        Ok::<_, Unspecific>((status, body))
    };
    tokio::pin!(answered, connection);
    tokio::select! {
        answered = &mut answered => answered,
        ended = &mut connection => {
            ended?;
            answered.await
        }
    }
}
