// SPDX-License-Identifier: MIT
// A training step that a device records once and then replays: a graph launch instead of thousands of kernel launches.
#pragma once

#include <ATen/core/Generator.h>

#include <cstdint>
#include <functional>
#include <memory>
#include <string>

#include "diffusion_forcing/core/accelerator.hpp"
#include "diffusion_forcing/data/dataset.hpp"

namespace df {

class StepRecorder {
 public:
  // Everything a step does on the device. It is called a few times as it is and once more while it is recorded; what must happen
  // on the host at every step does not belong into it.
  using Work = std::function<void(const Batch& batch, const at::Generator& generator)>;
  StepRecorder(const Accelerator& accelerator, Work work);
  // The step on `batch` (on the CPU), with draws that follow from `seed` alone. Does not wait for the device.
  void run(const Batch& batch, uint64_t seed);
  bool recorded() const { return graph_ != nullptr; }
  const std::string& refusal() const { return refusal_; }  // why the device would not record; empty: it did or has not been asked

 private:
  static constexpr int warm_up = 3;
  void record();

  const Accelerator& accelerator_;
  Work work_;
  std::unique_ptr<StreamScope> stream_;  // null on the CPU
  at::Generator generator_;
  Batch held_;  // on the device: what the recording reads
  int runs_ = 0;
  std::unique_ptr<Graph> graph_;
  std::string refusal_;
};

}  // namespace df
