//! The log of the programs themselves (aya-log), off unless asked for.

use std::io;
use std::os::fd::{AsFd, OwnedFd};

use aya::Ebpf;
use aya_log::EbpfLogger;
use tokio::io::unix::AsyncFd;
use tracing::warn;

use crate::datapath::DatapathError;

/// Reads what the programs log and passes it to the `log` crate (and with it to `tracing`), at level trace.
pub struct ProgramLog {
    ready: OwnedFd,
    flush: Box<dyn FnMut() + Send>,
}

impl ProgramLog {
    pub(super) fn take(programs: &mut Ebpf) -> Result<Self, DatapathError> {
        let mut logger = EbpfLogger::init(programs).map_err(|_not_in_object| DatapathError::Missing("AYA_LOGS"))?;
        let ready = logger.as_fd().try_clone_to_owned().map_err(|source| DatapathError::ProgramLog { source })?;
        Ok(Self { ready, flush: Box::new(move || logger.flush()) })
    }

    /// Passes messages on as they come. Ends only when the ring buffer cannot be polled, and says so. Cancel safe.
    pub async fn run(self) {
        if let Err(error) = self.pass_on().await {
            warn!(%error, "no more of the eBPF programs' log");
        }
    }

    async fn pass_on(mut self) -> io::Result<()> {
        // SAFETY: an OwnedFd is one open descriptor, which nothing else closes or replaces before the AsyncFd drops it.
        let ready = unsafe { AsyncFd::register(self.ready) }?;
        loop {
            let mut guard = ready.readable().await?;
            (self.flush)();
            guard.clear_ready();
        }
    }
}
