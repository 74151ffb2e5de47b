//! Why the daemon cannot run or go on. One line each, with the object.

use std::fmt::Display;
use std::path::Path;

use crate::account::certificate::CertificateError;
use crate::config::ConfigError;
use crate::datapath::DatapathError;
use crate::ike::driver::BindError;
use crate::rendezvous::driver::RendezvousError;
use crate::xfrm::XfrmError;

/// Why the daemon cannot run or go on.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// The configuration.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The kernel's IPsec, routes or `btmm0`.
    #[error(transparent)]
    Xfrm(#[from] XfrmError),
    /// eBPF programs, the waiting room.
    #[error(transparent)]
    Datapath(#[from] DatapathError),
    /// The encapsulation port.
    #[error(transparent)]
    Bind(#[from] BindError),
    /// The zone.
    #[error(transparent)]
    Rendezvous(#[from] RendezvousError),
    /// Our own certificate.
    #[error("this machine's certificate: {0}")]
    Certificate(#[from] CertificateError),
    /// Anything else: `object: cause`.
    #[error("{object}: {cause}")]
    Other {
        /// A file, an address, a socket.
        object: String,
        /// What happened.
        cause: String,
    },
}

impl RunError {
    /// A failure with a file.
    pub fn file(path: &Path, cause: impl Display) -> Self {
        Self::of(path.display(), cause)
    }

    /// A failure with anything that has a name.
    pub fn of(object: impl Display, cause: impl Display) -> Self {
        Self::Other { object: object.to_string(), cause: cause.to_string() }
    }
}
