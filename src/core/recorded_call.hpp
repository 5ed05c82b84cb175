// SPDX-License-Identifier: MIT
// Device work that is recorded once and then replayed, or called as it is where the device does not record.
#pragma once

#include <functional>
#include <memory>
#include <string>

#include "diffusion_forcing/core/accelerator.hpp"

namespace df {

// Why calls of one kind are not recorded. Shared by all of them: a device that refused one of them is not asked for the next.
struct Refusal {
  std::string goes_on;  // what happens instead, for the warning: "training goes on without a recorded step"
  std::string reason;   // empty: the device has not refused
};

class RecordedCall {
 public:
  // Records `work` (Accelerator::capture) unless that was refused before, and returns recorded(). Where the device cannot record or the
  // recording fails, `refusal` gets the reason, and the caller does the work itself from then on; a failure is also warned of, once. The
  // generators of `options` may be left in the middle of a failed recording: make new ones where record() returns false.
  bool record(const Accelerator& accelerator, const std::function<void()>& work, const CaptureOptions& options, Refusal& refusal);
  bool recorded() const { return graph_ != nullptr; }
  // Does the recorded work. What it throws passes through: the work may be half done, so that doing it again would be wrong.
  void replay() { graph_->replay(); }
  const Graph* graph() const { return graph_.get(); }  // null where nothing is recorded

 private:
  std::unique_ptr<Graph> graph_;
};

}  // namespace df
