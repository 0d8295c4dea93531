//! The administration.
