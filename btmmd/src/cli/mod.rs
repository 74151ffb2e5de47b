//! The `btmm` command.
//!
//! [`args`] says what can be typed, the other files turn replies into text and are pure, [`driver`] connects the two to the daemon, standard
//! input and output.
pub mod account;
pub mod agent;
pub mod args;
pub mod driver;
pub mod firewall;
pub mod generate;
pub mod keytab;
pub mod machines;
pub mod passwd;
pub mod ping;
pub mod services;
pub mod status;
pub mod table;
pub mod tickets;
pub mod words;
