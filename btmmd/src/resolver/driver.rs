//! The stub's sockets.
