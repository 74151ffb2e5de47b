//! What the tests of the real kernel share.
pub mod account;
pub mod bench_connect;
pub mod bench_gate;
pub mod bench_kdc;
pub mod bench_tunnel;
pub mod damage;
pub mod demo;
pub mod figures;
pub mod frames;
pub mod gate_run;
pub mod lab;
pub mod pair;
pub mod sim;
pub mod zone;
