// The C++ half of torch-ext. Every function catches everything and returns a status: no exception crosses into Rust.

#include "shim.h"

#include <ATen/Context.h>
#include <ATen/Version.h>
#include <ATen/autocast_mode.h>
#include <ATen/core/dispatch/Dispatcher.h>
#include <ATen/ops/_fused_adamw.h>
#include <dlfcn.h>
#include <torch/headeronly/version.h>

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <vector>

using shim::guarded;
using shim::last_error;
using shim::parallel;

namespace {

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

std::vector<at::Tensor> list(at::Tensor* const* tensors, size_t n) {
  std::vector<at::Tensor> out;
  out.reserve(n);
  for (size_t i = 0; i < n; i++) out.push_back(*tensors[i]);
  return out;
}

// Numbers of one row that are worked on at a time: their sum stays in a core's first cache.
constexpr int64_t BLOCK = 1024;

// The blocks of `rows` rows of `len` numbers, in parallel: work(row, block, offset, numbers).
template <typename F>
void blocks(int64_t rows, int64_t len, size_t terms, const F& work) {
  const int64_t each = (len + BLOCK - 1) / BLOCK;
  const int64_t size = std::min(len, BLOCK) * static_cast<int64_t>(terms + 1);
  parallel(rows * each, std::max<int64_t>(1, 32768 / std::max<int64_t>(1, size)), [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; i++) {
      const int64_t row = i / each, block = i % each, from = block * BLOCK;
      work(row, block, row * len + from, std::min(BLOCK, len - from));
    }
  });
}

const double* numbers(const at::Tensor& x, int64_t rows, int64_t len) {
  TORCH_CHECK(x.device().is_cpu() && x.scalar_type() == at::kDouble && x.is_contiguous() && x.numel() == rows * len,
              "expected ", rows, " contiguous rows of ", len, " f64 numbers on the CPU");
  return x.const_data_ptr<double>();
}

std::vector<const double*> all_numbers(at::Tensor* const* x, size_t n, int64_t rows, int64_t len) {
  std::vector<const double*> out;
  out.reserve(n);
  for (size_t j = 0; j < n; j++) out.push_back(numbers(*x[j], rows, len));
  return out;
}

// out = sum_j c[j][row] x[j] over one block.
void sum_block(double* out, const std::vector<const double*>& x, const double* c, int64_t rows, int64_t row, int64_t at,
               int64_t size) {
  for (size_t j = 0; j < x.size(); j++) {
    const double* __restrict term = x[j] + at;
    double* __restrict sum = out;
    const double w = c[j * rows + row];
    if (j == 0) {
      for (int64_t i = 0; i < size; i++) sum[i] = w * term[i];
    } else {
      for (int64_t i = 0; i < size; i++) sum[i] += w * term[i];
    }
  }
}

}  // namespace

extern "C" {

const char* torch_ext_last_error() { return last_error.c_str(); }

const char* torch_ext_version() { return TORCH_VERSION; }

// How the libtorch in memory was built, which need not be the one whose headers were used.
const char* torch_ext_config() {
  static const std::string config = [] {
    std::string text;
    guarded([&] { text = at::show_config(); });
    return text;
  }();
  return config.c_str();
}

int torch_ext_cuda_loaded() { return cuda_loaded ? 1 : 0; }

const char* torch_ext_cuda_message() { return cuda_message().c_str(); }

// The weight of a convolution in the layout that oneDNN wants for inputs of this size, so that it need not be made anew at
// every call. The result is opaque: it is good for torch_ext_packed_convolution alone.
int torch_ext_pack_convolution(at::Tensor** out, at::Tensor* weight, int64_t padding, int64_t stride,
                               const int64_t* size) {
  return guarded([&] {
    const auto op = c10::Dispatcher::singleton().findSchemaOrThrow("mkldnn::_reorder_convolution_weight", "");
    const auto two = [](int64_t n) { return c10::IValue(std::vector<int64_t>{n, n}); };
    std::vector<c10::IValue> stack{*weight, two(padding), two(stride), two(1), int64_t{1},
                                   c10::IValue(std::vector<int64_t>(size, size + 4))};
    op.callBoxed(stack);
    *out = new at::Tensor(stack.at(0).toTensor());
  });
}

// The convolution with a packed weight, plus `other` where that is not null.
int torch_ext_packed_convolution(at::Tensor** out, at::Tensor* x, at::Tensor* weight, at::Tensor* bias,
                                 at::Tensor* other, int64_t padding, int64_t stride) {
  return guarded([&] {
    const auto two = [](int64_t n) { return c10::IValue(std::vector<int64_t>{n, n}); };
    const c10::IValue none;
    const c10::IValue no_scalars{c10::List<std::optional<at::Scalar>>()};
    std::vector<c10::IValue> stack;
    if (other == nullptr) {
      stack = {*x, *weight, *bias, two(padding), two(stride), two(1), int64_t{1}, std::string("none"), no_scalars, none};
      c10::Dispatcher::singleton().findSchemaOrThrow("mkldnn::_convolution_pointwise", "").callBoxed(stack);
    } else {
      stack = {*x,         *other,     *weight, *bias,      two(padding), two(stride), two(1),
               int64_t{1}, std::string("add"), c10::IValue(1.0), none,    no_scalars,  none};
      c10::Dispatcher::singleton().findSchemaOrThrow("mkldnn::_convolution_pointwise", "binary").callBoxed(stack);
    }
    *out = new at::Tensor(stack.at(0).toTensor());
  });
}

int torch_ext_set_tf32(int allow) {
  return guarded([&] {
    at::globalContext().setAllowTF32CuDNN(allow != 0);
    at::globalContext().setAllowTF32CuBLAS(allow != 0);
  });
}

// On this thread: products and convolutions of the CPU in bf16, or again in the type of their arguments.
int torch_ext_autocast(int on, int* before) {
  return guarded([&] {
    *before = at::autocast::is_autocast_enabled(at::kCPU) ? 1 : 0;
    at::autocast::set_autocast_dtype(at::kCPU, at::kBFloat16);
    at::autocast::set_autocast_enabled(at::kCPU, on != 0);
    if (on == 0) at::autocast::clear_cache();
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

// out = sum_j c[j][row] x[j], n >= 1, in one pass over contiguous f64 rows on the CPU.
int torch_ext_weighted_sum(at::Tensor* out, at::Tensor* const* x, const double* c, size_t n, size_t row_count,
                           size_t length) {
  return guarded([&] {
    const auto rows = static_cast<int64_t>(row_count), len = static_cast<int64_t>(length);
    numbers(*out, rows, len);
    const auto terms = all_numbers(x, n, rows, len);
    double* sum = out->data_ptr<double>();
    out->unsafeGetTensorImpl()->bump_version();  // a graph that has saved it must notice
    blocks(rows, len, n, [&](int64_t row, int64_t, int64_t at, int64_t size) {
      sum_block(sum + at, terms, c, rows, row, at, size);
    });
  });
}

// out[e][row] = sum over the row of (sum_j c[e][j][row] x[j] / (atol + rtol max(|y|, |z|)))^2 for m sets of coefficients,
// in one pass. Partial sums belong to blocks of a row, so the result does not depend on the number of threads.
int torch_ext_squared_errors(double* out, size_t m, at::Tensor* const* x, const double* c, size_t n, at::Tensor* y,
                             at::Tensor* z, double atol, double rtol, size_t row_count, size_t length) {
  return guarded([&] {
    const auto rows = static_cast<int64_t>(row_count), len = static_cast<int64_t>(length);
    const auto terms = all_numbers(x, n, rows, len);
    const double *from = numbers(*y, rows, len), *to = numbers(*z, rows, len);
    const int64_t each = (len + BLOCK - 1) / BLOCK;
    std::vector<double> parts(m * rows * each);
    blocks(rows, len, n * m + 2, [&](int64_t row, int64_t block, int64_t at, int64_t size) {
      double scale[BLOCK], error[BLOCK];
      for (int64_t i = 0; i < size; i++) {
        const double a = std::fabs(from[at + i]), b = std::fabs(to[at + i]);
        scale[i] = atol + rtol * (a > b || a != a ? a : b);  // a NaN stays
      }
      for (size_t e = 0; e < m; e++) {
        std::fill(error, error + size, 0.0);
        sum_block(error, terms, c + e * n * rows, rows, row, at, size);
        double sums[4] = {0.0, 0.0, 0.0, 0.0};
        for (int64_t i = 0; i < size; i++) {
          const double r = error[i] / scale[i];
          sums[i % 4] += r * r;
        }
        parts[(e * rows + row) * each + block] = (sums[0] + sums[1]) + (sums[2] + sums[3]);
      }
    });
    for (size_t i = 0; i < m * rows; i++) {
      out[i] = 0.0;
      for (int64_t block = 0; block < each; block++) out[i] += parts[i * each + block];
    }
  });
}
}
