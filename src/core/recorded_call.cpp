// SPDX-License-Identifier: MIT
#include "core/recorded_call.hpp"

#include <spdlog/spdlog.h>

#include <exception>

namespace df {

bool RecordedCall::record(const Accelerator& accelerator, const std::function<void()>& work, const CaptureOptions& options,
                          Refusal& refusal) {
  if (graph_ || !refusal.reason.empty()) return recorded();
  try {
    graph_ = accelerator.capture(work, options);
    if (!graph_) refusal.reason = "the device does not record";
  } catch (const std::exception& error) {
    refusal.reason = error.what();
    if (refusal.reason.empty()) refusal.reason = "the recording failed";
    spdlog::warn("{}: {}", refusal.goes_on, refusal.reason.substr(0, refusal.reason.find('\n')));
  }
  return recorded();
}

}  // namespace df
