//! eBPF programs, the firewall switch and the waiting room.
