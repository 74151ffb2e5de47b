//! systemd-resolved over D-Bus.
