//! A program that uses `sde-core` alone: the amplitude of a process at the end of time.

use sde_core::{Sde, VpLinear};

fn main() {
    assert!(VpLinear::default().alpha(1.0) < 0.01);
}
