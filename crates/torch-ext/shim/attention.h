// The arithmetic of attention for one head, see attention.cpp; compiled there for each kind of processor.
#pragma once

#include "floats.h"

#include <cmath>

namespace {

constexpr int64_t QUERIES = 4;  // queries that share a reading of keys and values

// One head: `n` queries, `m` keys, d numbers each. Keys and values are [d][wide], zero from m on.
struct Head {
  int64_t n, m, d, wide;
  const float *q, *k, *v; // q [n][d], with 1/sqrt(d) and log2(e) in it
};

// s[r][j] = sum_d a[r][d] b[d][j] for R rows.
template <int R>
INLINE void rows_by(const float* a, const float* b, float* s, int64_t d, int64_t wide) {
  for (int64_t j = 0; j < wide; j += WIDE) {
    Floats sum[R] = {};
    for (int64_t c = 0; c < d; c++) {
      const Floats of = load(b + c * wide + j);
      for (int r = 0; r < R; r++) sum[r] += a[r * d + c] * of;
    }
    for (int r = 0; r < R; r++) store(s + r * wide + j, sum[r]);
  }
}

// out[r][d] = sum_j s[r][j] b[d][j].
template <int R>
INLINE void rows_along(const float* s, const float* b, float* out, int64_t d, int64_t wide) {
  for (int64_t c = 0; c < d; c++) {
    Floats sum[R] = {};
    for (int64_t j = 0; j < wide; j += WIDE) {
      const Floats of = load(b + c * wide + j);
      for (int r = 0; r < R; r++) sum[r] += load(s + r * wide + j) * of;
    }
    for (int r = 0; r < R; r++) out[r * d + c] = sum_of(sum[r]);
  }
}

// b[d][j] += sum_r s[r][j] a[r][d].
template <int R>
INLINE void add_rows(const float* s, const float* a, float* b, int64_t d, int64_t wide) {
  for (int64_t j = 0; j < wide; j += WIDE) {
    Floats of[R];
    for (int r = 0; r < R; r++) of[r] = load(s + r * wide + j);
    for (int64_t c = 0; c < d; c++) {
      Floats sum = load(b + c * wide + j);
      for (int r = 0; r < R; r++) sum += a[r * d + c] * of[r];
      store(b + c * wide + j, sum);
    }
  }
}

// The scores of R queries, those beyond the last key of no weight.
template <int R>
INLINE void scores(const Head& head, int64_t i, float* s) {
  rows_by<R>(head.q + i * head.d, head.k, s, head.d, head.wide);
  for (int r = 0; r < R; r++) {
    for (int64_t j = head.m; j < head.wide; j++) s[r * head.wide + j] = -INFINITY;
  }
}

// Softmax and mean of R queries; l in units of log 2.
template <int R>
INLINE void attend(const Head& head, int64_t i, float* s, float* out, float* l) {
  scores<R>(head, i, s);
  for (int r = 0; r < R; r++) {
    float* row = s + r * head.wide;
    Floats most = load(row), sum = {};
    for (int64_t j = WIDE; j < head.wide; j += WIDE) {
      const Floats next = load(row + j);
      most = next > most ? next : most;
    }
    float top = most[0];
    for (int64_t w = 1; w < WIDE; w++) top = most[w] > top ? most[w] : top;
    for (int64_t j = 0; j < head.wide; j += WIDE) {
      const Floats p = exp2_of(load(row + j) - top);
      store(row + j, p);
      sum += p;
    }
    const float all = sum_of(sum);
    l[i + r] = top + std::log2(all);
    const float share = 1.0f / all;
    for (int64_t j = 0; j < head.wide; j += WIDE) store(row + j, load(row + j) * share);
  }
  rows_along<R>(s, head.v, out + i * head.d, head.d, head.wide);
}

INLINE void attend_all(const Head& head, float* s, float* out, float* l) {
  int64_t i = 0;
  for (; i + QUERIES <= head.n; i += QUERIES) attend<QUERIES>(head, i, s, out, l);
  for (; i < head.n; i++) attend<1>(head, i, s, out, l);
}

// What R queries give to all gradients. `e` is scratch space of the size of s.
struct Gradient {
  const float *g, *out, *l;
  float *q, *k, *v;
};

template <int R>
INLINE void pull(const Head& head, int64_t i, float* s, float* e, const Gradient& to) {
  scores<R>(head, i, s);
  const float* g = to.g + i * head.d;
  rows_by<R>(g, head.v, e, head.d, head.wide);
  for (int r = 0; r < R; r++) {
    float along = 0.0f;
    for (int64_t c = 0; c < head.d; c++) along += g[r * head.d + c] * to.out[(i + r) * head.d + c];
    const float l = to.l[i + r];
    for (int64_t at = r * head.wide; at < (r + 1) * head.wide; at += WIDE) {
      const Floats p = exp2_of(load(s + at) - l);
      store(s + at, p);
      store(e + at, p * (load(e + at) - along));
    }
  }
  add_rows<R>(s, g, to.v, head.d, head.wide);
  add_rows<R>(e, head.q + i * head.d, to.k, head.d, head.wide);
  rows_along<R>(e, head.k, to.q + i * head.d, head.d, head.wide);
}

INLINE void pull_all(const Head& head, float* s, float* e, const Gradient& to) {
  int64_t i = 0;
  for (; i + QUERIES <= head.n; i += QUERIES) pull<QUERIES>(head, i, s, e, to);
  for (; i < head.n; i++) pull<1>(head, i, s, e, to);
}

}  // namespace
