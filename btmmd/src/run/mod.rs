//! The event loop: waits, feeds the upper half, and executes what it decides, strictly in order.
//!
//! - [`paths`]: where things are on disk and in the kernel.
//! - [`mod@daemon`]: the life of the process: account or none, signals, watchdog, control socket.
//! - `base`: what a home base serves. `renew`: certificates that grow old. `register`: the realm's principals, and `services` what these ask.
//! - `session`: the machine in its account; `start` brings it up, `starting` is while that lasts, `event` is what it waits for, `perform` what it does about it.
//! - `tickets`: tickets of the other machines' services. `owner`: who may have them.
//! - `resume`: which tunnels to raise again after a crash.
//! - `report`: what people and programs are told.

pub mod daemon;
pub mod error;
pub mod paths;

mod base;
mod calls;
mod event;
mod kdc;
mod kerberos;
mod metrics;
mod owner;
mod perform;
mod ping;
mod register;
mod renew;
mod report;
mod resume;
mod roster;
mod services;
mod session;
mod start;
mod starting;
mod switch;
mod tickets;
mod usage;

pub use daemon::daemon;
pub use error::RunError;
pub use paths::Paths;
