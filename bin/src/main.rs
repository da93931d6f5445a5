//! The `mpuc` program.

fn main() {}
