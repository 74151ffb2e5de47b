//! The clocks of the machine, read in one place.

use std::time::{Duration, Instant, SystemTime};

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
    let time = nix::time::clock_gettime(nix::time::ClockId::CLOCK_BOOTTIME).expect("CLOCK_BOOTTIME exists since Linux 2.6.39");
    Duration::new(time.tv_sec().unsigned_abs(), u32::try_from(time.tv_nsec()).unwrap_or(0))
}
