//! Compiles the shim against libtorch's headers and tells this package's dependents where libtorch's libraries lie.
//!
//! `libdir` reaches a direct dependent's build script as `DEP_TORCH_EXT_LIBDIR`; the dependent passes it to the linker
//! as a run path, so that its programs and tests start without `LD_LIBRARY_PATH`, which still wins where it is set.

use std::path::PathBuf;

#[path = "libtorch.rs"]
#[allow(dead_code, reason = "xtask uses the rest")]
mod libtorch;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    println!("cargo::rerun-if-changed=shim");
    println!("cargo::rerun-if-changed=libtorch.rs");
    let lib = PathBuf::from(std::env::var("DEP_TCH_LIBTORCH_LIB")?);
    let root = lib.parent().unwrap_or(&lib);
    libtorch::check(root)?;
    cc::Build::new()
        .cpp(true)
        .opt_level(3) // its loops over states, in tests too
        .std("c++17")
        .warnings(false) // libtorch's own headers
        .include(root.join("include"))
        .include(root.join("include/torch/csrc/api/include"))
        .file("shim/shim.cpp")
        .file("shim/attention.cpp")
        .file("shim/norm.cpp")
        .file("shim/dropout.cpp")
        .file("shim/checkpoint.cpp")
        .flag_if_supported("-Wno-psabi") // vectors are handed to nobody outside a file
        .cargo_metadata(false)
        .compile("torch_ext");
    // The whole archive: a linker leaves out an object that nothing refers to, and with it the search for CUDA.
    println!("cargo::rustc-link-search=native={}", std::env::var("OUT_DIR")?);
    println!("cargo::rustc-link-lib=static:+whole-archive=torch_ext");
    let cpp = if cfg!(target_os = "macos") { "c++" } else { "stdc++" };
    println!("cargo::rustc-link-lib=dylib={cpp}");
    println!("cargo::rustc-link-lib=dylib=torch_cpu");
    println!("cargo::rustc-link-lib=dylib=c10");
    println!("cargo::rustc-link-search=native={}", lib.display());
    println!("cargo::rustc-link-arg=-Wl,-rpath,{}", lib.display());
    println!("cargo::metadata=libdir={}", lib.display());
    Ok(())
}
