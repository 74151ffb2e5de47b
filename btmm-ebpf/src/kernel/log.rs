//! The log.
use btmm_ebpf::verdict::Verdict;

#[inline(always)]
pub fn dropped<C>(_context: &C, _verdict: Verdict) {}
