//! layouts
#![no_std]
