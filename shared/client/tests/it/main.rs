//! The library as a customer's program sees it.

mod memory;
mod tampering;
mod vectors;
