//! Sockets, files and timers of the rendezvous. SKELETON: signatures are meant to stay, bodies follow.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::mpsc;

use super::records::Advertisement;
use super::tsig::TsigSecret;
use crate::account::name::{MachineName, ZoneName};

/// Why the rendezvous failed. Carries the object.
#[derive(Debug, thiserror::Error)]
pub enum RendezvousError {
    /// The zone's file on disk is not one of ours or is damaged. It is left as it is.
    #[error("{path}: {why}")]
    State {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        why: String,
    },
}

/// The base's server, shared by every connection and by the base's own machine.
#[derive(Clone)]
pub struct SharedServer(Arc<()>);

impl SharedServer {
    /// Opens the zone kept in `state_file`, or begins an empty one when there is no such file. `base` is the machine that serves.
    pub fn open(_zone: &ZoneName, _base: &MachineName, _state_file: PathBuf) -> Result<Self, RendezvousError> {
        todo!("skeleton")
    }

    /// Lets `machine` in with `secret`, or replaces its secret. At run time.
    pub fn set_key(&self, _machine: &MachineName, _secret: TsigSecret) {
        todo!("skeleton")
    }

    /// Shuts `machine` out and takes its records away.
    pub fn remove_key(&self, _machine: &MachineName) {
        todo!("skeleton")
    }

    /// Serves one connection after its TLS handshake (ALPN `dot`) until it ends or idles.
    pub async fn serve_dot(&self, _stream: impl AsyncRead + AsyncWrite + Unpin + Send) {
        todo!("skeleton")
    }

    /// Expires leases and writes the file; to be spawned once, ends when dropped.
    pub async fn run(self) {
        todo!("skeleton")
    }
}

/// How to reach the base.
pub enum Base {
    /// Over TLS.
    Tls {
        /// `address:port` or `host:port`, tried in order.
        addresses: Vec<String>,
        /// The name in the base's certificate.
        server_name: ServerName<'static>,
        /// Roots and versions; ALPN `dot` is set here.
        tls: Arc<ClientConfig>,
    },
    /// This machine is the base.
    Local(SharedServer),
}

/// What the rendezvous needs to know.
pub struct Settings {
    /// The account's zone.
    pub zone: ZoneName,
    /// This machine.
    pub machine: MachineName,
    /// Its secret.
    pub secret: TsigSecret,
    /// Lease to ask for (7200 s).
    pub lease: Duration,
    /// Between two looks at the zone (30 s).
    pub poll: Duration,
    /// The first registration after boot waits a random part of this (3 s; 0 in tests and after a restart).
    pub first_delay: Duration,
    /// Tests on one machine only: loopback candidates count.
    pub allow_loopback: bool,
}

/// What happened, for the run loop.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// A machine's advertisement is new or has changed, or is gone (`None`: it said goodbye or its lease ended).
    Peer {
        /// Which machine.
        machine: MachineName,
        /// What it says now.
        advertisement: Option<Advertisement>,
    },
    /// Our own records are in the zone.
    Published {
        /// For how long, unless refreshed (they will be).
        lease: Duration,
    },
    /// Our own records could not be put into the zone.
    PublishFailed {
        /// In words.
        cause: String,
        /// When it will be tried again.
        retry_in: Duration,
    },
    /// The zone could not be read; what is known of peers is kept.
    Unreachable {
        /// In words.
        cause: String,
    },
    /// The zone can be read (again).
    Reachable,
}

/// The one handle the run loop needs: publishes this machine, keeps every peer's advertisement fresh.
pub struct Rendezvous {}

impl Rendezvous {
    /// Starts the task. Events come in order.
    pub fn spawn(_settings: Settings, _base: Base) -> (Self, mpsc::UnboundedReceiver<Event>) {
        todo!("skeleton")
    }

    /// Publishes this, instead of what was published before (merged over 1 s).
    pub fn advertise(&self, _advertisement: Advertisement) {
        todo!("skeleton")
    }

    /// Something happened (woken, network changed, a peer did not answer): refresh our records if needed and look at the zone now.
    pub fn look_now(&self, _why: &'static str) {
        todo!("skeleton")
    }

    /// What `machine` last said, while its lease lasts.
    pub fn lookup(&self, _machine: &MachineName) -> Option<Advertisement> {
        todo!("skeleton")
    }

    /// Every peer heard of, this machine included if published.
    pub fn peers(&self) -> Vec<Advertisement> {
        todo!("skeleton")
    }

    /// Takes our records out of the zone (at most 2 s) and ends the task.
    pub async fn stop(self) {
        todo!("skeleton")
    }
}
