//! The `btmm` command.
