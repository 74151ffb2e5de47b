//! Port mapping through the home router.
