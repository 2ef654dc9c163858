//! A program that uses `pipeline` alone: the digits that are compiled in.

use pipeline::data::digits;

fn main() {
    assert_eq!(digits().train.labels.len(), 1257);
}
