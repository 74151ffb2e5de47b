//! How a ticket was earned, as authentication indicators say it (RFC 8129), and what a service asks for.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// How a client proved itself to the KDC.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Strength {
    /// By a password.
    Password,
    /// By a one-time code and a password.
    Otp,
    /// By the sharing certificate of a machine of the account.
    Certificate,
}

/// Not the name of a strength.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is no strength: use certificate, otp or password")]
pub struct UnknownStrength(String);

impl Strength {
    /// All there are, the strongest first.
    pub const ALL: [Self; 3] = [Self::Certificate, Self::Otp, Self::Password];

    /// The indicator that tickets carry.
    pub fn indicator(self) -> &'static str {
        match self {
            Self::Password => "password",
            Self::Otp => "otp",
            Self::Certificate => "certificate",
        }
    }

    /// Whether this proof is what a service asks for: it itself, or more of the same.
    pub fn satisfies(self, wanted: Self) -> bool {
        // A one-time code is never taken without the password.
        self == wanted || (self, wanted) == (Self::Otp, Self::Password)
    }
}

/// `certificate or otp`.
pub fn listed(strengths: &[Strength]) -> String {
    let words: Vec<&str> = strengths.iter().map(|strength| strength.indicator()).collect();
    words.join(" or ")
}

impl fmt::Display for Strength {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.indicator())
    }
}

impl FromStr for Strength {
    type Err = UnknownStrength;

    fn from_str(text: &str) -> Result<Self, UnknownStrength> {
        Self::ALL.into_iter().find(|strength| strength.indicator() == text).ok_or_else(|| UnknownStrength(text.to_owned()))
    }
}
