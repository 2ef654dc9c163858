//! What batches ask of libtorch, counted for each thread: a solve should read the device once for each attempted step.

use std::cell::Cell;

/// Counts since the thread began.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Traffic {
    /// Times that the host asked for numbers of a device and had to wait; the CPU is counted as any other.
    pub reads: u64,
    /// Sets of coefficients that were brought to a device other than the CPU.
    pub uploads: u64,
    /// Sums, of any number of terms each.
    pub sums: u64,
}

thread_local! {
    static COUNTS: Cell<Traffic> = const { Cell::new(Traffic { reads: 0, uploads: 0, sums: 0 }) };
}

/// The counts of this thread.
pub fn traffic() -> Traffic {
    COUNTS.get()
}

pub(super) fn count(add: impl FnOnce(&mut Traffic)) {
    let mut counts = COUNTS.get();
    add(&mut counts);
    COUNTS.set(counts);
}
