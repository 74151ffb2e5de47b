//! What the owner is told of a certificate that nears its end, or has not begun. Pure.

use std::ops::Range;
use std::time::{Duration, SystemTime};

use crate::control::messages::{Finding, Severity};

/// From when on the owner is told. Renewal begins long before.
const TOLD: Duration = Duration::from_secs(30 * 86_400);
const DAY: u64 = 86_400;

/// What there is to tell of a certificate that is `valid` so long, and was last not renewed for this reason.
pub(in crate::run) fn finding(valid: &Range<SystemTime>, refused: Option<&str>, now: SystemTime) -> Option<Finding> {
    let cause = refused.unwrap_or("the home base has not been asked yet").to_owned();
    if now < valid.start {
        return Some(Finding {
            severity: Severity::Warning,
            what: "this machine's certificate is not valid yet".to_owned(),
            cause,
            next_step: "are the clocks of this machine and of the home base right? Another one is asked for by itself".to_owned(),
        });
    }
    let (severity, what, again) = match valid.end.duration_since(now) {
        Ok(left) if left >= TOLD => return None,
        Ok(left) => {
            let days = left.as_secs() / DAY;
            let what = format!("this machine's certificate ends in {days} {}", if days == 1 { "day" } else { "days" });
            (Severity::Warning, what, "at once when it answers")
        }
        // The zone does not answer a machine without a valid certificate, and so does not tell that the base is back.
        Err(_) => {
            let what = "this machine's certificate has ended: no machine lets it in, but the home base still gives it a new one";
            (Severity::Error, what.to_owned(), "within an hour at the latest")
        }
    };
    let next_step = format!("is the home base on and reachable? It is asked again by itself, and {again}");
    Some(Finding { severity, what, cause, next_step })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_owner_is_told_from_thirty_days_before_the_end_on_and_why() {
        let end = SystemTime::UNIX_EPOCH + Duration::from_secs(1_800_000_000);
        let days = |count: u64| Duration::from_secs(count * DAY);
        let finding = |end, refused, now| finding(&(end - days(365)..end), refused, now);
        assert_eq!(finding(end, None, end - days(30)), None);
        let told = finding(end, Some("no answer"), end - days(30) + Duration::from_secs(1)).unwrap();
        assert_eq!((told.severity, told.what.as_str()), (Severity::Warning, "this machine's certificate ends in 29 days"));
        assert_eq!(told.cause, "no answer");
        let told = finding(end, None, end - days(1)).unwrap();
        assert_eq!(told.what, "this machine's certificate ends in 1 day");
        let told = finding(end, None, end + days(1)).unwrap();
        assert!(told.severity == Severity::Error && told.what.starts_with("this machine's certificate has ended"), "{told:?}");
        assert!(told.what.contains("the home base still gives it a new one"), "{told:?}");
    }

    #[test]
    fn the_owner_is_told_that_a_certificate_has_not_begun() {
        let start = SystemTime::UNIX_EPOCH + Duration::from_secs(1_800_000_000);
        let valid = start..start + Duration::from_secs(365 * DAY);
        let told = finding(&valid, None, start - Duration::from_secs(1)).unwrap();
        assert_eq!((told.severity, told.what.as_str()), (Severity::Warning, "this machine's certificate is not valid yet"));
        assert_eq!(finding(&valid, None, start), None);
    }
}
