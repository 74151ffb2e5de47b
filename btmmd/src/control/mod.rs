//! Control socket: how the CLI and other programs talk to the daemon.
