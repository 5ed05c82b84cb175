// SPDX-License-Identifier: MIT
// A training step that a device records once and then replays: a graph launch instead of thousands of kernel launches.
#pragma once

#include <ATen/core/Generator.h>

#include <cstdint>
#include <functional>
#include <memory>
#include <string>

#include "core/recorded_call.hpp"
#include "diffusion_forcing/data/dataset.hpp"

namespace df {

class StepRecorder {
 public:
  // Everything a step does on the device. It is called a few times as it is and once more while it is recorded; what must happen
  // on the host at every step does not belong into it.
  using Work = std::function<void(const Batch& batch, const at::Generator& generator)>;
  // `refusal` says why this work cannot be recorded; empty: it can, where the device does. On a device that has streams, the thread that
  // makes the object works on the accelerator's own stream while the object lives (Accelerator::use_stream).
  // Meanwhile cuDNN tries all of its algorithms.
  StepRecorder(const Accelerator& accelerator, Work work, std::string refusal = {});
  ~StepRecorder();
  StepRecorder(const StepRecorder&) = delete;
  StepRecorder& operator=(const StepRecorder&) = delete;
  // The step on `batch` (on the CPU), with draws that follow from `seed` alone. Does not wait for the device.
  void run(const Batch& batch, uint64_t seed);
  bool recorded() const { return call_.recorded(); }
  const std::string& refusal() const { return refusal_.reason; }  // why the step is not recorded; empty: it is or was not yet tried

 private:
  static constexpr int warm_up = 3;

  const Accelerator& accelerator_;
  Work work_;
  std::unique_ptr<StreamScope> stream_;  // null on the CPU
  int cudnn_trials_;                     // to go back to
  at::Generator generator_;
  Batch held_;  // on the device: what the recording reads
  int runs_ = 0;
  RecordedCall call_;
  Refusal refusal_;
};

}  // namespace df
