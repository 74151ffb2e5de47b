//! Attaches the gate to the interfaces it is given and then only waits: a daemon to be killed.

use std::path::Path;

use btmmd::datapath::{Datapath, Settings};

fn main() -> anyhow::Result<()> {
    let mut datapath = Datapath::open(Path::new("/sys/fs/bpf/btmm"), &Settings::new("/var/lib/btmm"))?;
    for interface in std::env::args().skip(1) {
        println!("{:?}", datapath.attach_uplink(&interface)?);
    }
    println!("ready");
    loop {
        std::thread::park();
    }
}
