//! The program `sde`.

fn main() {}
