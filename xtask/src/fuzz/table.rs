//! What a run came to, for people and for programs.
use std::time::Duration;

use serde_json::{Value, json};

use super::process::Run;
use super::targets::Target;

/// A table which grows by a row as each target ends.
pub struct Table {
    width: usize,
}

impl Table {
    /// Prints its head.
    pub fn begin(targets: &[Target]) -> Self {
        let table = Self { width: targets.iter().map(|target| target.name.len()).max().unwrap_or_default() };
        println!("{}", table.line(["TARGET", "EXECUTIONS", "COVERAGE", "CPU s", "WALL s", "CRASHES"]));
        table
    }

    /// Prints the row of one target.
    pub fn row(&self, run: &Run<'_>) {
        println!(
            "{}",
            self.line([
                &run.target.name,
                &run.said.executions.to_string(),
                &run.said.coverage.to_string(),
                &seconds(run.processor),
                &seconds(run.wall),
                &run.crashes().to_string()
            ])
        );
    }

    /// Prints the sums. Coverage has none: targets share code.
    pub fn end(&self, runs: &[Run<'_>]) {
        let sum = Sum::of(runs);
        println!(
            "{}",
            self.line(["total", &sum.executions.to_string(), "", &seconds(sum.processor), &seconds(sum.wall), &sum.crashes.to_string()])
        );
    }

    fn line(&self, [name, executions, coverage, processor, wall, crashes]: [&str; 6]) -> String {
        format!("{name:<width$}  {executions:>11}  {coverage:>8}  {processor:>7}  {wall:>7}  {crashes:>7}", width = self.width)
    }
}

struct Sum {
    executions: u64,
    processor: Duration,
    wall: Duration,
    crashes: usize,
}

impl Sum {
    fn of(runs: &[Run<'_>]) -> Self {
        Self {
            executions: runs.iter().map(|run| run.said.executions).sum(),
            processor: runs.iter().map(|run| run.processor).sum(),
            wall: runs.iter().map(|run| run.wall).sum(),
            crashes: runs.iter().map(Run::crashes).sum(),
        }
    }
}

/// The same in one line of JSON.
pub fn json(runs: &[Run<'_>]) -> Value {
    let sum = Sum::of(runs);
    let targets: Vec<Value> = runs
        .iter()
        .map(|run| {
            json!({
                "target": run.target.name,
                "executions": run.said.executions,
                "coverage": run.said.coverage,
                "cpu-seconds": run.processor.as_secs_f64(),
                "wall-seconds": run.wall.as_secs_f64(),
                "crashes": run.said.crashes,
            })
        })
        .collect();
    json!({
        "targets": targets,
        "executions": sum.executions,
        "cpu-seconds": sum.processor.as_secs_f64(),
        "wall-seconds": sum.wall.as_secs_f64(),
        "crashes": sum.crashes,
    })
}

fn seconds(duration: Duration) -> String {
    format!("{:.1}", duration.as_secs_f64())
}
