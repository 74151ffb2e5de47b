//! What a benchmark says: figures beside their baselines, the same from each.
use serde::Serialize;

/// One figure, and what it is held against.
#[derive(Clone, Debug, Serialize)]
pub struct Figure {
    /// What was measured.
    pub name: String,
    /// Ours.
    pub value: f64,
    /// Of both.
    pub unit: &'static str,
    /// Theirs, from the same run; or the bound.
    pub baseline: f64,
    /// Above 1 where ours is better, unless the name ends in a unit.
    pub ratio: f64,
}

impl Figure {
    /// Where more is better.
    pub fn more(name: impl Into<String>, value: f64, unit: &'static str, baseline: f64) -> Self {
        Self { name: name.into(), value, unit, baseline, ratio: value / baseline }
    }

    /// Where less is better.
    pub fn less(name: impl Into<String>, value: f64, unit: &'static str, baseline: f64) -> Self {
        Self { name: name.into(), value, unit, baseline, ratio: baseline / value }
    }
}

/// Prints a table for people, unless only JSON is asked for, and ends with one line of JSON.
///
/// # Errors
/// A figure that is not a number.
pub fn tell(bench: &str, results: &[Figure], json: bool) -> anyhow::Result<()> {
    for Figure { name, value, unit, baseline, ratio } in results {
        anyhow::ensure!(value.is_finite() && baseline.is_finite(), "{name} could not be measured: {value} against {baseline}");
        if !json {
            println!("{name:32} {value:10.2} {unit:8} baseline {baseline:10.2}  ratio {ratio:.3}");
        }
    }
    println!("{}", serde_json::json!({"bench": bench, "results": results}));
    Ok(())
}

/// The one in the middle; of an even count, the upper of two. Of nothing, not a number.
#[must_use]
pub fn median(mut samples: Vec<f64>) -> f64 {
    samples.sort_by(f64::total_cmp);
    samples.get(samples.len() / 2).copied().unwrap_or(f64::NAN)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_is_the_one_in_the_middle() {
        assert!((median(vec![9.0, 1.0, 5.0]) - 5.0).abs() < f64::EPSILON);
        assert!((median(vec![2.0]) - 2.0).abs() < f64::EPSILON);
        assert!(median(vec![]).is_nan());
    }

    #[test]
    fn better_is_above_one_either_way_and_what_was_not_measured_is_no_figure() {
        assert!((Figure::more("rate", 4.0, "1/s", 2.0).ratio - 2.0).abs() < f64::EPSILON);
        assert!((Figure::less("wait", 1.0, "ms", 2.0).ratio - 2.0).abs() < f64::EPSILON);
        assert!(tell("nothing", &[Figure::more("rate", median(vec![]), "1/s", 2.0)], true).is_err());
    }
}
