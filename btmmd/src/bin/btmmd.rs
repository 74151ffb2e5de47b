//! The daemon.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context;
use btmmd::account::Identity;
use btmmd::config::{Config, ConfigError};
use btmmd::datapath::{Settings, firewall};
use btmmd::run::{self, Paths};
use btmmd::xfrm::Xfrm;
use btmmd::xfrm::port::{DEFAULT_MTU, InnerNetwork, Removed};
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
        let warnings = firewall::restore_on(&arguments.bpffs, &switch_settings(arguments), interface)?;
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

/// A switch that nobody ever turned is left as it is. The guard comes first, and neither waits for the other to succeed.
async fn guard(arguments: &Arguments) -> anyhow::Result<()> {
    let guarded = raise_guard(arguments).await;
    let restored = firewall::restore(&arguments.bpffs, &switch_settings(arguments)).map(|status| {
        status.warning.iter().for_each(|warning| eprintln!("btmmd: {warning}"));
    });
    both(guarded, restored.map_err(anyhow::Error::from))
}

/// A configuration that is wrong is no reason to leave the switch open.
fn switch_settings(arguments: &Arguments) -> Settings {
    let (config, error) = Config::load_or_default(&arguments.config);
    error.iter().for_each(|error| eprintln!("btmmd: {error}; the switch is that of port {}", config.port.get()));
    Settings { port: config.port.get(), ..Settings::new(&arguments.state_dir) }
}

/// Without an account there is nothing to guard.
async fn raise_guard(arguments: &Arguments) -> anyhow::Result<()> {
    if let Some(identity) = Identity::load_if_joined(&arguments.state_dir)? {
        let network = InnerNetwork { address: identity.inner(), prefix: identity.prefix().network(), mtu: DEFAULT_MTU };
        Xfrm::open()?.raise_guard(&network).await?;
    }
    Ok(())
}

/// The result of two halves, each of which was tried: the first error is the one to return, and the second is told.
fn both<T>(first: anyhow::Result<T>, second: anyhow::Result<()>) -> anyhow::Result<T> {
    match (first, second) {
        (Err(first), Err(second)) => {
            eprintln!("btmmd: {second:#}");
            Err(first)
        }
        (first, second) => second.and(first),
    }
}

async fn clean(arguments: &Arguments) -> anyhow::Result<()> {
    let removed = remove_states(arguments).await;
    let purged = if arguments.purge { btmmd::datapath::purge(&arguments.bpffs).map_err(anyhow::Error::from) } else { Ok(()) };
    let removed = both(removed, purged)?;
    println!(
        "removed {} states, {} policies, {} interfaces, {} routes and rules",
        removed.states, removed.policies, removed.interfaces, removed.routes
    );
    Ok(())
}

async fn remove_states(arguments: &Arguments) -> anyhow::Result<Removed> {
    let xfrm = Xfrm::open()?;
    Ok(if arguments.purge { xfrm.purge().await? } else { xfrm.cleanup().await? })
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_two_halves_the_first_error_is_returned_and_one_error_is_enough() {
        let failed = |what: &'static str| Err(anyhow::anyhow!(what));
        assert_eq!(both(Ok(1), Ok(())).ok(), Some(1));
        for (first, second, told) in [(Ok(1), failed("switch"), "switch"), (failed("guard").map(|()| 1), Ok(()), "guard")] {
            assert_eq!(both(first, second).map_err(|error| error.to_string()), Err(told.to_owned()));
        }
        assert_eq!(both(failed("guard"), failed("switch")).map_err(|error| error.to_string()), Err("guard".to_owned()));
    }
}
