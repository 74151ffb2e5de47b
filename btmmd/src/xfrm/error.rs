//! What can go wrong in the kernel, with the object it went wrong with.

use std::io;

use super::port::{PolicyId, SaId};

/// What an operation was about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Object {
    /// A netlink socket, by what it is for.
    Socket(&'static str),
    /// An ESP state.
    Sa(SaId),
    /// The policies of one peer.
    Policy(PolicyId),
    /// A policy of the never-in-clear guard, in words.
    Guard(&'static str),
    /// All states or all policies, in a dump.
    Table(&'static str),
    /// An interface, by name.
    Interface(String),
    /// An address, route or rule, in words.
    Route(String),
}

/// A refused or failed change or question.
#[derive(Debug, thiserror::Error)]
pub enum XfrmError {
    /// The kernel said no.
    #[error("{action} {object}: {why}")]
    Refused {
        /// What was tried: `install`, `remove`, …
        action: &'static str,
        /// On what.
        object: Object,
        /// The kernel's answer, in words that say what to do where that is known.
        why: String,
        /// The kernel's error number, positive.
        errno: i32,
    },
    /// The netlink socket failed, or the task behind it is gone.
    #[error("{action} {object}: {source}")]
    Socket {
        /// What was tried.
        action: &'static str,
        /// On what.
        object: Object,
        /// The cause.
        source: io::Error,
    },
    /// A specification that no kernel could carry out; nothing was sent.
    #[error("{object}: {why}")]
    Misuse {
        /// Which object.
        object: Object,
        /// What is wrong with it.
        why: &'static str,
    },
}

impl std::fmt::Display for Object {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Socket(what) => write!(f, "the netlink socket for {what}"),
            Self::Sa(id) => write!(f, "the ESP state {:#010x} to {}", id.spi, id.destination),
            Self::Policy(id) => write!(f, "the policies between {} and {}", id.inner_local, id.inner_remote),
            Self::Guard(what) => write!(f, "the guard's {what}"),
            Self::Table(what) => write!(f, "the kernel's {what}"),
            Self::Interface(name) => write!(f, "interface {name}"),
            Self::Route(what) => f.write_str(what),
        }
    }
}

impl XfrmError {
    /// From the kernel's error number and its own explanation, which may be empty.
    pub(super) fn refused(action: &'static str, object: Object, errno: i32, explanation: &str) -> Self {
        let why = words(&object, errno, explanation);
        Self::Refused { action, object, why, errno }
    }

    /// The kernel's error number, if it was the kernel that refused.
    pub fn errno(&self) -> Option<i32> {
        match self {
            Self::Refused { errno, .. } => Some(*errno),
            _ => None,
        }
    }
}

/// An error number in words that say what to do, where that is known.
fn words(object: &Object, errno: i32, explanation: &str) -> String {
    use nix::errno::Errno;
    let advice = match (Errno::from_raw(errno), object) {
        (Errno::EPERM, _) => "needs CAP_NET_ADMIN",
        (Errno::EACCES, Object::Interface(_)) => "IPv6 is turned off for it; turn it on with sysctl net.ipv6.conf.btmm0.disable_ipv6=0",
        (Errno::EAFNOSUPPORT, _) => "the kernel was started without IPv6 (ipv6.disable=1), which the inner network needs",
        (Errno::ENOSYS, Object::Sa(_)) => {
            "the kernel has no AES-GCM for IPsec; load the modules gcm, ctr, seqiv and, for speed, aesni_intel"
        }
        (Errno::EPROTONOSUPPORT, Object::Sa(_)) => "the kernel has no ESP; load the modules esp4 and esp6",
        (Errno::EPROTONOSUPPORT, _) => "the kernel has no IPsec; load the module xfrm_user",
        (Errno::EOPNOTSUPP, Object::Interface(_)) => {
            "the kernel has no XFRM interfaces; load the module xfrm_interface (Linux 4.19 or newer)"
        }
        _ => "",
    };
    match (explanation, advice) {
        ("", "") => Errno::from_raw(errno).desc().to_owned(),
        ("", advice) => advice.to_owned(),
        (explanation, "") => format!("{explanation} ({})", Errno::from_raw(errno).desc()),
        (explanation, advice) => format!("{explanation}: {advice}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_names_the_object_and_what_to_do() {
        let sa = Object::Sa(SaId { destination: [192, 0, 2, 1].into(), spi: 0x1234_5678 });
        let text = |object: &Object, errno, why| XfrmError::refused("install", object.clone(), errno as i32, why).to_string();
        use nix::errno::Errno;
        assert_eq!(text(&sa, Errno::EPERM, ""), "install the ESP state 0x12345678 to 192.0.2.1: needs CAP_NET_ADMIN");
        assert_eq!(
            text(&sa, Errno::ENOSYS, "Requested AEAD algorithm not found"),
            "install the ESP state 0x12345678 to 192.0.2.1: Requested AEAD algorithm not found: \
             the kernel has no AES-GCM for IPsec; load the modules gcm, ctr, seqiv and, for speed, aesni_intel"
        );
        let interface = Object::Interface("btmm0".into());
        assert!(text(&interface, Errno::EOPNOTSUPP, "").contains("load the module xfrm_interface"));
        assert_eq!(text(&sa, Errno::EINVAL, "Bad window"), "install the ESP state 0x12345678 to 192.0.2.1: Bad window (Invalid argument)");
    }
}
