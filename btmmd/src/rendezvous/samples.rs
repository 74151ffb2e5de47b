//! What the tests of the rendezvous publish.

use super::records::Advertisement;

/// What `imac` says; `version` tells one from another.
pub fn imac(version: &str) -> Advertisement {
    Advertisement {
        machine: "imac".parse().unwrap(),
        inner: "fd00::1".parse().unwrap(),
        candidates: Vec::new(),
        nat: String::new(),
        version: version.to_owned(),
        realm: String::new(),
    }
}
