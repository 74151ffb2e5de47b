//! The client against our own KDC, in memory and in virtual time.

mod armored;
mod certified;
mod password;
mod service;
mod world;
