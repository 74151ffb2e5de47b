//! Control socket: how the CLI and other programs talk to the daemon.
//!
//! The interface is varlink's `org.btmm.Control` ([`wire::DESCRIPTION`]): NUL-terminated JSON objects over the Unix socket
//! `/run/btmm/btmmd.sock`. [`driver::Server`] decodes and authorises each call and hands it to the event loop as a
//! [`request::ControlRequest`], whose answer channel is typed, so that no call can be answered with another call's reply.
//!
//! zlink is not used to serve, only to judge this in tests: its server awaits one call at a time, so that a join of half a minute would hold up
//! everybody's `btmm status`, it buffers up to 100 MB for a client and does not bound the number of clients.
pub mod client;
pub mod driver;
pub mod error;
pub mod messages;
pub mod request;
pub mod secrets;
pub mod server;
pub mod services;
pub mod wire;

#[cfg(test)]
mod description_tests;
