// What the files of the shim share: no exception leaves it, and work runs on libtorch's threads.
#pragma once

#include <ATen/TensorIterator.h>
#include <ATen/core/Tensor.h>
#include <ATen/ops/empty.h>
#include <c10/util/Exception.h>

#include <exception>
#include <string>

namespace shim {

inline thread_local std::string last_error;

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

// work(begin, end) on libtorch's own threads. at::parallel_for is serial in a file compiled without OpenMP, and a second
// OpenMP beside libtorch's would have threads of its own; its iterator, here over n bytes that nobody reads, has neither fault.
template <typename F>
void parallel(int64_t n, int64_t grain, const F& work) {
  if (n <= grain) return work(0, n);
  at::Tensor bytes = at::empty({n}, at::kByte);
  const char* base = static_cast<const char*>(bytes.const_data_ptr());
  auto places = at::TensorIteratorConfig()
                    .check_all_same_dtype(false)
                    .resize_outputs(false)
                    .declare_static_shape({n})
                    .add_output(bytes)
                    .build();
  places.for_each(
      [&](char** data, const int64_t*, int64_t size) {
        const int64_t begin = data[0] - base;
        work(begin, begin + size);
      },
      grain);
}

}  // namespace shim
