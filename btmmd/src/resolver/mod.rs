//! The local resolver: a name look-up that raises a tunnel.
