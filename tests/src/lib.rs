//! What the tests of the real kernel share.
pub mod lab;
