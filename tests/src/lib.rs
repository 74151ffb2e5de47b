//! What the tests of the real kernel share.
pub mod frames;
pub mod lab;
pub mod pair;
