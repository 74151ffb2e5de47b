//! The telling: each line with the time since the beginning.

use std::time::Instant;

/// A story being told on standard output.
pub struct Story {
    begun: Instant,
}

impl Story {
    /// Begins now.
    pub fn new() -> Self {
        Self { begun: Instant::now() }
    }

    /// One line.
    pub fn tell(&mut self, line: &str) {
        println!("{:7.2} s  {line}", self.begun.elapsed().as_secs_f64());
    }

    /// What a program printed, indented.
    pub fn show(&mut self, text: &str) {
        for line in text.lines() {
            println!("             │ {line}");
        }
    }

    /// The end.
    pub fn end(&mut self) {
        self.tell("the end: everything as it should be");
    }
}
