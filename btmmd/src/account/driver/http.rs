//! Enrolment over HTTP/1.1, the base's end.

use std::convert::Infallible;
use std::net::IpAddr;
use std::time::Duration;

use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper::header::{CONTENT_TYPE, HeaderValue};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::task::spawn_blocking;
use tokio::time::timeout;

use super::body;
use crate::account::base::{Base, SharedBase};
use crate::account::certificate::PeerIdentity;
use crate::account::enrol::{MAX_REQUEST, MAX_RESPONSE, Refusal};
use crate::account::tls::ChannelBinding;
use crate::clock;

/// How long one connection may live. It carries one request.
const CONNECTION_TIME: Duration = Duration::from_secs(30);
const HEADER_TIME: Duration = Duration::from_secs(10);
const MAX_HEADERS: usize = 32;
const BUFFER: usize = 16 * 1024;

/// Who is at the other end of a connection.
#[derive(Clone, Debug)]
pub struct Caller {
    /// Where it comes from.
    pub source: IpAddr,
    /// The machine that showed its certificate, which may have ended.
    pub peer: Option<PeerIdentity>,
    /// What a proof for this connection must sign.
    pub channel: ChannelBinding,
}

/// Answers one enrolment request of `caller` on `stream`, whose TLS handshake is done.
pub async fn serve_http<S>(stream: S, caller: Caller, base: SharedBase)
where
    S: AsyncRead + AsyncWrite + Unpin + Send,
{
    let source = caller.source;
    let service = service_fn(|request| {
        let (caller, base) = (caller.clone(), base.clone());
        async move {
            let answered = answer(request, caller, base).await;
            Ok::<_, Infallible>(answered.unwrap_or_else(|refusal| respond(status(&refusal), &refusal)))
        }
    });
    let mut server = http1::Builder::new();
    server.timer(TokioTimer::new()).header_read_timeout(HEADER_TIME).keep_alive(false).max_headers(MAX_HEADERS).max_buf_size(BUFFER);
    match timeout(CONNECTION_TIME, server.serve_connection(TokioIo::new(stream), service)).await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => tracing::debug!(%source, %error, "an enrolment connection failed"),
        Err(_) => tracing::debug!(%source, "an enrolment connection took too long"),
    }
}

async fn answer(request: Request<Incoming>, caller: Caller, base: SharedBase) -> Result<Response<Full<Bytes>>, Refusal> {
    let Caller { source, peer, channel } = caller;
    let (method, path) = (request.method().clone(), request.uri().path().to_owned());
    match (method, path.as_str()) {
        (Method::POST, "/v1/join") => {
            let asked = read_json(request).await?;
            with_base(base, move |base| base.join(source, &asked, &channel, clock::wall())).await
        }
        (Method::POST, "/v1/renew") => {
            let asked = read_json(request).await?;
            let peer = peer.ok_or(Refusal::NotAMember)?;
            with_base(base, move |base| base.renew(&peer, &asked, clock::wall())).await
        }
        (Method::GET, "/v1/roster") => {
            let peer = peer.ok_or(Refusal::NotAMember)?;
            with_base(base, move |base| if base.holds(&peer) { Ok(base.signed_roster().clone()) } else { Err(Refusal::NotAMember) }).await
        }
        _ => Err(Refusal::NotUnderstood),
    }
}

/// Does `work` where it may block on the disk.
async fn with_base<T: Serialize + Send + 'static>(
    base: SharedBase,
    work: impl FnOnce(&mut Base) -> Result<T, Refusal> + Send + 'static,
) -> Result<Response<Full<Bytes>>, Refusal> {
    let done = spawn_blocking(move || work(&mut base.lock())).await.map_err(|_| Refusal::Failed)??;
    Ok(respond(StatusCode::OK, &done))
}

async fn read_json<T: DeserializeOwned>(request: Request<Incoming>) -> Result<T, Refusal> {
    let body = body::read(request.into_body(), MAX_REQUEST).await.map_err(|_| Refusal::NotUnderstood)?;
    serde_json::from_slice(&body).map_err(|_| Refusal::NotUnderstood)
}

fn respond(status: StatusCode, body: &impl Serialize) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(body::json(body, MAX_RESPONSE)));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}

fn status(refusal: &Refusal) -> StatusCode {
    match refusal {
        Refusal::UnknownCode | Refusal::UsedCode | Refusal::ExpiredCode | Refusal::OtherConnection | Refusal::NotAMember => {
            StatusCode::FORBIDDEN
        }
        Refusal::TooManyTries => StatusCode::TOO_MANY_REQUESTS,
        Refusal::NameTaken { .. } | Refusal::KnownAs { .. } | Refusal::Full => StatusCode::CONFLICT,
        Refusal::NotUnderstood => StatusCode::BAD_REQUEST,
        Refusal::Failed => StatusCode::INTERNAL_SERVER_ERROR,
    }
}
