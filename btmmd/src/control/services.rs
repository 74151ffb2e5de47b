//! What services ask of those who want tickets for them, on the control socket.

use serde::{Deserialize, Serialize};

use crate::lkdc::principals::strength::Strength;

/// One service.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Service {
    /// Its name, such as `host`.
    pub service: String,
    /// The proofs of which it asks for one; none when it takes whatever there is.
    pub strength: Vec<Strength>,
}

/// Reply of `Services` and `Require`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Services {
    /// The services of this machine, by name.
    pub services: Vec<Service>,
}

/// Parameters of `Require`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Require {
    /// The service.
    pub service: String,
    /// The proofs of which one will do; none takes the demand back.
    pub strength: Vec<Strength>,
}
