// Dropout on the CPU by random numbers that are a function of a key: nothing is remembered for the way back, and a pass that
// is done again drops the same.
//
//     y_i = x_i/(1 - p) where u_i >= p, else 0;   u_i = word i of Threefry-2x32-20 (Salmon et al. 2011) of the row's key
//
// A row is a sample. Its key, and the places of its numbers in memory, decide what is dropped.

#include "floats.h"
#include "shim.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/empty_like.h>
#include <ATen/ops/ones.h>
#include <torch/csrc/autograd/custom_function.h>

#include <algorithm>
#include <cmath>
#include <vector>

namespace {

using shim::guarded;
using shim::parallel;

INLINE Words turned(Words x, int bits) { return (x << bits) | (x >> (32 - bits)); }

// Both words of Threefry-2x32-20 for the counters (first + lane, second).
INLINE void threefry(uint32_t k0, uint32_t k1, uint32_t first, uint32_t second, Words* a, Words* b) {
  const uint32_t keys[3] = {k0, k1, 0x1BD11BDAu ^ k0 ^ k1};
  constexpr int turns[8] = {13, 15, 26, 6, 17, 29, 16, 24};
  const Words lanes = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15};
  Words x = lanes + first + keys[0], y = Words{} + second + keys[1];
  for (int round = 0; round < 20; round++) {
    x += y;
    y = turned(y, turns[round % 8]) ^ x;
    if (round % 4 == 3) {
      const auto i = static_cast<uint32_t>(round / 4 + 1);
      x += keys[i % 3];
      y += keys[(i + 1) % 3] + i;
    }
  }
  *a = x;
  *b = y;
}

// One row.
struct Row {
  const void* x;
  void* y;
  int64_t n;
  uint64_t key;
  uint32_t least;  // a word below it drops
  float scale;
  bool half;
};

template <typename T>
INLINE void drop_as(const Row& row) {
  const auto* x = static_cast<const T*>(row.x);
  auto* y = static_cast<T*>(row.y);
  const auto k0 = static_cast<uint32_t>(row.key), k1 = static_cast<uint32_t>(row.key >> 32);
  for (int64_t i = 0; i < row.n; i += 2 * WIDE) {
    const int64_t block = i / (2 * WIDE);
    Words words[2];
    threefry(k0, k1, static_cast<uint32_t>(block * WIDE), static_cast<uint32_t>(block >> 28), &words[0], &words[1]);
    for (int64_t j = 0; j < 2; j++) {
      const int64_t at = i + j * WIDE, n = std::min(WIDE, row.n - at);
      if (n <= 0) break;
      const Floats v = (n == WIDE ? load(x + at) : load(x + at, n, Floats{})) * row.scale;
      const Floats kept = words[j] >= row.least ? v : Floats{};
      if (n == WIDE) store(y + at, kept);
      else store(y + at, n, kept);
    }
  }
}

INLINE void drop_all(const Row& row) {
  if (row.half) drop_as<uint16_t>(row);
  else drop_as<float>(row);
}
COMPILED(drop, (const Row& row), (row))

using Keys = std::vector<int64_t>;

at::Tensor dropped(const at::Tensor& x, double p, const Keys& keys) {
  at::Tensor y = at::empty_like(x);
  const int64_t n = x.numel() / x.size(0), bytes = n * static_cast<int64_t>(x.element_size());
  const auto least = static_cast<uint32_t>(std::min(std::round(p * 4294967296.0), 4294967295.0));
  parallel(x.size(0), std::max<int64_t>(1, 65536 / n), [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; i++) {
      drop_here(Row{static_cast<const char*>(x.const_data_ptr()) + i * bytes, static_cast<char*>(y.data_ptr()) + i * bytes, n,
                    static_cast<uint64_t>(keys[i]), least, static_cast<float>(1.0 / (1.0 - p)),
                    x.scalar_type() == at::kBFloat16});
    }
  });
  return y;
}

// Rows one after another in memory, whatever the order inside.
at::Tensor in_rows(const at::Tensor& x) {
  const bool last = x.dim() == 4 && x.is_contiguous(at::MemoryFormat::ChannelsLast);
  return last ? x : x.contiguous();
}

struct Dropout : torch::autograd::Function<Dropout> {
  static at::Tensor forward(torch::autograd::AutogradContext* context, const at::Tensor& x, double p, const Keys& keys) {
    context->saved_data["p"] = p;
    context->saved_data["keys"] = keys;
    context->saved_data["last"] = !x.is_contiguous();
    return dropped(x, p, keys);
  }

  static torch::autograd::variable_list backward(torch::autograd::AutogradContext* context,
                                                 const torch::autograd::variable_list& gradients) {
    const bool last = context->saved_data["last"].toBool();
    const at::Tensor g = gradients[0].contiguous(last ? at::MemoryFormat::ChannelsLast : at::MemoryFormat::Contiguous);
    const double p = context->saved_data["p"].toDouble();
    const Keys keys = context->saved_data["keys"].toIntVector();
    return {at::GradMode::is_enabled() ? apply(g, p, keys) : dropped(g, p, keys), at::Tensor(), at::Tensor()};
  }
};

}  // namespace

extern "C" int torch_ext_dropout(at::Tensor** out, at::Tensor* tensor, double p, const uint64_t* keys, size_t n) {
  return guarded([&] {
    const at::Tensor& x = *tensor;
    TORCH_CHECK(x.defined() && x.dim() > 0 && x.numel() > 0 && x.size(0) == static_cast<int64_t>(n), "expected ", n,
                " rows, one for each key of dropout, found ", x.sizes());
    TORCH_CHECK(p >= 0.0 && p < 1.0, "expected a probability of dropout from 0 to below 1, found ", p);
    const Keys all(keys, keys + n);
    if (x.device().is_cpu() && (x.scalar_type() == at::kFloat || x.scalar_type() == at::kBFloat16)) {
      const bool graph = at::GradMode::is_enabled() && x.requires_grad();
      *out = new at::Tensor(graph ? Dropout::apply(in_rows(x), p, all) : dropped(in_rows(x), p, all));
    } else {  // elsewhere by a tensor of zeros and 1/(1 - p)
      const at::Tensor mask = dropped(at::ones(x.sizes(), at::kFloat), p, all);
      *out = new at::Tensor(x * mask.to(x.options()));
    }
  });
}

// 2 WIDE words for a key and the counter of the first, for a test against the published ones.
extern "C" void torch_ext_threefry(uint32_t k0, uint32_t k1, uint32_t first, uint32_t second, uint32_t* out) {
  Words a, b;
  threefry(k0, k1, first, second, &a, &b);
  std::memcpy(out, &a, sizeof a);
  std::memcpy(out + WIDE, &b, sizeof b);
}
