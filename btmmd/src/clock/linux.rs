//! A clock that jumps, as the kernel tells it.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::time::{Duration, SystemTime};

use nix::errno::Errno;
use nix::sys::time::TimeSpec;
use nix::sys::timerfd::{ClockId, Expiration, TimerFd, TimerFlags, TimerSetTimeFlags};
use tokio::io::unix::AsyncFd;

use super::{suspended, wall};

/// The timer is never to be due by itself; when it is after all, it is set anew.
const FAR: Duration = Duration::from_secs(10 * 365 * 86_400);

/// Tells when the wall clock jumps: somebody set it, or the machine was suspended and woke.
///
/// A timer that the kernel cancels then (`TFD_TIMER_CANCEL_ON_SET`, timerfd_create(2)), after suspend as well: `timekeeping_resume` in
/// <https://github.com/torvalds/linux/blob/v6.1/kernel/time/timekeeping.c>. Nothing wakes up for it meanwhile.
#[derive(Debug)]
pub struct Jumps {
    timer: TimerFd,
    /// The same timer, to wait for.
    ears: AsyncFd<OwnedFd>,
    suspended: Duration,
}

impl Jumps {
    /// Watches from now on. Inside a runtime.
    pub fn watch() -> io::Result<Self> {
        let timer = TimerFd::new(ClockId::CLOCK_REALTIME, TimerFlags::TFD_NONBLOCK | TimerFlags::TFD_CLOEXEC)?;
        arm(&timer)?;
        let ears = timer.as_fd().try_clone_to_owned()?;
        // SAFETY: an OwnedFd is one open descriptor, which nothing else closes or replaces before the AsyncFd drops it.
        let ears = unsafe { AsyncFd::register(ears) }?;
        Ok(Self { timer, ears, suspended: suspended() })
    }

    /// Waits for a jump, and answers how long the machine has slept since the last one: not at all when the clock was set. Cancel safe.
    pub async fn next(&mut self) -> io::Result<Duration> {
        loop {
            let mut ready = self.ears.readable().await?;
            match nix::unistd::read(ready.get_inner().as_fd(), &mut [0; 8]) {
                Err(Errno::EAGAIN) => ready.clear_ready(),
                Err(Errno::ECANCELED) => break,
                Err(error) => return Err(error.into()),
                Ok(_) => arm(&self.timer)?,
            }
        }
        let before = std::mem::replace(&mut self.suspended, suspended());
        Ok(self.suspended.saturating_sub(before))
    }
}

fn arm(timer: &TimerFd) -> io::Result<()> {
    let at = wall().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default() + FAR;
    let flags = TimerSetTimeFlags::TFD_TIMER_ABSTIME | TimerSetTimeFlags::TFD_TIMER_CANCEL_ON_SET;
    Ok(timer.set(Expiration::OneShot(TimeSpec::from_duration(at)), flags)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_clock_that_runs_on_does_not_jump() {
        let mut jumps = Jumps::watch().unwrap();
        assert!(tokio::time::timeout(Duration::from_millis(50), jumps.next()).await.is_err());
        assert!(suspended().saturating_sub(jumps.suspended) < Duration::from_secs(1), "it did not sleep");
    }
}
