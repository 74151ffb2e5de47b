//! What runs inside the lab: the demo, and the benchmarks that need the kernel's IPsec. Started by `cargo xtask`.

use std::process::ExitCode;

use btmm_tests::{bench_connect, bench_gate, bench_kdc, bench_tunnel, demo};
use clap::{Parser, Subcommand, ValueEnum};

#[derive(Parser)]
#[command(name = "lab", about, disable_help_subcommand = true)]
struct Arguments {
    #[command(subcommand)]
    task: Task,
}

#[derive(Subcommand)]
enum Task {
    /// Two homes, a base, a tunnel, told line by line
    Demo {
        /// Size of the file that is fetched, in MB
        #[arg(long, default_value_t = 10)]
        megabytes: usize,
    },
    /// Measure
    Bench {
        /// What
        name: Bench,
        /// Only one line of JSON
        #[arg(long)]
        json: bool,
    },
    /// Serve tickets, to be measured
    #[command(hide = true)]
    Kdc(bench_kdc::served::Arguments),
}

/// What there is to measure.
#[derive(Clone, Copy, ValueEnum)]
enum Bench {
    /// Throughput of a tunnel, against one made by hand and WireGuard
    Tunnel,
    /// From a name look-up to the first octet
    Connect,
    /// Nanoseconds of the gate per packet
    Gate,
    /// Tickets per second, against krb5kdc
    Kdc,
}

fn main() -> ExitCode {
    let told = match Arguments::parse().task {
        Task::Demo { megabytes } => demo::run(&demo::Options { megabytes }),
        Task::Bench { name: Bench::Tunnel, json } => bench_tunnel::run(json),
        Task::Bench { name: Bench::Connect, json } => bench_connect::run(json),
        Task::Bench { name: Bench::Gate, json } => bench_gate::run(json),
        Task::Bench { name: Bench::Kdc, json } => bench_kdc::run(json),
        Task::Kdc(arguments) => bench_kdc::served::run(&arguments),
    };
    match told {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("lab: {error:#}");
            ExitCode::FAILURE
        }
    }
}
