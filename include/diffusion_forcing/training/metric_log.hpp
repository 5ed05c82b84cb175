// SPDX-License-Identifier: MIT
// Metrics of a run: metrics.jsonl (one object a line) and TensorBoard events side by side.
#pragma once

#include <cstdint>
#include <filesystem>
#include <map>
#include <memory>
#include <string>

#include "diffusion_forcing/core/tensor.hpp"

namespace df {

// Writes metrics into a run folder, each line at once.
class MetricLog {
 public:
  // Appends to what is there; on resume at `first_step`, lines of later steps are dropped from metrics.jsonl.
  MetricLog(const std::filesystem::path& run, int64_t first_step);
  ~MetricLog();
  // Whether metrics.jsonl holds the scalar `name` of this step, written by this process or an earlier one.
  bool has(int64_t step, const std::string& name) const;
  void scalars(int64_t step, const std::map<std::string, double>& values);             // {"train/loss": 0.1}
  void image(int64_t step, const std::string& tag, const Tensor& rgb);                 // uint8 [3, H, W]
  void video(int64_t step, const std::string& tag, const Tensor& frames, double fps);  // uint8 [T, 3, H, W], as an animated GIF
  void text(int64_t step, const std::string& tag, const std::string& markdown);
  void flush();

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace df
