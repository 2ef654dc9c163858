// Found only where libtorch's own header is not: .cargo/config.toml puts this folder last on the compiler's path, so that a
// build without libtorch ends with this sentence.
#error "no libtorch at $LIBTORCH (.libtorch/torch by default): run `cargo xtask libtorch`, or set LIBTORCH to a libtorch 2.11.0"
