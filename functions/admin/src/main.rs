//! The administration.
fn main() {}
