// SPDX-License-Identifier: MIT
// Which kernels of a device a piece of work spends its time in.
#pragma once

#include <torch/csrc/autograd/profiler_kineto.h>

#include <algorithm>
#include <functional>
#include <map>
#include <set>
#include <string>
#include <vector>

#include "diffusion_forcing/core/accelerator.hpp"

namespace df::bench {

struct Kernel {
  std::string name;
  double ms = 0.0;
  int64_t calls = 0;
};

// Longest first.
inline std::vector<Kernel> profile(const Accelerator& on, const std::function<void()>& work) {
  using namespace torch::profiler::impl;
  const ProfilerConfig config(ProfilerState::KINETO);
  const std::set<ActivityType> activities = {ActivityType::CUDA};
  torch::autograd::profiler::prepareProfiler(config, activities);
  torch::autograd::profiler::enableProfiler(config, activities);
  work();
  on.synchronize();
  const auto result = torch::autograd::profiler::disableProfiler();
  std::map<std::string, Kernel> by_name;
  for (const auto& event : result->events()) {
    if (event.deviceType() != on.device().type()) continue;
    auto& kernel = by_name[event.name()];
    kernel.name = event.name();
    kernel.ms += static_cast<double>(event.durationNs()) * 1e-6;
    ++kernel.calls;
  }
  std::vector<Kernel> kernels;
  for (auto& [name, kernel] : by_name) kernels.push_back(kernel);
  std::sort(kernels.begin(), kernels.end(), [](const Kernel& a, const Kernel& b) { return a.ms > b.ms; });
  return kernels;
}

}  // namespace df::bench
