// SPDX-License-Identifier: MIT
// One way of computing something on a device beside another: microseconds of a call, of recordings of twenty.
#pragma once

#include <ATen/ATen.h>
#include <fmt/format.h>

#include <cstdio>
#include <functional>
#include <string>

#include "../apps/bench_measure.hpp"
#include "diffusion_forcing/core/accelerator.hpp"

namespace df::bench {

class Comparison {
 public:
  Comparison(const Accelerator& on, double seconds) : on_(on), seconds_(seconds) {}

  Tensor image(int64_t n, int64_t c, int64_t size) const {
    const auto options = at::TensorOptions(at::kFloat).device(on_.device());
    return at::randn({n, c, size, size}, options).to(at::kBFloat16).contiguous(at::MemoryFormat::ChannelsLast);
  }
  Tensor vectors(int64_t count, int64_t n, int64_t c) const {
    return at::randn({count, n, c}, at::TensorOptions(at::kFloat).device(on_.device()));
  }
  void print(const std::string& what, double bytes, const std::function<void()>& work) const {
    const double time = measure(work);
    fmt::print("{:52} {:>11}    {:8.2f} us  {:5.2f} TB/s\n", what, "", time, bytes / time * 1e-6);
    std::fflush(stdout);
  }
  // amount: the bytes that a call must at least read and write, or what else `unit` counts.
  void print(const std::string& what, double amount, const std::function<void()>& before, const std::function<void()>& after,
             const char* unit = "TB/s") const {
    const double a = measure(before), b = measure(after);
    fmt::print("{:52} {:8.2f} us -> {:8.2f} us  {:5.2f} {}\n", what, a, b, amount / b * 1e-6, unit);
    std::fflush(stdout);
  }

 private:
  // Median microseconds of a call, of recordings of twenty.
  double measure(const std::function<void()>& work) const {
    const auto twenty = [&] {
      for (int i = 0; i < 20; ++i) work();
    };
    const auto graph = on_.capture(twenty);
    return bench::measure(on_, seconds_, 5, [&] { graph ? graph->replay() : twenty(); }).median / 20 * 1e6;
  }

  const Accelerator& on_;
  double seconds_;
};

}  // namespace df::bench
