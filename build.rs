//! Lets the examples find libtorch without `LD_LIBRARY_PATH`; without the feature `torch` nothing to do.

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    if let Ok(libdir) = std::env::var("DEP_SCORE_SDE_MODELS_LIBDIR") {
        println!("cargo::rustc-link-arg=-Wl,-rpath,{libdir}");
    }
}
