// Vectors of floats, and functions compiled for each kind of processor.
#pragma once

#include <cstdint>
#include <cstring>

#if defined(__x86_64__) && defined(__GNUC__)
#define FOR_CPU(isa) __attribute__((target(isa)))
// What takes or gives vectors has to be part of its caller: another kind of processor hands them over in another way.
#define INLINED __attribute__((always_inline))
#define INLINE inline INLINED
#define AVX2 "avx2,fma"
#define AVX512 "avx512f,avx512bw,avx512dq,avx512vl,fma,prefer-vector-width=512"
// `name##_here` is `name##_all` for the processor at hand, which is known when the program starts.
#define COMPILED(name, parameters, arguments)                                                     \
  void name##_any parameters { name##_all arguments; }                                            \
  FOR_CPU(AVX2) void name##_avx2 parameters { name##_all arguments; }                             \
  FOR_CPU(AVX512) void name##_avx512 parameters { name##_all arguments; }                         \
  auto* name##_here = name##_any;                                                                 \
  __attribute__((constructor)) void choose_##name() {                                             \
    __builtin_cpu_init();                                                                         \
    const bool wide = __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512bw") && \
                      __builtin_cpu_supports("avx512vl");                                         \
    if (wide) {                                                                                   \
      name##_here = name##_avx512;                                                                \
    } else if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma")) {                 \
      name##_here = name##_avx2;                                                                  \
    }                                                                                             \
  }
#else
#define INLINED
#define INLINE inline
#define COMPILED(name, parameters, arguments)            \
  void name##_any parameters { name##_all arguments; }   \
  auto* name##_here = name##_any;
#endif

namespace {

constexpr int64_t WIDE = 16;  // floats that are worked on together

// Vectors of GCC and Clang, which become what the instructions at hand have.
typedef float Floats __attribute__((vector_size(4 * WIDE)));
typedef int32_t Ints __attribute__((vector_size(4 * WIDE)));
typedef uint32_t Words __attribute__((vector_size(4 * WIDE)));
typedef uint16_t Halves __attribute__((vector_size(2 * WIDE)));

template <typename To, typename From>
INLINE To bits_of(From x) {
  static_assert(sizeof(To) == sizeof(From));
  To out;
  std::memcpy(&out, &x, sizeof out);
  return out;
}

INLINE Floats load(const float* from) {
  Floats x;
  std::memcpy(&x, from, sizeof x);
  return x;
}
INLINE void store(float* to, Floats x) { std::memcpy(to, &x, sizeof x); }

// bf16: the upper half of a float.
INLINE Floats load(const uint16_t* from) {
  Halves x;
  std::memcpy(&x, from, sizeof x);
  return bits_of<Floats>(__builtin_convertvector(x, Words) << 16);
}
INLINE void store(uint16_t* to, Floats x) {
  const Words bits = bits_of<Words>(x), even = (bits >> 16) & 1;
  const Words rounded = (bits + 0x7fff + even) >> 16;
  const Halves half = __builtin_convertvector(x != x ? rounded | 0x7fc0 : rounded, Halves);
  std::memcpy(to, &half, sizeof half);
}

// The first n of a vector; behind them is `rest`.
template <typename T>
INLINE Floats load(const T* from, int64_t n, Floats rest) {
  T room[WIDE];
  store(room, rest);
  std::memcpy(room, from, n * sizeof(T));
  return load(room);
}
template <typename T>
INLINE void store(T* to, int64_t n, Floats x) {
  T room[WIDE];
  store(room, x);
  std::memcpy(to, room, n * sizeof(T));
}

// The first n of a vector, and zeros.
INLINE Floats first_of(Floats x, int64_t n) {
  float room[WIDE];
  store(room, x);
  return load(room, n, Floats{});
}

INLINE float sum_of(Floats x) {
  float sum = 0.0f;
  for (int64_t i = 0; i < WIDE; i++) sum += x[i];
  return sum;
}

// 2^y for y <= 0, to about 1e-7 of it, and 0 below 2^-126; a NaN stays.
INLINE Floats exp2_of(Floats exact) {
  const Floats least = Floats{} - 126.0f;
  const Floats y = exact < least ? least : exact;
  const float whole = 12582912.0f;  // 1.5 2^23: what is added to it is rounded to an integer
  const Floats n = (y + whole) - whole, f = y - n;
  Floats p = f * 1.5403530e-4f + 1.3333558e-3f;
  p = p * f + 9.6181291e-3f;
  p = p * f + 5.5504109e-2f;
  p = p * f + 2.4022651e-1f;
  p = p * f + 6.9314718e-1f;
  p = p * f + 1.0f;
  const Floats power = bits_of<Floats>((__builtin_convertvector(n, Ints) + 127) << 23);
  return exact < least ? Floats{} : p * power;
}

// 1/(1 + exp(-z)).
INLINE Floats sigmoid(Floats z) {
  const Floats below = z < 0.0f ? z : -z;
  const Floats t = exp2_of(below * 1.44269504f), s = 1.0f / (1.0f + t);
  return z < 0.0f ? t * s : s;
}

}  // namespace
