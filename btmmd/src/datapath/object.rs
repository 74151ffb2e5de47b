//! The embedded object.
