//! The libtorch that this program found: version, devices, threads, arithmetic.

use tch::Device;

use crate::error::{Error, Result};
use crate::ffi;

/// The version of the headers that this program was built with, `2.11.0`.
pub fn version() -> String {
    ffi::version()
}

/// The version of the libtorch in memory; `None` where it does not say.
pub fn loaded_version() -> Option<String> {
    let config = ffi::config();
    let after = config.split_once("TORCH_VERSION=")?.1;
    Some(after.chars().take_while(|c| c.is_ascii_digit() || *c == '.').collect())
}

/// Whether the libtorch in memory is the one that this program was built for.
///
/// # Errors
/// [`Error::Torch`] naming both versions, unless `LIBTORCH_BYPASS_VERSION_CHECK` is set.
pub fn check_version() -> Result<()> {
    let bypass = std::env::var_os("LIBTORCH_BYPASS_VERSION_CHECK").is_some();
    match loaded_version().filter(|found| *found != version() && !bypass) {
        Some(found) => Err(Error::Torch(format!(
            "the library that was loaded is version {found}, expected {}: look at LD_LIBRARY_PATH",
            version()
        ))),
        None => Ok(()),
    }
}

/// Whether libtorch's CUDA half was found, and a sentence about it for people.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cuda {
    /// Whether it is in memory and has a device.
    pub available: bool,
    /// How many devices it has.
    pub devices: usize,
    /// Where it was loaded from, or why it was not.
    pub message: String,
}

/// What became of the search for CUDA.
pub fn cuda() -> Cuda {
    let (loaded, message) = ffi::cuda();
    if !loaded {
        return Cuda { available: false, devices: 0, message };
    }
    let devices = usize::try_from(tch::Cuda::device_count()).unwrap_or(0);
    let available = devices > 0 && tch::Cuda::is_available();
    let message = if available { message } else { format!("{message} finds no device") };
    Cuda { available, devices, message }
}

/// The device of a name: `cpu`, `cuda`, `cuda:N`, or `auto`, which is CUDA where there is a device.
///
/// # Errors
/// [`Error::Torch`] for another name and for a device that is not there.
pub fn device(name: &str) -> Result<Device> {
    let found = cuda();
    let index = match name {
        "cpu" => return Ok(Device::Cpu),
        "auto" => return Ok(if found.available { Device::Cuda(0) } else { Device::Cpu }),
        "cuda" => Some(0),
        other => other.strip_prefix("cuda:").and_then(|n| n.parse().ok()),
    };
    match index {
        None => {
            Err(Error::Torch(format!("the device is {name}, expected cpu, cuda, cuda:N or auto")))
        }
        Some(n) if n < found.devices => Ok(Device::Cuda(n)),
        Some(n) => Err(Error::Torch(format!(
            "the device cuda:{n} is not there: {} CUDA devices ({})",
            found.devices, found.message
        ))),
    }
}

/// Threads of libtorch's operations, for this thread and those born later.
pub fn set_threads(threads: usize) {
    tch::set_num_threads(i32::try_from(threads).unwrap_or(i32::MAX));
}

/// The number of threads of libtorch's operations.
pub fn threads() -> usize {
    usize::try_from(tch::get_num_threads()).unwrap_or(1)
}

/// Whether f32 convolutions and products on CUDA may round to the 10 bits of TF32. Libtorch allows it for convolutions
/// unless told otherwise; a likelihood wants it off.
///
/// # Errors
/// When libtorch refuses.
pub fn allow_tf32(allow: bool) -> Result<()> {
    ffi::set_tf32(allow)
}

/// Whether cuDNN must choose algorithms that give the same bits every time.
///
/// # Errors
/// When libtorch refuses.
pub fn deterministic(on: bool) -> Result<()> {
    ffi::set_deterministic(on)
}

/// While this lives, products and convolutions of this thread are computed in bf16 on the CPU, sums and norms in the type
/// that they are given. Passes backward take the types of the pass forward, and end better outside.
#[derive(Debug)]
pub struct Bf16 {
    /// Whether another one lived when this began.
    before: bool,
    /// Belongs to the thread that made it.
    _thread: std::marker::PhantomData<*const ()>,
}

impl Bf16 {
    /// Begins.
    ///
    /// # Errors
    /// When libtorch refuses.
    pub fn begin() -> Result<Self> {
        Ok(Self { before: ffi::autocast(true)?, _thread: std::marker::PhantomData })
    }
}

impl Drop for Bf16 {
    fn drop(&mut self) {
        let _ = ffi::autocast(self.before); // a flag of this thread: nothing that could fail
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_version_is_the_one_that_tch_is_written_for() {
        assert_eq!(version(), "2.11.0");
        assert_eq!(loaded_version().as_deref(), Some("2.11.0"));
        check_version().unwrap();
    }

    /// What the search before `main` found is still known after it.
    #[test]
    fn the_search_for_cuda_says_what_it_found() {
        let Cuda { available, message, .. } = cuda();
        assert!(available || message.contains("libtorch_cuda.so"), "{message}");
    }

    /// Within, a product has eight bits; after it, also after an early end, it is exact again.
    #[test]
    fn products_are_bf16_while_it_lives() {
        let x = tch::Tensor::f_from_slice(&[1.001_f32]).unwrap().f_reshape([1, 1]).unwrap();
        let product = || x.f_matmul(&x).unwrap();
        let outside = product();
        {
            let _bf16 = Bf16::begin().unwrap();
            assert_eq!(product().f_kind().unwrap(), tch::Kind::BFloat16);
            assert!((product().f_double_value(&[0, 0]).unwrap() - 1.0).abs() < 1e-6);
        }
        assert_eq!(product().f_kind().unwrap(), tch::Kind::Float);
        assert_eq!(product(), outside);
    }

    #[test]
    fn devices_have_names() {
        assert_eq!(device("cpu").unwrap(), Device::Cpu);
        assert!(device("auto").is_ok());
        let text = device("gpu").unwrap_err().to_string();
        assert_eq!(text, "libtorch: the device is gpu, expected cpu, cuda, cuda:N or auto");
        assert!(device("cuda:99").unwrap_err().to_string().contains("cuda:99 is not there"));
    }
}
