// SPDX-License-Identifier: MIT
// What df-bench measures with: a clock that waits for the device, a counter of floating point operations, the device's own matmul rate.
#pragma once

#include <ATen/ATen.h>
#include <ATen/Parallel.h>
#include <ATen/record_function.h>
#include <c10/core/GradMode.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstdint>
#include <ctime>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "diffusion_forcing/core/accelerator.hpp"
#include "diffusion_forcing/core/tensor.hpp"

namespace df::bench {

struct Timing {
  double median = 0.0, best = 0.0;  // seconds a call
  double cpu = 0.0;                 // least CPU seconds a call, of all threads: what others do on the machine changes it little
  int64_t runs = 0;
};

inline double now() { return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count(); }

inline double cpu_now() { return static_cast<double>(std::clock()) / CLOCKS_PER_SEC; }  // of the process

// At least `least` calls after one that does not count, and more until `seconds` are over.
inline Timing measure(const Accelerator& on, double seconds, int64_t least, const std::function<void()>& work) {
  const auto timed = [&](int64_t calls) {
    on.synchronize();
    const double start = now();
    for (int64_t i = 0; i < calls; ++i) work();
    on.synchronize();
    return (now() - start) / static_cast<double>(calls);
  };
  timed(1);
  // Waiting for a device after every call would add its latency to calls that are shorter.
  const int64_t group = on.device().is_cpu() ? 1 : std::clamp<int64_t>(static_cast<int64_t>(5e-3 / timed(2)), 1, 100);
  std::vector<double> times;
  double cpu = 1e30;
  for (const double end = now() + seconds; static_cast<int64_t>(times.size()) < least || (now() < end && times.size() < 1000);) {
    const double before = cpu_now();
    times.push_back(timed(group));
    cpu = std::min(cpu, (cpu_now() - before) / static_cast<double>(group));
  }
  std::sort(times.begin(), times.end());
  return {times[times.size() / 2], times[0], cpu, static_cast<int64_t>(times.size()) * group};
}

// Multiplications and additions of the convolutions, matrix products and attentions that `work` runs on this thread, as the shapes
// of its operators give them; everything else is counted as free.
class FlopCounter {
 public:
  static double count(const std::function<void()>& work) {
    total() = 0.0;
    const auto handle = at::addThreadLocalCallback(
        at::RecordFunctionCallback(&start, &finish).needsInputs(true).needsOutputs(true).scopes({at::RecordScope::FUNCTION}));
    work();
    at::removeCallback(handle);
    return total();
  }

 private:
  struct Cost final : at::ObserverContext {
    double per_output = 0.0, fixed = 0.0;
  };
  static double& total() {
    thread_local double value = 0.0;  // callbacks are plain functions
    return value;
  }
  static std::unique_ptr<at::ObserverContext> start(const at::RecordFunction& function) {
    const std::string name = function.name();
    const auto tensor = [&](size_t i) { return function.inputs()[i].toTensor(); };
    auto cost = std::make_unique<Cost>();
    if (name == "aten::convolution") {
      cost->per_output = 2.0 * static_cast<double>(tensor(1).numel() / tensor(1).size(0));
    } else if (name == "aten::mm" || name == "aten::bmm") {
      cost->per_output = 2.0 * static_cast<double>(tensor(0).size(-1));
    } else if (name == "aten::addmm" || name == "aten::baddbmm") {
      cost->per_output = 2.0 * static_cast<double>(tensor(1).size(-1));
    } else if (name == "aten::_scaled_dot_product_flash_attention_for_cpu") {
      cost->fixed = 4.0 * static_cast<double>(tensor(0).numel() * tensor(1).size(-2));
    } else {
      return nullptr;
    }
    return cost;
  }
  static void finish(const at::RecordFunction& function, at::ObserverContext* context) {
    if (const auto* cost = static_cast<Cost*>(context))
      total() +=
          cost->fixed + (cost->per_output > 0 ? cost->per_output * static_cast<double>(function.outputs()[0].toTensor().numel()) : 0.0);
  }
};

struct MatmulRate {
  double flops = 0.0;       // a second
  double one_thread = 0.0;  // a CPU second of one thread; CPU only
  std::string how;          // sizes of the product that gave it
};
// The ceiling that everything else is held against: the best of several products, with all intra-op threads. On the CPU convolutions
// and products come from two libraries, and either may be the faster one: a product of each counts.
inline MatmulRate matmul_rate(const Accelerator& on, at::ScalarType type, double seconds) {
  const c10::NoGradGuard no_grad;
  const auto options = at::TensorOptions(type).device(on.device());
  struct Product {
    std::string how;
    double flop;
    std::function<void()> work;
  };
  std::vector<Product> products;
  for (const int64_t n : on.device().is_cpu() ? std::vector<int64_t>{512, 1024, 2048} : std::vector<int64_t>{2048, 4096, 8192}) {
    const auto a = at::randn({n, n}, options), b = at::randn({n, n}, options), out = at::empty({n, n}, options);
    products.push_back({std::to_string(n) + " cubed", 2.0 * std::pow(static_cast<double>(n), 3), [=] {
                          Tensor result = out;
                          at::mm_out(result, a, b);
                        }});
  }
  if (on.device().is_cpu()) {
    const auto x = at::randn({8, 256, 32, 32}, options), w = at::randn({256, 256, 1, 1}, options);
    products.push_back({"1 x 1 convolution, 256 to 256 channels, 8192 pixels", 2.0 * 256 * 256 * 8192, [=] { at::conv2d(x, w); }});
  }
  const double share = seconds / static_cast<double>(products.size());
  const Product* best = nullptr;
  MatmulRate rate;
  for (const Product& product : products)
    if (const double flops = product.flop / measure(on, share, 3, product.work).best; flops > rate.flops) {
      rate = {flops, 0.0, product.how};
      best = &product;
    }
  if (on.device().is_cpu()) {
    const int threads = at::get_num_threads();
    at::set_num_threads(1);
    rate.one_thread = best->flop / measure(on, share, 3, best->work).cpu;
    at::set_num_threads(threads);
  }
  return rate;
}

}  // namespace df::bench
