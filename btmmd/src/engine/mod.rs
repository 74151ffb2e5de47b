//! Pure composition of the upper half: which tunnels are wanted and what is to be done about it.
