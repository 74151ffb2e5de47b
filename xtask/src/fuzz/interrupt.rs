//! Ctrl-C and its kin as something to ask for, so that a run ends with its table.
use anyhow::{Context, Result};
use nix::sys::signal::{SigSet, Signal};
use nix::sys::signalfd::{SfdFlags, SignalFd};

/// Signals that end a run. Programs started meanwhile do not get them either.
pub struct Interrupt(SignalFd);

impl Interrupt {
    /// From now on they end nothing by themselves.
    pub fn catch() -> Result<Self> {
        let signals: SigSet = [Signal::SIGINT, Signal::SIGTERM, Signal::SIGHUP].into_iter().collect();
        signals.thread_block().context("blocking signals")?;
        SignalFd::with_flags(&signals, SfdFlags::SFD_NONBLOCK | SfdFlags::SFD_CLOEXEC).map(Self).context("waiting for signals")
    }

    /// Whether one came, or several at once, since the last time.
    pub fn came(&self) -> Result<bool> {
        let mut came = false;
        while self.0.read_signal().context("reading a signal")?.is_some() {
            came = true;
        }
        Ok(came)
    }
}
