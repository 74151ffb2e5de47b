//! The programs inside this binary.

use super::DatapathError;

static OBJECT: &[u8] = aya::include_bytes_aligned!(concat!(env!("OUT_DIR"), "/btmm.o"));

/// The ELF object that `cargo xtask build-ebpf` made before this binary was built.
pub fn bytes() -> Result<&'static [u8], DatapathError> {
    if OBJECT.is_empty() { Err(DatapathError::NoPrograms) } else { Ok(OBJECT) }
}
