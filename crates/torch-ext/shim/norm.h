// The arithmetic of group norm for a few channels of one sample, see norm.cpp; compiled there for each kind of processor.
#pragma once

#include "floats.h"

#include <cmath>
#include <vector>

namespace {

// `channels` channels of one sample, in whole groups of `group`. In memory a channel is a line of pixels, or WIDE channels
// lie together and the next pixel is `stride` numbers away.
struct Channels {
  int64_t channels, pixels, group, stride;
  bool last;        // channels last
  bool silu;
  double eps;

  int64_t strips() const { return last ? channels / WIDE : channels; }
  // What a vector of the strip has to do with its channels: one number for all, or one each.
  INLINE Floats of(const float* each, int64_t strip) const {
    return last ? load(each + strip * WIDE) : Floats{} + each[strip];
  }
  INLINE void sum_to(float* each, int64_t strip, Floats sum) const {
    if (last) store(each + strip * WIDE, sum);
    else each[strip] = sum_of(sum);
  }
  // work(offset, numbers) for each vector of a strip.
  template <typename F>
  INLINE void vectors(int64_t strip, const F& work) const {
    if (last) {
      for (int64_t p = 0; p < pixels; p++) work(strip * WIDE + p * stride, WIDE);
    } else {
      int64_t p = 0;
      for (; p + WIDE <= pixels; p += WIDE) work(strip * pixels + p, WIDE);
      if (p < pixels) work(strip * pixels + p, pixels - p);
    }
  }
};

// A sum of many vectors, in runs, so that its rounding grows with the root of their number only.
struct Sum {
  Floats run{}, all{};
  int64_t n = 0;
  INLINE void add(Floats x) {
    run += x;
    if (++n % 128 == 0) {
      all += run;
      run = Floats{};
    }
  }
  INLINE Floats total() const { return all + run; }
};

// Numbers of each channel: e is added before the norm; w and b of the norm; 1 + a and s after it.
struct Entries {
  std::vector<float> e, w, b, a, s;
};

template <typename T>
INLINE Floats get(const T* x, int64_t at, int64_t n, Floats rest) {
  return n == WIDE ? load(x + at) : load(x + at, n, rest);
}
template <typename T>
INLINE void put(T* y, int64_t at, int64_t n, Floats v) {
  if (n == WIDE) store(y + at, v);
  else store(y + at, n, v);
}

// Mean and 1/sqrt(variance + eps) of each group, and m = mean - e of each channel. `room` has a number for each channel.
template <typename T>
INLINE void moments(const Channels& l, const T* x, const Entries& of, float* mean, float* scale, float* m, float* room) {
  const int64_t groups = l.channels / l.group;
  const double n = static_cast<double>(l.group * l.pixels);
  for (int64_t i = 0; i < l.strips(); i++) {
    Sum sum;
    l.vectors(i, [&](int64_t at, int64_t k) INLINED { sum.add(get(x, at, k, Floats{})); });
    l.sum_to(room, i, sum.total());
  }
  for (int64_t g = 0; g < groups; g++) {
    double sum = 0.0;
    for (int64_t c = g * l.group; c < (g + 1) * l.group; c++) sum += room[c] + static_cast<double>(l.pixels) * of.e[c];
    mean[g] = static_cast<float>(sum / n);
    for (int64_t c = g * l.group; c < (g + 1) * l.group; c++) m[c] = mean[g] - of.e[c];
  }
  for (int64_t i = 0; i < l.strips(); i++) {
    const Floats centre = l.of(m, i);
    Sum sum;
    l.vectors(i, [&](int64_t at, int64_t k) INLINED {
      const Floats d = get(x, at, k, centre) - centre;
      sum.add(d * d);
    });
    l.sum_to(room, i, sum.total());
  }
  for (int64_t g = 0; g < groups; g++) {
    double sum = 0.0;
    for (int64_t c = g * l.group; c < (g + 1) * l.group; c++) sum += room[c];
    scale[g] = static_cast<float>(1.0 / std::sqrt(sum / n + l.eps));
  }
}

// z = A (x - m) + B of each channel.
INLINE void affine(const Channels& l, const Entries& of, const float* scale, float* a, float* b) {
  for (int64_t c = 0; c < l.channels; c++) {
    a[c] = scale[c / l.group] * of.w[c] * of.a[c];
    b[c] = of.b[c] * of.a[c] + of.s[c];
  }
}

template <typename T>
INLINE void normalise_as(const Channels& l, const T* x, const Entries& of, T* y, float* mean, float* scale, float* room) {
  float *m = room, *a = m + l.channels, *b = a + l.channels;
  moments(l, x, of, mean, scale, m, a);
  affine(l, of, scale, a, b);
  for (int64_t i = 0; i < l.strips(); i++) {
    const Floats centre = l.of(m, i), factor = l.of(a, i), shift = l.of(b, i);
    l.vectors(i, [&](int64_t at, int64_t k) INLINED {
      const Floats z = (get(x, at, k, centre) - centre) * factor + shift;
      put(y, at, k, l.silu ? z * sigmoid(z) : z);
    });
  }
}

// For the gradient g of y: gx, where in f32 gz stands in between, and of each channel the sums of gz, gz (x - m) and gx.
struct Sums {
  float *z, *zx, *x;
};

template <typename T>
INLINE void pull_as(const Channels& l, const T* x, const T* g, const Entries& of, const float* mean, const float* scale,
                    T* gx, const Sums& sums, float* room) {
  float *m = room, *a = m + l.channels, *b = a + l.channels, *q = b + l.channels, *r = q + l.channels;
  for (int64_t c = 0; c < l.channels; c++) m[c] = mean[c / l.group] - of.e[c];
  affine(l, of, scale, a, b);
  const auto inner = [&](Floats d, Floats gy, Floats factor, Floats shift) INLINED {
    if (!l.silu) return gy;
    const Floats z = d * factor + shift, s = sigmoid(z);
    return gy * s * (1.0f + z * (1.0f - s));
  };
  constexpr bool kept = sizeof(T) == sizeof(float);  // else it would be rounded once more
  for (int64_t i = 0; i < l.strips(); i++) {
    const Floats centre = l.of(m, i), factor = l.of(a, i), shift = l.of(b, i);
    Sum of_z, of_zx;
    l.vectors(i, [&](int64_t at, int64_t k) INLINED {
      const Floats d = get(x, at, k, centre) - centre;
      const Floats gz = inner(d, get(g, at, k, Floats{}), factor, shift);
      if (kept) put(gx, at, k, gz);
      of_z.add(gz);
      of_zx.add(gz * d);
    });
    l.sum_to(sums.z, i, of_z.total());
    l.sum_to(sums.zx, i, of_zx.total());
  }
  const double n = static_cast<double>(l.group * l.pixels);
  for (int64_t from = 0; from < l.channels; from += l.group) {
    double first = 0.0, second = 0.0;
    for (int64_t c = from; c < from + l.group; c++) {
      first += static_cast<double>(a[c]) * sums.z[c];
      second += static_cast<double>(a[c]) * sums.zx[c];
    }
    const double inverse = scale[from / l.group];
    for (int64_t c = from; c < from + l.group; c++) {
      q[c] = static_cast<float>(-inverse * inverse * second / n);
      r[c] = static_cast<float>(-first / n);
    }
  }
  for (int64_t i = 0; i < l.strips(); i++) {
    const Floats centre = l.of(m, i), factor = l.of(a, i), shift = l.of(b, i), along = l.of(q, i), rest = l.of(r, i);
    Sum of_x;
    l.vectors(i, [&](int64_t at, int64_t k) INLINED {
      const Floats d = get(x, at, k, centre) - centre;
      const Floats gz = kept ? get(gx, at, k, Floats{}) : inner(d, get(g, at, k, Floats{}), factor, shift);
      const Floats v = gz * factor + along * d + rest;
      put(gx, at, k, v);
      of_x.add(k == WIDE ? v : first_of(v, k));
    });
    l.sum_to(sums.x, i, of_x.total());
  }
}

}  // namespace
