//! What is noted in a cache beside an initial ticket, under the names that MIT's library gives it.

use crate::lkdc::ccache::CredentialCache;
use crate::lkdc::full_name::FullName;

/// How an initial ticket was got.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Notes {
    /// The number of the pre-authentication by which the client proved itself; nothing when it was not asked to.
    pub method: Option<i32>,
    /// The KDC says that it understands armor (RFC 6113).
    pub armor: bool,
}

impl Notes {
    /// Notes them in a cache of tickets of `realm`: `pa_type`, which tells the strength, and `fast_avail`, without which MIT's library
    /// sends later requests bare.
    pub fn put(self, cache: &mut CredentialCache, realm: &str) {
        let about = FullName::krbtgt(realm);
        if let Some(method) = self.method {
            cache.set_config("pa_type", Some(&about), method.to_string().as_bytes());
        }
        if self.armor {
            cache.set_config("fast_avail", Some(&about), b"yes");
        }
    }
}
