//! Sockets, files and timers of the rendezvous: the base's [`SharedServer`], the members' [`DotClient`], and [`Rendezvous`], the one
//! handle the run loop holds.
//!
//! hickory-net's client is not used: it signs updates and transfers but never plain queries (`should_sign_message`), and this zone
//! answers nothing unsigned. What is left of a DNS-over-TLS client is two octets of length before each message.
mod base;
mod dot;
mod task;

use std::path::PathBuf;

use futures::{SinkExt, StreamExt};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_util::bytes::Bytes;
use tokio_util::codec::{Framed, LengthDelimitedCodec};

use super::Now;
use super::client::ClientError;
use super::outline::Malformed;
use super::snapshot::SnapshotError;
use crate::clock;

pub use base::{SharedServer, set_aside};
pub use dot::{Base, DotClient};
pub use task::{Event, Rendezvous, Settings};

/// Why the rendezvous failed. Carries the object; its text is what a person is told.
#[derive(Debug, thiserror::Error)]
pub enum RendezvousError {
    /// The zone's file on disk is not one of ours or is damaged. It is left as it is.
    #[error("{path}: {why}", path = path.display())]
    State {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        why: SnapshotError,
    },
    /// The zone's file cannot be read or written.
    #[error("{path}: {why}", path = path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// From the system.
        why: std::io::Error,
    },
    /// None of the base's addresses answers; each with its own reason.
    #[error("the base cannot be reached: {0}")]
    Connect(String),
    /// The connection ended before the answer came.
    #[error("the base closed the connection")]
    Closed,
    /// No answer in time.
    #[error("the base did not answer within {0} s")]
    Timeout(u64),
    /// An answer, but not one to go on with.
    #[error(transparent)]
    Answer(#[from] ClientError),
    /// A name that does not fit into DNS.
    #[error(transparent)]
    Name(#[from] Malformed),
    /// Our own advertisement does not fit into DNS.
    #[error(transparent)]
    Records(#[from] super::records::RecordsError),
}

/// Both clocks, now.
fn now() -> Now {
    let wall = clock::wall().duration_since(std::time::UNIX_EPOCH).map_or(0, |since| since.as_secs());
    Now { monotonic: clock::monotonic(), wall }
}

/// Different every time; spreads machines and serials out, hides nothing.
fn random() -> u64 {
    let mut octets = [0; 8];
    if aws_lc_rs::rand::fill(&mut octets).is_err() {
        return clock::boottime().as_nanos() as u64;
    }
    u64::from_ne_bytes(octets)
}

/// DNS over a stream (RFC 1035 §4.2.2): each message after its length.
fn framed<S: AsyncRead + AsyncWrite>(stream: S) -> Framed<S, LengthDelimitedCodec> {
    LengthDelimitedCodec::builder().length_field_type::<u16>().max_frame_length(usize::from(u16::MAX)).new_framed(stream)
}

async fn receive<S: AsyncRead + AsyncWrite + Unpin>(stream: &mut Framed<S, LengthDelimitedCodec>) -> Option<Vec<u8>> {
    stream.next().await?.ok().map(|message| message.to_vec())
}

async fn send<S: AsyncRead + AsyncWrite + Unpin>(
    stream: &mut Framed<S, LengthDelimitedCodec>,
    messages: Vec<Vec<u8>>,
) -> std::io::Result<()> {
    for message in messages {
        stream.feed(Bytes::from(message)).await?;
    }
    SinkExt::<Bytes>::flush(stream).await
}
