//! Data from files: streamed or not, a run is the same.
