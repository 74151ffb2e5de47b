//! The workspace's commands: set-up, build of the eBPF programs, test bed, packages.
mod build_ebpf;
mod cpio;
mod setup;
mod vm;
mod workspace;

use std::process::ExitCode;

use anyhow::Result;
use clap::{Parser, Subcommand};

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
    /// Build the eBPF programs into target/ebpf
    BuildEbpf,
    /// Run a command in the lab's virtual machine
    Vm(vm::Request),
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
    }
}
