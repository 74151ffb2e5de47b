//! The part of the eBPF programs that does not need the kernel: map layouts shared with btmmd, the parsing of packets, and the
//! verdicts. The same code runs in the programs (`bin/btmm-programs`) and on the host, where it is tested.
//!
//! - [`layout`]: names, sizes and value types of the maps.
//! - [`bytes`]: how a packet is read, wherever it lies.
//! - [`packet`]: what a packet is, as far as the verdicts ask.
//! - [`verdict`]: what becomes of it. The order of the tests in there is the security argument of `btmmd/docs/security.md`.
//! - [`rate`]: the token bucket.
#![no_std]

pub mod bytes;
pub mod layout;
pub mod packet;
pub mod rate;
pub mod verdict;

#[cfg(test)]
mod tests;
