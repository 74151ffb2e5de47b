//! The event loop: executes what the engine decides.
