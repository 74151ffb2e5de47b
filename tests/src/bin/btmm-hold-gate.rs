//! Attaches the gate to the interfaces it is given and then only waits: a daemon to be killed. `--xdp` attaches by XDP whatever the
//! interface; `--log` turns the programs' own log on.

use std::path::Path;

use btmmd::datapath::{Datapath, Settings, XdpUse};

#[tokio::main(flavor = "current_thread")]
async fn main() -> anyhow::Result<()> {
    tracing_subscriber::fmt().with_max_level(tracing_subscriber::filter::LevelFilter::TRACE).with_ansi(false).init();
    let (flags, interfaces): (Vec<String>, Vec<String>) = std::env::args().skip(1).partition(|argument| argument.starts_with("--"));
    let given = |flag: &str| flags.iter().any(|one| one == flag);
    let xdp = if given("--xdp") { XdpUse::Driver } else { XdpUse::Hardware };
    let settings = Settings { xdp, program_log: given("--log"), ..Settings::new("/var/lib/btmm") };
    let mut datapath = Datapath::open(Path::new("/sys/fs/bpf/btmm"), &settings)?;
    for interface in &interfaces {
        println!("{:?}", datapath.attach_uplink(interface)?);
    }
    println!("holding the gate");
    match datapath.take_log() {
        Some(log) => log.run().await,
        None => std::future::pending().await,
    }
    Ok(())
}
