//! Data sets, runs over data sets, pictures: where the crates compose.
