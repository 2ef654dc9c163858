// A function of tensors that is done again on the way back, so that what it remembers for its gradient need not be kept
// (Chen et al. 2016). The gradients of weights inside it are added to their own.

#include "shim.h"

#include <ATen/autocast_mode.h>
#include <ATen/core/ivalue.h>
#include <torch/csrc/autograd/autograd.h>
#include <torch/csrc/autograd/custom_function.h>

#include <memory>
#include <optional>
#include <vector>

namespace {

using shim::guarded;

// A function of the caller's: 0 and a tensor that is the shim's from then on, or another number and a message.
typedef int (*Call)(void* work, at::Tensor* const* inputs, size_t n, at::Tensor** out, char* message, size_t room);

struct Work : torch::CustomClassHolder {
  void* work;
  Call call;
  void (*drop)(void*);
  Work(void* work, Call call, void (*drop)(void*)) : work(work), call(call), drop(drop) {}
  Work(const Work&) = delete;
  ~Work() override { drop(work); }

  at::Tensor of(const torch::autograd::variable_list& inputs) const {
    std::vector<at::Tensor> held(inputs);
    std::vector<at::Tensor*> pointers;
    for (at::Tensor& x : held) pointers.push_back(&x);
    at::Tensor* out = nullptr;
    char message[1024] = "";
    TORCH_CHECK(call(work, pointers.data(), pointers.size(), &out, message, sizeof message) == 0, message);
    const std::unique_ptr<at::Tensor> owned(out);
    return *owned;
  }
};

// The arithmetic of the pass forward, while this lives.
struct Autocast {
  bool before = at::autocast::is_autocast_enabled(at::kCPU);
  explicit Autocast(bool on) { at::autocast::set_autocast_enabled(at::kCPU, on); }
  ~Autocast() {
    at::autocast::set_autocast_enabled(at::kCPU, before);
    if (!before) at::autocast::clear_cache();
  }
};

struct Checkpoint : torch::autograd::Function<Checkpoint> {
  static at::Tensor forward(torch::autograd::AutogradContext* context, const c10::intrusive_ptr<torch::CustomClassHolder>& work,
                            const at::Tensor& first, const std::optional<at::Tensor>& second) {
    torch::autograd::variable_list inputs{first};
    if (second.has_value()) inputs.push_back(*second);
    context->saved_data["work"] = c10::IValue::make_capsule(work);
    context->saved_data["bf16"] = at::autocast::is_autocast_enabled(at::kCPU);
    context->save_for_backward(inputs);
    return static_cast<Work&>(*work).of(inputs);
  }

  static torch::autograd::variable_list backward(torch::autograd::AutogradContext* context,
                                                 const torch::autograd::variable_list& gradients) {
    TORCH_CHECK(!at::GradMode::is_enabled(), "what is done again on the way back has no second derivative");
    torch::autograd::variable_list inputs;
    for (const at::Tensor& x : context->get_saved_variables()) {
      inputs.push_back(x.detach().requires_grad_(x.requires_grad()));
    }
    {
      const at::AutoGradMode with_graph(true);
      at::Tensor y;
      {
        const Autocast autocast(context->saved_data["bf16"].toBool());
        y = static_cast<Work&>(*context->saved_data["work"].toCapsule()).of(inputs);
      }
      torch::autograd::backward({y}, {gradients[0]});
    }
    return {at::Tensor(), inputs[0].grad(), inputs.size() == 2 ? inputs[1].grad() : at::Tensor()};
  }
};

}  // namespace

// Takes `work` over, also where it fails.
extern "C" int torch_ext_checkpoint(at::Tensor** out, void* work, Call call, void (*drop)(void*), at::Tensor* const* inputs,
                                    size_t n) {
  return guarded([&] {
    const c10::intrusive_ptr<torch::CustomClassHolder> held = c10::make_intrusive<Work>(work, call, drop);
    TORCH_CHECK(n == 1 || n == 2, "expected one input or two of what is done again, found ", n);
    const auto second = n == 2 ? std::optional<at::Tensor>(*inputs[1]) : std::nullopt;
    *out = new at::Tensor(Checkpoint::apply(held, *inputs[0], second));
  });
}
