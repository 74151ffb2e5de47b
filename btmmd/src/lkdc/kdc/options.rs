//! Bits of KDC options and ticket flags, which share most of their numbers (RFC 4120 §5.3, §5.4.1; RFC 6806; RFC 8062).

use crate::lkdc::asn1::flags::bit;

/// Options of a request, or flags of a ticket.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Flags(pub u32);

impl Flags {
    /// Forwarding: asked for, or allowed.
    pub const FORWARDABLE: Self = Self(bit(1));
    /// Forwarded.
    pub const FORWARDED: Self = Self(bit(2));
    /// Proxies: asked for, or allowed.
    pub const PROXIABLE: Self = Self(bit(3));
    /// A proxy.
    pub const PROXY: Self = Self(bit(4));
    /// Postdating: asked for, or allowed.
    pub const MAY_POSTDATE: Self = Self(bit(5));
    /// Postdated.
    pub const POSTDATED: Self = Self(bit(6));
    /// Ticket: not before it is validated.
    pub const INVALID: Self = Self(bit(7));
    /// Renewing: asked for, or allowed.
    pub const RENEWABLE: Self = Self(bit(8));
    /// Ticket: from an AS exchange.
    pub const INITIAL: Self = Self(bit(9));
    /// Ticket: the client has proven itself.
    pub const PRE_AUTHENT: Self = Self(bit(10));
    /// Ticket: a device took part.
    pub const HW_AUTHENT: Self = Self(bit(11));
    /// Ticket: the path through realms was looked at. Ours has one step.
    pub const TRANSITED_CHECKED: Self = Self(bit(12));
    /// Option: constrained delegation.
    pub const CNAME_IN_ADDL_TKT: Self = Self(bit(14));
    /// Option: names may be replaced by canonical ones.
    pub const CANONICALIZE: Self = Self(bit(15));
    /// Ticket: the reply protects the request (RFC 6806 §11).
    pub const ENC_PA_REP: Self = Self(bit(15));
    /// Without a name: asked for, or so issued.
    pub const ANONYMOUS: Self = Self(bit(16));
    /// Option: a renewable ticket will do when a long one is not given.
    pub const RENEWABLE_OK: Self = Self(bit(27));
    /// Option: encrypt in the session key of the ticket that came along.
    pub const ENC_TKT_IN_SKEY: Self = Self(bit(28));
    /// Option: renew the ticket.
    pub const RENEW: Self = Self(bit(30));
    /// Option: validate the ticket.
    pub const VALIDATE: Self = Self(bit(31));

    /// Whether any bit of `other` is set.
    pub fn has(self, other: Self) -> bool {
        self.0 & other.0 != 0
    }

    /// Both.
    pub const fn with(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// Both, if so.
    pub fn with_if(self, so: bool, other: Self) -> Self {
        if so { self.with(other) } else { self }
    }

    /// These without those of `other`.
    pub const fn without(self, other: Self) -> Self {
        Self(self.0 & !other.0)
    }

    /// Only those that are in both.
    pub const fn among(self, other: Self) -> Self {
        Self(self.0 & other.0)
    }
}
