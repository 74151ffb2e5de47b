//! What libFuzzer says of its work, read from its log.
use std::path::PathBuf;

/// The end of the story, as far as it was told.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Said {
    /// Inputs tried.
    pub executions: u64,
    /// Edges of the program that some input took.
    pub coverage: u64,
    /// Inputs that made the target fall, where they were written.
    pub crashes: Vec<PathBuf>,
}

impl Said {
    /// Reads a whole log; what the target itself wrote stands between.
    pub fn read(log: &str) -> Self {
        let mut said = Self::default();
        for line in log.lines() {
            if let Some(coverage) = after(line, " cov: ") {
                said.coverage = said.coverage.max(coverage);
                said.executions = said.executions.max(after(line, "#").unwrap_or_default());
            } else if let Some(executions) = after(line, "stat::number_of_executed_units:") {
                said.executions = executions;
            } else if let Some((_, file)) = line.split_once("Test unit written to ") {
                said.crashes.push(file.into());
            }
        }
        said
    }
}

/// The number behind a word.
fn after(line: &str, word: &str) -> Option<u64> {
    let (_, rest) = line.split_once(word)?;
    let rest = rest.trim_start();
    rest.get(..rest.find(|character: char| !character.is_ascii_digit()).unwrap_or(rest.len()))?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    const BEGINNING: &str = "running 1 test\n\
        test any_octets_are_a_cache_or_an_error ... WARNING: Failed to find function \"__sanitizer_print_stack_trace\".\n\
        INFO: Loaded 1 modules   (5467 inline 8-bit counters): 5467 [0x5647db8e7b10, 0x5647db8e906b), \n\
        #2\tINITED cov: 25 ft: 25 corp: 1/1b exec/s: 0 rss: 28Mb\n\
        \tNEW_FUNC[1/9]: 0x5647db825e91\n\
        #86\tREDUCE cov: 52 ft: 53 corp: 5/75b lim: 4096 exec/s: 0 rss: 28Mb L: 25/43 MS: 2 ChangeBinInt-InsertRepeatedBytes-\n\
        #4096\tpulse  cov: 53 ft: 59 corp: 9/211b lim: 4096 exec/s: 2048 rss: 28Mb\n";

    #[test]
    fn a_log_that_breaks_off_still_tells_how_far_it_came() {
        assert_eq!(Said::read(BEGINNING), Said { executions: 4096, coverage: 53, crashes: vec![] });
        assert_eq!(Said::read(""), Said::default());
    }

    #[test]
    fn statistics_count_what_came_after_the_last_status() {
        let log = format!(
            "{BEGINNING}#5000\tGENERATE\tvalid: 12 (0.24%) valid/s: 12 (0.24%)\n\
            stat::number_of_executed_units: 60600\nstat::average_exec_per_sec:     401\n"
        );
        assert_eq!(Said::read(&log), Said { executions: 60600, coverage: 53, crashes: vec![] });
    }

    #[test]
    fn a_crash_is_the_file_it_was_written_to() {
        let log = format!(
            "{BEGINNING}==7== ERROR: libFuzzer: deadly signal\n\
            artifact_prefix='crashes/files/any/'; Test unit written to crashes/files/any/crash-da39a3ee\n\
            Base64: \nstat::number_of_executed_units: 4101\n"
        );
        assert_eq!(Said::read(&log), Said { executions: 4101, coverage: 53, crashes: vec!["crashes/files/any/crash-da39a3ee".into()] });
    }
}
