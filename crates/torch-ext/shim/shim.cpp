// The C++ half of torch-ext. Every function catches everything and returns a status: no exception crosses into Rust.

#include <ATen/Context.h>
#include <ATen/Version.h>
#include <ATen/core/Tensor.h>
#include <ATen/ops/_fused_adamw.h>
#include <c10/util/Exception.h>
#include <dlfcn.h>
#include <torch/headeronly/version.h>

#include <cstdlib>
#include <exception>
#include <string>
#include <vector>

namespace {

thread_local std::string last_error;
bool cuda_loaded = false;

// Made at its first use, by the constructor below: a plain global would be made anew after it.
std::string& cuda_message() {
  static std::string message = "not looked for";
  return message;
}

// libtorch finds its CUDA half only if that is in memory before the first call, so it is loaded before main: from the
// folder in which libtorch_cpu lies, which is also where LD_LIBRARY_PATH may have led.
__attribute__((constructor)) void load_cuda() {
  const char* off = std::getenv("TORCH_EXT_CUDA");
  if (off != nullptr && (std::string(off) == "0" || std::string(off) == "off")) {
    cuda_message() = "switched off by TORCH_EXT_CUDA";
    return;
  }
  Dl_info info;
  if (dladdr(reinterpret_cast<const void*>(&at::globalContext), &info) == 0 || info.dli_fname == nullptr) {
    cuda_message() = "the folder of libtorch_cpu is unknown";
    return;
  }
  const std::string cpu = info.dli_fname;
  const std::string library = cpu.substr(0, cpu.rfind('/') + 1) + "libtorch_cuda.so";
  cuda_loaded = dlopen(library.c_str(), RTLD_NOW | RTLD_GLOBAL) != nullptr;
  const char* why = cuda_loaded ? nullptr : dlerror();
  cuda_message() = cuda_loaded ? library : (why != nullptr ? why : "no libtorch_cuda.so");
}

// 0: done; 1: failed; 2: out of memory.
template <typename F>
int guarded(F work) {
  try {
    work();
    return 0;
  } catch (const c10::OutOfMemoryError& e) {
    last_error = e.what_without_backtrace();
    return 2;
  } catch (const c10::Error& e) {
    last_error = e.what_without_backtrace();
  } catch (const std::bad_alloc& e) {
    last_error = e.what();
    return 2;
  } catch (const std::exception& e) {
    last_error = e.what();
  } catch (...) {
    last_error = "an exception that is no std::exception";
  }
  return 1;
}

std::vector<at::Tensor> list(at::Tensor* const* tensors, size_t n) {
  std::vector<at::Tensor> out;
  out.reserve(n);
  for (size_t i = 0; i < n; i++) out.push_back(*tensors[i]);
  return out;
}

}  // namespace

extern "C" {

const char* torch_ext_last_error() { return last_error.c_str(); }

const char* torch_ext_version() { return TORCH_VERSION; }

// How the libtorch in memory was built, which need not be the one whose headers were used.
const char* torch_ext_config() {
  static std::string config;
  guarded([] { config = at::show_config(); });
  return config.c_str();
}

int torch_ext_cuda_loaded() { return cuda_loaded ? 1 : 0; }

const char* torch_ext_cuda_message() { return cuda_message().c_str(); }

int torch_ext_set_tf32(int allow) {
  return guarded([&] {
    at::globalContext().setAllowTF32CuDNN(allow != 0);
    at::globalContext().setAllowTF32CuBLAS(allow != 0);
  });
}

int torch_ext_set_deterministic(int on) {
  return guarded([&] {
    at::globalContext().setDeterministicCuDNN(on != 0);
    at::globalContext().setBenchmarkCuDNN(on == 0);
  });
}

// One step of AdamW (Loshchilov & Hutter 2019) on n tensors; `steps` counts from 1 and is moved on here.
int torch_ext_adamw(at::Tensor* const* parameters, at::Tensor* const* gradients, at::Tensor* const* first,
                    at::Tensor* const* second, at::Tensor* const* steps, size_t n, double rate, double beta1,
                    double beta2, double eps, double weight_decay) {
  return guarded([&] {
    auto counts = list(steps, n);
    for (auto& count : counts) count.add_(1);
    at::_fused_adamw_(list(parameters, n), list(gradients, n), list(first, n), list(second, n), {}, counts, rate,
                      beta1, beta2, weight_decay, eps, /*amsgrad=*/false, /*maximize=*/false);
  });
}
}
