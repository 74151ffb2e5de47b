//! Attaches the gate to the interfaces it is given, by XDP if `--xdp` comes first, and then only waits: a daemon to be killed.

use std::path::Path;

use btmmd::datapath::{Datapath, Settings, XdpUse};

fn main() -> anyhow::Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let xdp = if arguments.first().is_some_and(|first| first == "--xdp") { XdpUse::Driver } else { XdpUse::Hardware };
    let mut datapath = Datapath::open(Path::new("/sys/fs/bpf/btmm"), &Settings { xdp, ..Settings::new("/var/lib/btmm") })?;
    for interface in arguments.iter().filter(|argument| *argument != "--xdp") {
        println!("{:?}", datapath.attach_uplink(interface)?);
    }
    println!("ready");
    loop {
        std::thread::park();
    }
}
