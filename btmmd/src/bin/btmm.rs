//! btmmd
fn main() {}
