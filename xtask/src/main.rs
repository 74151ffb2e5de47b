//! The workspace's commands: set-up, build of the eBPF programs, test bed, packages.
mod build_ebpf;
mod ci;
mod cpio;
mod dist;
mod fuzz;
mod setup;
mod show;
mod step;
mod test;
mod vm;
mod workspace;

use std::process::ExitCode;

use anyhow::Result;
use clap::{Parser, Subcommand};

use dist::Profile;
use workspace::Workspace;

#[derive(Parser)]
#[command(name = "cargo xtask", about, disable_help_subcommand = true)]
struct Arguments {
    #[command(subcommand)]
    command: Task,
}

#[derive(Subcommand)]
enum Task {
    /// Install what is missing: build tools, QEMU, the lab root
    Setup,
    /// Build the eBPF programs that btmmd embeds
    BuildEbpf,
    /// Run a command in the lab's virtual machine
    Vm(vm::Request),
    /// Tell the whole story: two homes, a base, a tunnel, the switch
    Demo {
        /// Passed on to `lab demo`
        #[arg(last = true)]
        rest: Vec<String>,
    },
    /// Run the tests: all rings, or one
    Test(test::Arguments),
    /// Fuzz the parsers and state machines, guided by coverage
    Fuzz(fuzz::Arguments),
    /// Measure
    Bench(show::Bench),
    /// Make the Debian package
    Dist {
        /// Package the programs that the tests have built, instead of optimised ones
        #[arg(long)]
        dev: bool,
    },
    /// Check form, lints, documentation, licences and directions of imports, then run the tests
    Ci {
        /// Leave the tests out
        #[arg(long)]
        no_tests: bool,
    },
}

fn main() -> ExitCode {
    match run(&Arguments::parse()) {
        Ok(code) => u8::try_from(code).map_or(ExitCode::FAILURE, ExitCode::from),
        Err(error) => {
            eprintln!("cargo xtask: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: &Arguments) -> Result<i32> {
    let workspace = Workspace::find()?;
    match &arguments.command {
        Task::Setup => setup::run(&workspace).map(|()| 0),
        Task::BuildEbpf => build_ebpf::run().map(|()| 0),
        Task::Vm(request) => vm::run(&workspace, request),
        Task::Demo { rest } => show::demo(&workspace, rest),
        Task::Test(arguments) => test::run(&workspace, arguments),
        Task::Fuzz(arguments) => fuzz::run(&workspace, arguments),
        Task::Bench(bench) => show::bench(&workspace, bench),
        Task::Dist { dev } => {
            let deb = dist::run(&workspace, if *dev { Profile::Dev } else { Profile::Release })?;
            println!("{}", deb.display());
            Ok(0)
        }
        Task::Ci { no_tests: true } => ci::check(&workspace).map(|()| 0),
        Task::Ci { no_tests: false } => ci::run(&workspace),
    }
}
