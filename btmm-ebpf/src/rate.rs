//! The token bucket, kept as one number per source: the time until which its tokens are spent (the generic cell rate algorithm of
//! ITU-T I.371). One 64-bit word can be read and written without a lock; two CPUs at once may let one message more through.

/// Takes a token at `now`. `spent_until` is what the last call returned (0 at first); nothing is returned when there is no token.
///
/// A message costs `interval` nanoseconds, and a source may run `tolerance` nanoseconds ahead of the clock.
#[inline(always)]
pub fn take(spent_until: u64, now: u64, interval: u64, tolerance: u64) -> Option<u64> {
    let start = if spent_until > now { spent_until } else { now };
    if start - now > tolerance { None } else { Some(start.wrapping_add(interval)) }
}
