//! Accounts: names, keys, certificates, invitations, the roster.
pub mod name;
