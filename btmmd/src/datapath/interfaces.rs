//! The interfaces of this network namespace, as far as attaching needs to know them.
