//! What runs inside the lab: the demo, and the benchmarks that need the kernel's IPsec. Started by `cargo xtask`.

use std::process::ExitCode;

use btmm_tests::demo;
use clap::{Parser, Subcommand};

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
}

fn main() -> ExitCode {
    let told = match Arguments::parse().task {
        Task::Demo { megabytes } => demo::run(&demo::Options { megabytes }),
    };
    match told {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("lab: {error:#}");
            ExitCode::FAILURE
        }
    }
}
