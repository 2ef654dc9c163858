// Group norm on the CPU in f32 or bf16 with what stands around it in a ResNet block, in one pass each way.
//
//     z = (x + e - mean) A + B,   A = (1 + a) w / sqrt(variance + eps),   B = (1 + a) b + s,   y = z sigmoid(z) or z
//     d x = A gz - M - d N,       d = x + e - mean,   M = mean of A gz,   N = mean of A gz d / (variance + eps)
//
// mean, variance, M and N are those of a group, gz is the gradient of z, and e, a and s belong to a sample and a channel
// (Wu & He 2018; Dhariwal & Nichol 2021). x alone is remembered, where libtorch's three operators remember three tensors. A
// few channels of a sample are one piece of work, so a result depends neither on the batch nor on the number of threads.

#include "norm.h"
#include "shim.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/empty_like.h>
#include <torch/csrc/autograd/custom_function.h>

#include <algorithm>
#include <numeric>
#include <optional>
#include <tuple>
#include <vector>

namespace {

using shim::guarded;
using shim::parallel;

// What one piece of work reads and writes.
struct Piece {
  Channels l;
  bool half;  // bf16
  const void *x, *g;
  void* y;
  const Entries* of;
  float *mean, *scale, *room;
  Sums sums;
};

INLINE void normalise_all(const Piece& p) {
  if (p.half) {
    normalise_as(p.l, static_cast<const uint16_t*>(p.x), *p.of, static_cast<uint16_t*>(p.y), p.mean, p.scale, p.room);
  } else {
    normalise_as(p.l, static_cast<const float*>(p.x), *p.of, static_cast<float*>(p.y), p.mean, p.scale, p.room);
  }
}
INLINE void pull_back_all(const Piece& p) {
  if (p.half) {
    pull_as(p.l, static_cast<const uint16_t*>(p.x), static_cast<const uint16_t*>(p.g), *p.of, p.mean, p.scale,
            static_cast<uint16_t*>(p.y), p.sums, p.room);
  } else {
    pull_as(p.l, static_cast<const float*>(p.x), static_cast<const float*>(p.g), *p.of, p.mean, p.scale,
            static_cast<float*>(p.y), p.sums, p.room);
  }
}
COMPILED(normalise, (const Piece& p), (p))
COMPILED(pull_back, (const Piece& p), (p))

// The norm of a batch [B, C, H, W].
struct Norm {
  int64_t groups;
  double eps;
  bool silu;
};

at::Tensor floats(const at::Tensor& x) { return x.defined() ? x.to(at::kFloat).contiguous() : x; }

// The numbers beside x: e [B, C] and as [B, 2C] may be missing.
struct Beside {
  at::Tensor e, as, w, b;
  Beside(const at::Tensor& e, const at::Tensor& as, const at::Tensor& w, const at::Tensor& b)
      : e(floats(e)), as(floats(as)), w(floats(w)), b(floats(b)) {}

  Entries of(int64_t sample, int64_t from, int64_t n) const {
    const int64_t all = w.size(0);
    const auto part = [&](const at::Tensor& x, int64_t at, float missing) {
      if (!x.defined()) return std::vector<float>(n, missing);
      const float* data = x.const_data_ptr<float>() + at + from;
      return std::vector<float>(data, data + n);
    };
    Entries entries{part(e, sample * all, 0.0f), part(w, 0, 1.0f), part(b, 0, 0.0f), part(as, sample * 2 * all, 0.0f),
                    part(as, sample * 2 * all + all, 0.0f)};
    for (float& a : entries.a) a += 1.0f;
    return entries;
  }
};

bool channels_last(const at::Tensor& x) { return !x.is_contiguous() && x.is_contiguous(at::MemoryFormat::ChannelsLast); }

// The pieces of a batch: work(piece, offset in numbers, sample, first channel).
template <typename F>
void pieces(const at::Tensor& x, const Norm& norm, const Beside& beside, const F& work) {
  const int64_t channels = x.size(1), pixels = x.size(2) * x.size(3), group = channels / norm.groups;
  const bool last = channels_last(x);
  const int64_t together = last ? std::lcm(group, WIDE) : group, each = channels / together;
  parallel(x.size(0) * each, std::max<int64_t>(1, 16384 / (together * pixels)), [&](int64_t begin, int64_t end) {
    std::vector<float> room(5 * together);
    for (int64_t i = begin; i < end; i++) {
      const int64_t sample = i / each, from = i % each * together;
      const Entries entries = beside.of(sample, from, together);
      Piece piece{};
      piece.l = Channels{together, pixels, group, channels, last, norm.silu, norm.eps};
      piece.half = x.scalar_type() == at::kBFloat16;
      piece.of = &entries;
      piece.room = room.data();
      work(piece, sample * channels * pixels + from * (last ? 1 : pixels), sample, from);
    }
  });
}

template <typename T = void>
T* at_number(const at::Tensor& x, int64_t offset) {
  return reinterpret_cast<T*>(static_cast<char*>(x.data_ptr()) + offset * static_cast<int64_t>(x.element_size()));
}

std::tuple<at::Tensor, at::Tensor, at::Tensor> normalised(const at::Tensor& x, const Norm& norm, const Beside& beside) {
  at::Tensor y = at::empty_like(x);
  at::Tensor mean = at::empty({x.size(0), norm.groups}, x.options().dtype(at::kFloat)), scale = at::empty_like(mean);
  const int64_t group = x.size(1) / norm.groups;
  pieces(x, norm, beside, [&](Piece& piece, int64_t offset, int64_t sample, int64_t from) {
    piece.x = at_number(x, offset);
    piece.y = at_number(y, offset);
    piece.mean = at_number<float>(mean, sample * norm.groups + from / group);
    piece.scale = at_number<float>(scale, sample * norm.groups + from / group);
    normalise_here(piece);
  });
  return {y, mean, scale};
}

struct GroupNorm : torch::autograd::Function<GroupNorm> {
  static at::Tensor forward(torch::autograd::AutogradContext* context, const at::Tensor& x,
                            const std::optional<at::Tensor>& before, const std::optional<at::Tensor>& after,
                            const at::Tensor& w, const at::Tensor& b, int64_t groups, double eps, bool silu) {
    const at::Tensor e = before.value_or(at::Tensor()), as = after.value_or(at::Tensor());
    auto [y, mean, scale] = normalised(x, Norm{groups, eps, silu}, Beside(e, as, w, b));
    context->save_for_backward({x, e, as, w, b, mean, scale});
    context->saved_data["groups"] = groups;
    context->saved_data["eps"] = eps;
    context->saved_data["silu"] = silu;
    return y;
  }

  static torch::autograd::variable_list backward(torch::autograd::AutogradContext* context,
                                                 const torch::autograd::variable_list& gradients) {
    TORCH_CHECK(!at::GradMode::is_enabled(), "this group norm has no second derivative");
    const auto saved = context->get_saved_variables();
    const at::Tensor &x = saved[0], &mean = saved[5], &scale = saved[6];
    const Norm norm{context->saved_data["groups"].toInt(), context->saved_data["eps"].toDouble(),
                    context->saved_data["silu"].toBool()};
    const Beside beside(saved[1], saved[2], saved[3], saved[4]);
    const auto layout = channels_last(x) ? at::MemoryFormat::ChannelsLast : at::MemoryFormat::Contiguous;
    const at::Tensor g = gradients[0].to(x.scalar_type()).contiguous(layout);
    at::Tensor gx = at::empty_like(x), of_z = at::empty({x.size(0), x.size(1)}, x.options().dtype(at::kFloat));
    at::Tensor of_zx = at::empty_like(of_z), of_x = at::empty_like(of_z);
    const int64_t group = x.size(1) / norm.groups;
    pieces(x, norm, beside, [&](Piece& piece, int64_t offset, int64_t sample, int64_t from) {
      piece.x = at_number(x, offset);
      piece.g = at_number(g, offset);
      piece.y = at_number(gx, offset);
      piece.mean = at_number<float>(mean, sample * norm.groups + from / group);
      piece.scale = at_number<float>(scale, sample * norm.groups + from / group);
      const int64_t at = sample * x.size(1) + from;
      piece.sums = Sums{at_number<float>(of_z, at), at_number<float>(of_zx, at), at_number<float>(of_x, at)};
      pull_back_here(piece);
    });
    // [B, C]: the sum of gz times (x + e - mean)/sqrt(variance + eps)
    const at::Tensor normed = of_zx * scale.repeat_interleave(group, 1);
    const auto like = [](const at::Tensor& gradient, const at::Tensor& of) {
      return of.defined() ? gradient.to(of.scalar_type()) : at::Tensor();
    };
    at::Tensor of_as, factor;
    if (beside.as.defined()) {
      const std::vector<at::Tensor> parts{normed * beside.w + of_z * beside.b, of_z};
      of_as = at::cat(parts, 1);
      factor = beside.as.slice(1, 0, x.size(1)) + 1.0f;
    }
    const auto over_samples = [&](const at::Tensor& sums) { return (factor.defined() ? sums * factor : sums).sum(0); };
    return {gx, like(of_x, saved[1]), like(of_as, saved[2]), like(over_samples(normed), saved[3]),
            like(over_samples(of_z), saved[4]), at::Tensor(), at::Tensor(), at::Tensor()};
  }
};

}  // namespace

// e and as may be null.
extern "C" int torch_ext_group_norm(at::Tensor** out, at::Tensor* x, at::Tensor* e, at::Tensor* as, at::Tensor* w,
                                    at::Tensor* b, int64_t groups, double eps, int silu) {
  return guarded([&] {
    TORCH_CHECK(x->defined() && x->device().is_cpu() && (x->scalar_type() == at::kFloat || x->scalar_type() == at::kBFloat16) &&
                    x->dim() == 4 && x->numel() > 0,
                "expected pixels [B, C, H, W] in f32 or bf16 on the CPU, found ", x->sizes());
    const int64_t samples = x->size(0), channels = x->size(1);
    TORCH_CHECK(groups > 0 && channels % groups == 0, "expected groups of equal size, found ", channels, " channels in ", groups);
    const auto fits = [](const at::Tensor* t, at::IntArrayRef size) {
      return t->defined() && t->device().is_cpu() && t->sizes() == size;
    };
    TORCH_CHECK(fits(w, {channels}) && fits(b, {channels}) && (e == nullptr || fits(e, {samples, channels})) &&
                    (as == nullptr || fits(as, {samples, 2 * channels})),
                "expected weights of ", channels, " channels, [B, C] before the norm and [B, 2C] after it");
    // Channels last in vectors of channels; all other layouts as channels first.
    const bool last = channels_last(*x) && channels % WIDE == 0;
    const at::Tensor pixels = last ? *x : x->contiguous();
    const auto optional = [](const at::Tensor* t) { return t == nullptr ? std::nullopt : std::optional<at::Tensor>(*t); };
    const auto wants = [](const at::Tensor* t) { return t != nullptr && t->requires_grad(); };
    if (at::GradMode::is_enabled() && (wants(x) || wants(e) || wants(as) || wants(w) || wants(b))) {
      *out = new at::Tensor(GroupNorm::apply(pixels, optional(e), optional(as), *w, *b, groups, eps, silu != 0));
    } else {
      const at::Tensor none;
      const Beside beside(e == nullptr ? none : *e, as == nullptr ? none : *as, *w, *b);
      *out = new at::Tensor(std::get<0>(normalised(pixels, Norm{groups, eps, silu != 0}, beside)));
    }
  });
}
