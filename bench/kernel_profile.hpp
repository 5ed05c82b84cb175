// SPDX-License-Identifier: MIT
// Which kernels of a device a piece of work spends its time in, and which operators launched them.
#pragma once

#include <fmt/format.h>
#include <fmt/ranges.h>
#include <torch/csrc/autograd/profiler_kineto.h>

#include <algorithm>
#include <cstdint>
#include <functional>
#include <map>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "diffusion_forcing/core/accelerator.hpp"

namespace df::bench {

struct Kernel {
  std::string name;
  double ms = 0.0;
  int64_t calls = 0;
};

struct Profile {
  // Longest first: by the kernel's name, and by the operator with the sizes of its inputs (of a recorded graph: none).
  std::vector<Kernel> kernels, operators;
  double span_ms = 0.0;  // from the first kernel's start to the last one's end
  double busy_ms = 0.0;  // of which at least one kernel ran
};

inline std::vector<Kernel> longest_first(const std::map<std::string, Kernel>& by_name) {
  std::vector<Kernel> kernels;
  for (const auto& [name, kernel] : by_name) kernels.push_back(kernel);
  std::sort(kernels.begin(), kernels.end(), [](const Kernel& a, const Kernel& b) { return a.ms > b.ms; });
  return kernels;
}

inline Profile profile(const Accelerator& on, const std::function<void()>& work) {
  using namespace torch::profiler::impl;
  const ProfilerConfig config(ProfilerState::KINETO, /*report_input_shapes=*/true);
  const std::set<ActivityType> activities = {ActivityType::CPU, ActivityType::CUDA};
  torch::autograd::profiler::prepareProfiler(config, activities);
  torch::autograd::profiler::enableProfiler(config, activities, {at::RecordScope::FUNCTION, at::RecordScope::BACKWARD_FUNCTION});
  work();
  on.synchronize();
  const auto result = torch::autograd::profiler::disableProfiler();

  std::map<uint64_t, std::string> launched_by;
  for (const auto& event : result->events())
    if (event.deviceType() == at::kCPU)
      launched_by[event.correlationId()] = fmt::format("{} {}", event.name(), fmt::join(event.shapes().vec(), " "));
  std::map<std::string, Kernel> kernels, operators;
  std::vector<std::pair<uint64_t, uint64_t>> times;
  const auto add = [](std::map<std::string, Kernel>& to, const std::string& name, double ms) {
    auto& kernel = to[name];
    kernel.name = name;
    kernel.ms += ms;
    ++kernel.calls;
  };
  for (const auto& event : result->events()) {
    if (event.deviceType() != on.device().type()) continue;
    const double ms = static_cast<double>(event.durationNs()) * 1e-6;
    add(kernels, event.name(), ms);
    add(operators, launched_by[event.linkedCorrelationId()], ms);
    times.emplace_back(event.startNs(), event.endNs());
  }
  Profile all{longest_first(kernels), longest_first(operators)};
  std::sort(times.begin(), times.end());
  uint64_t until = 0, busy = 0;
  for (const auto& [start, end] : times) {
    busy += std::max(end, until) - std::max(start, until);
    until = std::max(end, until);
  }
  if (!times.empty()) all.span_ms = static_cast<double>(until - times.front().first) * 1e-6;
  all.busy_ms = static_cast<double>(busy) * 1e-6;
  return all;
}

}  // namespace df::bench
