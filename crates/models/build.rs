//! Lets this package's tests find libtorch without `LD_LIBRARY_PATH`, and hands its folder on to dependents.

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    if let Ok(libdir) = std::env::var("DEP_TORCH_EXT_LIBDIR") {
        println!("cargo::rustc-link-arg=-Wl,-rpath,{libdir}");
        println!("cargo::metadata=libdir={libdir}");
    }
}
