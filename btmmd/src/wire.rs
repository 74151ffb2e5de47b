//! Bounded reading and writing of wire formats.
