//! Which passwords are refused: those that a stranger who has seen one exchange would guess.

/// Fewest characters.
pub const MIN: usize = 10;
/// Most octets.
pub const MAX: usize = 1024;
/// Fewest different characters.
const DIFFERENT: usize = 5;

/// Beginnings of what everybody tries first.
const COMMON: [&str; 24] = [
    "password",
    "passw0rd",
    "qwerty",
    "qwertz",
    "azerty",
    "asdfgh",
    "123456",
    "abcdef",
    "abc123",
    "letmein",
    "welcome",
    "iloveyou",
    "admin",
    "monkey",
    "dragon",
    "football",
    "baseball",
    "sunshine",
    "princess",
    "superman",
    "trustno1",
    "changeme",
    "secret",
    "backtomymac",
];

/// Why a password is refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadPassword {
    /// Too short.
    #[error("it is too short: use {MIN} characters or more; four words that do not belong together are easy to keep in mind")]
    Short,
    /// Too long.
    #[error("it is longer than {MAX} octets")]
    Long,
    /// A character that cannot be typed everywhere.
    #[error("it has a control character in it")]
    Control,
    /// Too regular.
    #[error("it repeats itself: use at least {DIFFERENT} different characters")]
    Regular,
    /// Among the first that are tried.
    #[error("it is little more than {0:?}, which everybody tries first")]
    Common(String),
}

/// Refuses a password that is easily guessed. `known` are names that a stranger knows too: user, account, machine.
pub fn check(password: &str, known: &[&str]) -> Result<(), BadPassword> {
    if password.len() > MAX {
        return Err(BadPassword::Long);
    }
    if password.chars().count() < MIN {
        return Err(BadPassword::Short);
    }
    if password.chars().any(char::is_control) {
        return Err(BadPassword::Control);
    }
    let mut different: Vec<char> = password.chars().collect();
    different.sort_unstable();
    different.dedup();
    if different.len() < DIFFERENT {
        return Err(BadPassword::Regular);
    }
    let lower = zeroize::Zeroizing::new(password.to_lowercase());
    let known = known.iter().map(|name| name.to_lowercase()).filter(|name| name.len() >= 3);
    for word in COMMON.iter().map(|word| (*word).to_owned()).chain(known) {
        // What is left beside the word, digits and signs aside, must be worth something by itself.
        let rest = zeroize::Zeroizing::new(lower.replace(&word, ""));
        if rest.len() < lower.len() && rest.chars().filter(|letter| letter.is_alphabetic()).count() < MIN / 2 {
            return Err(BadPassword::Common(word));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_everybody_tries_first_is_refused() {
        for (password, refused) in [
            ("short", BadPassword::Short),
            ("aaaaaaaaaaaaaaa", BadPassword::Regular),
            ("abababababab", BadPassword::Regular),
            ("Password123!", BadPassword::Common("password".to_owned())),
            ("1234567890", BadPassword::Common("123456".to_owned())),
            ("alice-2026-11", BadPassword::Common("alice".to_owned())),
            ("imacimac2026", BadPassword::Common("imac".to_owned())),
            ("tab\there and there", BadPassword::Control),
        ] {
            assert_eq!(check(password, &["alice", "imac"]), Err(refused), "{password}");
        }
        assert_eq!(check(&"long".repeat(300), &[]), Err(BadPassword::Long));
    }

    #[test]
    fn what_takes_long_to_guess_is_taken() {
        for password in ["correct horse battery staple", "Tr0ub4dor&3zebra", "alice likes tall trees", "пароль для дома", "x7#kQ9!mZ2"]
        {
            assert_eq!(check(password, &["alice", "imac"]), Ok(()), "{password}");
        }
    }
}
