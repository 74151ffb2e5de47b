//! Speaks NAT-PMP (RFC 6886) to the router.
