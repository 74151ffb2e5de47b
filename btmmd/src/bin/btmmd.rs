//! The daemon.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context;
use btmmd::account::Identity;
use btmmd::config::{Config, ConfigError};
use btmmd::datapath::firewall;
use btmmd::run::{self, Paths};
use btmmd::xfrm::Xfrm;
use btmmd::xfrm::port::{DEFAULT_MTU, InnerNetwork};
use clap::Parser;
use tracing_subscriber::EnvFilter;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;

/// Reach your own machines from anywhere, over kernel IPsec.
#[derive(Parser)]
#[command(name = "btmmd", version, about)]
struct Arguments {
    /// Configuration file
    #[arg(long, value_name = "FILE", default_value_os_t = Paths::default().config)]
    config: PathBuf,
    /// Keys, roster, zone and switches
    #[arg(long, value_name = "DIR", env = "BTMM_STATE_DIR", default_value_os_t = Paths::default().state)]
    state_dir: PathBuf,
    /// Control socket's folder
    #[arg(long, value_name = "DIR", env = "BTMM_RUNTIME_DIR", default_value_os_t = Paths::default().runtime)]
    runtime_dir: PathBuf,
    /// Folder for pinned eBPF objects, on a bpffs
    #[arg(long, value_name = "DIR", env = "BTMM_BPFFS", default_value_os_t = Paths::default().pins)]
    bpffs: PathBuf,
    /// Print an example configuration with every default, and exit
    #[arg(long, conflicts_with_all = ["cleanup", "purge"])]
    print_config: bool,
    /// Take states, policies and btmm0 out of the kernel, and exit. The port-4500 switch and the never-in-clear guard stay
    #[arg(long, conflicts_with = "purge")]
    cleanup: bool,
    /// Put the never-in-clear guard and the kept port-4500 switch in force, and exit: for early boot, before there is a network
    #[arg(long, conflicts_with_all = ["cleanup", "purge", "print_config"])]
    guard: bool,
    /// Put the kept port-4500 switch in force on an interface that has just appeared, and exit: for udev
    #[arg(long, value_name = "INTERFACE", conflicts_with_all = ["cleanup", "purge", "print_config", "guard"])]
    uplink: Option<String>,
    /// As --cleanup, and take the switch, the guard and everything pinned out too
    #[arg(long)]
    purge: bool,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    match start(&arguments) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("btmmd: {error:#}");
            // The unit does not restart on 2: a wrong configuration is not mended by trying again.
            if error.is::<ConfigError>() { ExitCode::from(2) } else { ExitCode::FAILURE }
        }
    }
}

fn start(arguments: &Arguments) -> anyhow::Result<()> {
    if arguments.print_config {
        print!("{}", Config::example());
        return Ok(());
    }
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().context("tokio runtime")?;
    if arguments.cleanup || arguments.purge {
        return runtime.block_on(clean(arguments));
    }
    if arguments.guard {
        return runtime.block_on(guard(arguments));
    }
    if let Some(interface) = &arguments.uplink {
        let warnings = firewall::restore_on(&arguments.bpffs, &arguments.state_dir, interface)?;
        warnings.iter().for_each(|warning| eprintln!("btmmd: {warning}"));
        return Ok(());
    }
    let config = Config::load(&arguments.config)?;
    log_to(&config)?;
    // Keys must not reach the disk by a core dump.
    nix::sys::resource::setrlimit(nix::sys::resource::Resource::RLIMIT_CORE, 0, 0).context("core dumps")?;
    let paths = Paths {
        config: arguments.config.clone(),
        state: arguments.state_dir.clone(),
        runtime: arguments.runtime_dir.clone(),
        pins: arguments.bpffs.clone(),
    };
    runtime.block_on(run::daemon(paths, config))?;
    Ok(())
}

/// Without an account there is nothing to guard; a switch that nobody ever turned is left as it is.
async fn guard(arguments: &Arguments) -> anyhow::Result<()> {
    let status = firewall::restore(&arguments.bpffs, &arguments.state_dir)?;
    status.warning.iter().for_each(|warning| eprintln!("btmmd: {warning}"));
    if let Some(identity) = Identity::load_if_joined(&arguments.state_dir)? {
        let network = InnerNetwork { address: identity.inner(), prefix: identity.prefix().network(), mtu: DEFAULT_MTU };
        Xfrm::open()?.raise_guard(&network).await?;
    }
    Ok(())
}

async fn clean(arguments: &Arguments) -> anyhow::Result<()> {
    let xfrm = Xfrm::open()?;
    let removed = if arguments.purge {
        btmmd::datapath::purge(&arguments.bpffs)?;
        xfrm.purge().await?
    } else {
        xfrm.cleanup().await?
    };
    println!(
        "removed {} states, {} policies, {} interfaces, {} routes and rules",
        removed.states, removed.policies, removed.interfaces, removed.routes
    );
    Ok(())
}

/// To the journal under systemd, else to standard error. `RUST_LOG` overrides the configured level.
fn log_to(config: &Config) -> anyhow::Result<()> {
    let default = format!("btmmd={}", config.log_level.as_str());
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new(default));
    let registry = tracing_subscriber::registry().with(filter);
    if std::env::var_os("JOURNAL_STREAM").is_some() {
        registry.with(tracing_journald::layer().context("journal")?).init();
    } else {
        registry.with(tracing_subscriber::fmt::layer().with_writer(std::io::stderr).with_target(false)).init();
    }
    Ok(())
}
