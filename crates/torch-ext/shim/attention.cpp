// Attention of narrow heads on the CPU in f32, with its gradient.
//
//     out_i = sum_j p_ij v_j,   p_ij = exp(s_ij - l_i),   s_ij = q_i.k_j / sqrt(d),   l_i = log sum_j exp s_ij
//     d v_j = sum_i p_ij g_i,   e_ij = p_ij (g_i.v_j - g_i.out_i),   d q_i = sum_j e_ij k_j / sqrt(d),   d k_j likewise
//
// g is the gradient of out. libtorch makes matrix products of these, which wait for memory where d is small: here keys and
// values lie with one number of all tokens together, and a few queries at a time go along them. A head is one piece of
// work, so a result depends neither on the batch nor on the number of threads.

#include "attention.h"
#include "shim.h"

#include <torch/csrc/autograd/custom_function.h>

#include <algorithm>
#include <cmath>
#include <tuple>
#include <vector>

namespace {

using shim::guarded;
using shim::parallel;

COMPILED(attend, (const Head& head, float* s, float* out, float* l), (head, s, out, l))
COMPILED(pull, (const Head& head, float* s, float* e, const Gradient& to), (head, s, e, to))

// One head of a tensor [B, heads, tokens, d] of any strides.
struct Part {
  float* data;
  int64_t token, number;
  Part(const at::Tensor& x, int64_t head)
      : data(static_cast<float*>(x.data_ptr()) + head / x.size(1) * x.stride(0) + head % x.size(1) * x.stride(1)),
        token(x.stride(2)), number(x.stride(3)) {}
};

// [tokens][d], times a factor, from a head or back to it.
void get(const Part& x, float* to, int64_t n, int64_t d, float factor) {
  for (int64_t i = 0; i < n; i++) {
    for (int64_t c = 0; c < d; c++) to[i * d + c] = factor * x.data[i * x.token + c * x.number];
  }
}
void put(const Part& x, const float* from, int64_t n, int64_t d, float factor) {
  for (int64_t i = 0; i < n; i++) {
    for (int64_t c = 0; c < d; c++) x.data[i * x.token + c * x.number] = factor * from[i * d + c];
  }
}
// [d][wide] likewise.
void get_turned(const Part& x, float* to, int64_t m, int64_t d, int64_t wide) {
  for (int64_t c = 0; c < d; c++) {
    for (int64_t j = 0; j < m; j++) to[c * wide + j] = x.data[j * x.token + c * x.number];
    std::fill(to + c * wide + m, to + (c + 1) * wide, 0.0f);
  }
}
void put_turned(const Part& x, const float* from, int64_t m, int64_t d, int64_t wide, float factor) {
  for (int64_t c = 0; c < d; c++) {
    for (int64_t j = 0; j < m; j++) x.data[j * x.token + c * x.number] = factor * from[c * wide + j];
  }
}

constexpr double LOG2_E = 1.4426950408889634;

// The numbers of one head after another, each in order, in the same memory.
struct Room {
  const at::Tensor &q, &k, &v;
  const int64_t n, m, d, wide;
  std::vector<float> memory;
  float* rest;  // behind the head

  // `values`: so many further [n][d]; `turned`: [d][wide]; `rows`: QUERIES rows of scores.
  Room(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v, int64_t values, int64_t turned, int64_t rows)
      : q(q), k(k), v(v), n(q.size(2)), m(k.size(2)), d(q.size(3)), wide((m + WIDE - 1) / WIDE * WIDE),
        memory((1 + values) * n * d + (2 + turned) * d * wide + rows * QUERIES * wide),
        rest(memory.data() + n * d + 2 * d * wide) {}

  Head head(int64_t i) {
    float *of_q = memory.data(), *of_k = of_q + n * d, *of_v = of_k + d * wide;
    get(Part(q, i), of_q, n, d, static_cast<float>(LOG2_E / std::sqrt(static_cast<double>(d))));
    get_turned(Part(k, i), of_k, m, d, wide);
    get_turned(Part(v, i), of_v, m, d, wide);
    return Head{n, m, d, wide, of_q, of_k, of_v};
  }
};

// [B, heads, tokens, d], in memory token by token, as the layers around attention have it.
at::Tensor like(const at::Tensor& x) {
  return at::empty({x.size(0), x.size(2), x.size(1), x.size(3)}, x.options()).permute({0, 2, 1, 3});
}

std::tuple<at::Tensor, at::Tensor> forward_of(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v) {
  at::Tensor out = like(q), l = at::empty({q.size(0) * q.size(1), q.size(2)}, q.options());
  parallel(q.size(0) * q.size(1), 1, [&](int64_t begin, int64_t end) {
    Room room(q, k, v, 1, 0, 1);
    float *y = room.rest, *s = y + room.n * room.d;
    for (int64_t i = begin; i < end; i++) {
      attend_here(room.head(i), s, y, l.data_ptr<float>() + i * room.n);
      put(Part(out, i), y, room.n, room.d, 1.0f);
    }
  });
  return {out, l};
}

struct Attention : torch::autograd::Function<Attention> {
  static at::Tensor forward(torch::autograd::AutogradContext* context, const at::Tensor& q, const at::Tensor& k,
                            const at::Tensor& v) {
    auto [out, l] = forward_of(q, k, v);
    context->save_for_backward({q, k, v, out, l});
    return out;
  }

  static torch::autograd::variable_list backward(torch::autograd::AutogradContext* context,
                                                 const torch::autograd::variable_list& gradients) {
    TORCH_CHECK(!at::GradMode::is_enabled(), "this attention has no second derivative");
    const auto saved = context->get_saved_variables();
    const at::Tensor &q = saved[0], &k = saved[1], &v = saved[2], &out = saved[3], &l = saved[4], &g = gradients[0];
    at::Tensor of_q = like(q), of_k = like(k), of_v = like(v);
    parallel(q.size(0) * q.size(1), 1, [&](int64_t begin, int64_t end) {
      Room room(q, k, v, 3, 2, 2);
      const int64_t n = room.n, m = room.m, d = room.d, wide = room.wide;
      float *dy = room.rest, *y = dy + n * d, *dq = y + n * d, *dk = dq + n * d, *dv = dk + d * wide;
      float *s = dv + d * wide, *e = s + QUERIES * wide;
      const auto scale = static_cast<float>(1.0 / std::sqrt(static_cast<double>(d)));
      for (int64_t i = begin; i < end; i++) {
        get(Part(g, i), dy, n, d, 1.0f);
        get(Part(out, i), y, n, d, 1.0f);
        std::fill(dk, s, 0.0f);
        pull_here(room.head(i), s, e, Gradient{dy, y, l.data_ptr<float>() + i * n, dq, dk, dv});
        put(Part(of_q, i), dq, n, d, scale);
        put_turned(Part(of_k, i), dk, m, d, wide, static_cast<float>(1.0 / LOG2_E));
        put_turned(Part(of_v, i), dv, m, d, wide, 1.0f);
      }
    });
    return {of_q, of_k, of_v};
  }
};

}  // namespace

extern "C" int torch_ext_attention(at::Tensor** out, at::Tensor* q, at::Tensor* k, at::Tensor* v) {
  return guarded([&] {
    for (const at::Tensor* x : {q, k, v}) {
      TORCH_CHECK(x->defined() && x->device().is_cpu() && x->scalar_type() == at::kFloat && x->dim() == 4 && x->size(0) == q->size(0) &&
                      x->size(1) == q->size(1) && x->size(3) == q->size(3) && x->size(2) == (x == q ? q : k)->size(2),
                  "expected q, k and v [B, heads, tokens, d] in f32 on the CPU, found ", q->sizes(), ", ", k->sizes(),
                  " and ", v->sizes());
    }
    TORCH_CHECK(q->numel() > 0 && k->numel() > 0, "expected tokens, found none in ", q->sizes(), " or ", k->sizes());
    const bool graph = at::GradMode::is_enabled() && (q->requires_grad() || k->requires_grad() || v->requires_grad());
    *out = new at::Tensor(graph ? Attention::apply(*q, *k, *v) : std::get<0>(forward_of(*q, *k, *v)));
  });
}
