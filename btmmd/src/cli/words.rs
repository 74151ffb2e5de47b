//! Times, sizes and round trips as people say them.

/// How long ago `then` was, or how far ahead it is: `just now`, `5 min ago`, `in 89 days`.
pub fn relative(then: i64, now: i64) -> String {
    let apart = now.saturating_sub(then);
    if apart.unsigned_abs() < 2 {
        "just now".to_owned()
    } else if apart > 0 {
        format!("{} ago", span(apart.unsigned_abs()))
    } else {
        format!("in {}", span(apart.unsigned_abs()))
    }
}

/// A length of time in its largest unit, rounded down: `5 min`, `89 days`.
pub fn span(seconds: u64) -> String {
    match seconds {
        0..60 => format!("{seconds} s"),
        60..3600 => format!("{} min", seconds / 60),
        3600..172_800 => format!("{} h", seconds / 3600),
        _ => format!("{} days", seconds / 86_400),
    }
}

/// A number of bytes with a binary unit: `17 B`, `1.2 MiB`.
pub fn bytes(count: u64) -> String {
    const UNITS: [&str; 6] = ["KiB", "MiB", "GiB", "TiB", "PiB", "EiB"];
    if count < 1024 {
        return format!("{count} B");
    }
    let mut value = count as f64 / 1024.0;
    let mut units = UNITS.iter();
    let mut unit = units.next().copied().unwrap_or_default();
    while value >= 1023.95 {
        let Some(next) = units.next() else { break };
        value /= 1024.0;
        unit = next;
    }
    format!("{value:.1} {unit}")
}

/// A round trip: `0.42 ms`, `23.4 ms`.
pub fn round_trip(microseconds: u64) -> String {
    let milliseconds = microseconds as f64 / 1000.0;
    if microseconds < 10_000 { format!("{milliseconds:.2} ms") } else { format!("{milliseconds:.1} ms") }
}

/// The text without characters that would move a terminal's cursor or change its state.
pub fn printable(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { '\u{fffd}' } else { c }).collect()
}

/// `1 machine`, `2 machines`.
pub fn counted(count: usize, thing: &str) -> String {
    if count == 1 { format!("1 {thing}") } else { format!("{count} {thing}s") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_told_in_their_largest_unit() {
        let now = 1_000_000_000;
        for (then, expected) in [
            (now, "just now"),
            (now + 1, "just now"),
            (now - 59, "59 s ago"),
            (now - 60, "1 min ago"),
            (now - 3600 * 47, "47 h ago"),
            (now - 86_400 * 3, "3 days ago"),
            (now + 86_400 * 89, "in 89 days"),
            (i64::MIN, "106751991167300 days ago"),
        ] {
            assert_eq!(relative(then, now), expected);
        }
    }

    #[test]
    fn sizes_keep_one_decimal_and_never_reach_1024() {
        for (count, expected) in [
            (0, "0 B"),
            (1023, "1023 B"),
            (1024, "1.0 KiB"),
            (1024 * 1024 - 1, "1.0 MiB"),
            (123_456_789, "117.7 MiB"),
            (u64::MAX, "16.0 EiB"),
        ] {
            assert_eq!(bytes(count), expected);
        }
    }

    #[test]
    fn a_terminal_never_sees_control_characters() {
        assert_eq!(printable("a\u{1b}[2Jb\n\u{9b}c"), "a\u{fffd}[2Jb\u{fffd}\u{fffd}c");
    }
}
