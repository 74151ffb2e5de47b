//! The account on the network: the base's listener, and the machines that ask it.

mod admission;
mod body;
mod client;
mod http;

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use rustls::ServerConfig;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

use self::admission::Admission;
pub use self::client::{ClientError, Failure, JoinError, Member, join};
pub use self::http::{Caller, serve_http};
use super::base::SharedBase;
use super::certificate::{self, AccountTrust, CertificateError, PeerIdentity, Purpose};
use super::tls::{ALPN_DOT, ALPN_HTTP, ChannelBinding};
use crate::clock;

/// How long a TLS handshake may take.
const HANDSHAKE_TIME: Duration = Duration::from_secs(10);
/// Pause after the system could not accept a connection (out of descriptors, mostly).
const ACCEPT_PAUSE: Duration = Duration::from_millis(200);

type Verify = fn(&[u8], &AccountTrust, Purpose, SystemTime) -> Result<PeerIdentity, CertificateError>;

/// A connection to the base that speaks DNS over TLS.
#[derive(Debug)]
pub struct DotConnection {
    /// The stream, after its handshake.
    pub stream: TlsStream<TcpStream>,
    /// Where it comes from.
    pub remote: SocketAddr,
    /// The machine at the other end, if it showed its certificate.
    pub peer: Option<PeerIdentity>,
}

/// Serves the base on `listener` until the future is dropped, which ends all connections: enrolment by ourselves, DNS over TLS by `on_dot`.
/// Connections are bounded in number, in all and by source, and by the time they may take to shake hands.
pub async fn serve_base<F, Served>(listener: TcpListener, tls: Arc<ServerConfig>, base: SharedBase, on_dot: F)
where
    F: Fn(DotConnection) -> Served + Clone + Send + Sync + 'static,
    Served: Future<Output = ()> + Send + 'static,
{
    let acceptor = TlsAcceptor::from(tls);
    let trust = Arc::new(base.lock().trust().clone());
    let admission = Admission::default();
    let mut connections = JoinSet::new();
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            Some(_) = connections.join_next() => continue,
        };
        let (stream, remote) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                tracing::warn!(%error, "cannot accept a connection to the base");
                sleep(ACCEPT_PAUSE).await;
                continue;
            }
        };
        let Some(permit) = admission.admit(remote.ip()) else {
            tracing::debug!(%remote, "too many connections to the base");
            continue;
        };
        let (acceptor, trust, base, on_dot) = (acceptor.clone(), Arc::clone(&trust), base.clone(), on_dot.clone());
        connections.spawn(async move {
            if let Err(error) = serve_connection(stream, remote, acceptor, &trust, base, on_dot).await {
                tracing::debug!(%remote, %error, "a connection to the base failed");
            }
            drop(permit);
        });
    }
}

async fn serve_connection<F, Served>(
    stream: TcpStream,
    remote: SocketAddr,
    acceptor: TlsAcceptor,
    trust: &AccountTrust,
    base: SharedBase,
    on_dot: F,
) -> io::Result<()>
where
    F: Fn(DotConnection) -> Served,
    Served: Future<Output = ()>,
{
    stream.set_nodelay(true)?;
    let stream = timeout(HANDSHAKE_TIME, acceptor.accept(stream)).await.map_err(|_| io::ErrorKind::TimedOut)??;
    let (_, session) = stream.get_ref();
    let shown = session.peer_certificates().and_then(|chain| chain.first());
    let known = |verify: Verify| shown.map(|shown| verify(shown, trust, Purpose::TlsClient, clock::wall())).transpose();
    match session.alpn_protocol() {
        Some(ALPN_DOT) => {
            let peer = known(certificate::verify).map_err(io::Error::other)?;
            on_dot(DotConnection { stream, remote, peer }).await;
        }
        // Who comes with an ended certificate can renew it here: whether the machine is still one of the account, the book tells.
        Some(ALPN_HTTP) => {
            let peer = known(certificate::verify_even_ended).map_err(io::Error::other)?;
            let channel = ChannelBinding::of(session).map_err(io::Error::other)?;
            serve_http(stream, Caller { source: remote.ip(), peer, channel }, base).await;
        }
        _ => {}
    }
    Ok(())
}

#[cfg(test)]
pub(crate) mod tests;
