//! The clocks of the machine, read in one place.
mod linux;

use std::time::{Duration, Instant, SystemTime};

use nix::time::{ClockId, clock_gettime};

pub use linux::Jumps;

/// Monotonic time, for timers.
pub fn monotonic() -> Instant {
    Instant::now()
}

/// Wall time, for certificates and signatures.
pub fn wall() -> SystemTime {
    SystemTime::now()
}

/// Time since boot including suspend: what the kernel's eBPF programs compare leases with.
pub fn boottime() -> Duration {
    let time = clock_gettime(ClockId::CLOCK_BOOTTIME).expect("CLOCK_BOOTTIME exists since Linux 2.6.39");
    Duration::new(time.tv_sec().unsigned_abs(), u32::try_from(time.tv_nsec()).unwrap_or(0))
}

/// How long the machine has been suspended since it started: no timer of ours ran in that time.
fn suspended() -> Duration {
    // Read in this order a pause between the two cannot look like sleep.
    let boot = boottime();
    let running = clock_gettime(ClockId::CLOCK_MONOTONIC).expect("CLOCK_MONOTONIC is always there");
    boot.saturating_sub(Duration::new(running.tv_sec().unsigned_abs(), u32::try_from(running.tv_nsec()).unwrap_or(0)))
}
