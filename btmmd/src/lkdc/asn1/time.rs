//! `KerberosTime` (RFC 4120 §5.2.3): whole seconds, UTC.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use chrono::{DateTime, FixedOffset, Utc};
use rasn_kerberos::{KerberosTime, Microseconds};

/// The last second that a GeneralizedTime can tell: the end of the year 9999.
const LAST: u64 = 253_402_300_799;

/// `at` to the whole second below it. Times before 1970 become 1970.
pub fn time(at: SystemTime) -> KerberosTime {
    from_seconds(seconds(at))
}

/// Seconds since 1970 as `KerberosTime`.
pub fn from_seconds(seconds: u64) -> KerberosTime {
    let seconds = i64::try_from(seconds.min(LAST)).unwrap_or(0);
    KerberosTime(DateTime::<Utc>::from_timestamp(seconds, 0).unwrap_or_default().fixed_offset())
}

/// What the message says, fractions of a second dropped. Times before 1970 become 1970, which Kerberos reads as "none".
pub fn system_time(time: &KerberosTime) -> SystemTime {
    UNIX_EPOCH + Duration::from_secs(to_seconds(time))
}

/// Seconds since 1970; 0 for anything earlier.
pub fn to_seconds(time: &KerberosTime) -> u64 {
    let time: &DateTime<FixedOffset> = &time.0;
    u64::try_from(time.timestamp()).unwrap_or(0)
}

/// Seconds since 1970; 0 for anything earlier.
pub fn seconds(at: SystemTime) -> u64 {
    at.duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

/// The microseconds that `KerberosTime` leaves out.
pub fn microseconds(at: SystemTime) -> Microseconds {
    at.duration_since(UNIX_EPOCH).map_or(0, |since| since.subsec_micros()).into()
}

/// A time and its microseconds, joined. More than 999,999 are not allowed and count as none.
pub fn joined(time: &KerberosTime, micros: &Microseconds) -> SystemTime {
    let micros = u32::try_from(micros).ok().filter(|micros| *micros < 1_000_000).unwrap_or(0);
    system_time(time) + Duration::from_micros(u64::from(micros))
}

/// The fifteen characters `YYYYMMDDHHMMSSZ`.
pub(super) fn digits(seconds: u64) -> [u8; 15] {
    let seconds = seconds.min(LAST);
    let (days, second) = (seconds / 86_400, seconds % 86_400);
    let (year, month, day) = civil(days);
    let mut digits = *b"00000000000000Z";
    let mut write = |end: usize, count: usize, mut number: u64| {
        for place in digits.iter_mut().take(end).rev().take(count) {
            *place = b'0' + u8::try_from(number % 10).unwrap_or(0);
            number /= 10;
        }
    };
    write(4, 4, year);
    write(6, 2, month);
    write(8, 2, day);
    write(10, 2, second / 3600);
    write(12, 2, second / 60 % 60);
    write(14, 2, second % 60);
    digits
}

/// Year, month and day of the proleptic Gregorian calendar, counted in years that begin in March so that the leap day comes last.
fn civil(days_since_1970: u64) -> (u64, u64, u64) {
    let days = days_since_1970 + 719_468;
    let (era, day) = (days / 146_097, days % 146_097);
    let year = (day - day / 1460 + day / 36_524 - day / 146_096) / 365;
    let day = day - (365 * year + year / 4 - year / 100);
    let month = (5 * day + 2) / 153;
    let day = day - (153 * month + 2) / 5 + 1;
    let (month, carry) = if month < 10 { (month + 3, 0) } else { (month - 9, 1) };
    (400 * era + year + carry, month, day)
}
