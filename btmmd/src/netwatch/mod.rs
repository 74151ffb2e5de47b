//! Addresses, default routes and their changes.
