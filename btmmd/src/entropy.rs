//! Random octets: the one input that neither a message nor a clock gives.
/// Where random octets come from: the operating system, or a seed in simulations.
pub trait Entropy: Send {
    /// Fills `out` with octets nobody can predict.
    fn fill(&mut self, out: &mut [u8]);
}

/// The operating system's random numbers.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemEntropy;

impl Entropy for SystemEntropy {
    fn fill(&mut self, out: &mut [u8]) {
        aws_lc_rs::rand::fill(out).expect("the system's random number generator works");
    }
}
