//! Coverage-guided fuzzing: the tests `fuzz_*`, which the unit ring runs on random inputs, with libFuzzer as their engine.
//!
//! What a run learns stays in `target/fuzz/corpus`, and what made a target fall in `target/fuzz/crashes`: the next run begins with both.
mod interrupt;
mod process;
mod said;
mod table;
mod targets;

use std::num::NonZeroUsize;
use std::thread;
use std::time::Duration;

use anyhow::{Result, ensure};

use crate::setup;
use crate::workspace::Workspace;

use interrupt::Interrupt;
use process::{Process, Run};
use table::Table;
use targets::Target;

/// How often processor time is looked at.
const GLANCE: Duration = Duration::from_millis(200);

/// `cargo xtask fuzz`
#[derive(clap::Args)]
pub struct Arguments {
    /// Only targets whose name contains one of these; all of them when absent
    pub targets: Vec<String>,
    /// How long to run each target, in seconds of processor time
    #[arg(long, default_value_t = 60)]
    pub seconds: u64,
    /// How many targets to run at once; as many as there are processors when absent
    #[arg(long)]
    pub jobs: Option<NonZeroUsize>,
    /// List the targets and run none
    #[arg(long)]
    pub list: bool,
    /// End with one line of JSON
    #[arg(long, conflicts_with = "list")]
    pub json: bool,
}

impl Arguments {
    fn want(&self, target: &Target) -> bool {
        self.targets.is_empty() || self.targets.iter().any(|part| target.name.contains(part.as_str()))
    }

    fn jobs(&self) -> usize {
        self.jobs.or_else(|| thread::available_parallelism().ok()).map_or(1, NonZeroUsize::get)
    }
}

/// Runs the targets, says what each came to, and fails when one fell.
pub fn run(workspace: &Workspace, arguments: &Arguments) -> Result<i32> {
    setup::run(workspace)?;
    let mut targets = targets::build(workspace)?;
    targets.retain(|target| arguments.want(target));
    ensure!(!targets.is_empty(), "no fuzz target has such a name; --list lists them");
    if arguments.list {
        targets.iter().for_each(|target| println!("{}", target.name));
        return Ok(0);
    }
    let runs = run_all(workspace, &targets, arguments)?;
    let failures: Vec<String> = runs.iter().flat_map(|run| run.failures(workspace)).collect();
    failures.iter().for_each(|failure| println!("{failure}"));
    if arguments.json {
        println!("{}", table::json(&runs));
    }
    Ok(i32::from(!failures.is_empty()))
}

/// One process for each target, a few at a time. An interrupt ends those that run; no others are started then.
fn run_all<'a>(workspace: &Workspace, targets: &'a [Target], arguments: &Arguments) -> Result<Vec<Run<'a>>> {
    let interrupt = Interrupt::catch()?;
    let table = Table::begin(targets);
    let budget = Duration::from_secs(arguments.seconds);
    let (mut waiting, mut running, mut runs) = (targets.iter(), Vec::new(), Vec::new());
    let mut interrupts = 0;
    loop {
        interrupts += u32::from(interrupt.came()?);
        while interrupts == 0 && running.len() < arguments.jobs() {
            let Some(target) = waiting.next() else { break };
            running.push(Process::start(workspace, target, budget)?);
        }
        if running.is_empty() {
            break;
        }
        for process in std::mem::take(&mut running) {
            match process.glance(interrupts)? {
                process::Glance::Runs(process) => running.push(process),
                process::Glance::Ended(run) => {
                    table.row(&run);
                    runs.push(run);
                }
            }
        }
        thread::sleep(GLANCE);
    }
    table.end(&runs);
    Ok(runs)
}
