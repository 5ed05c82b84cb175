// SPDX-License-Identifier: MIT
// A contact sheet: some frames of each sequence, evenly spaced in time, as one PNG.
#pragma once

#include <cstdint>
#include <filesystem>
#include <vector>

#include "diffusion_forcing/core/tensor.hpp"
#include "diffusion_forcing/data/dataset.hpp"

namespace df {

class TokenSheet {
 public:
  static constexpr int64_t most = 10;  // frames a sequence

  // frames: how many will be written. scale: as in TokenVideoOptions, 0: to about 96 pixels.
  TokenSheet(std::filesystem::path path, DataSpec spec, int64_t frames, int64_t scale);
  void write(const Tensor& x, const Tensor& truth = {});  // as TokenVideo::write; a sequence's truth stands above it
  void close();                                           // writes the file

 private:
  bool wanted(int64_t frame) const;

  std::filesystem::path path_;
  DataSpec spec_;
  int64_t frames_, scale_, written_ = 0;
  std::vector<Tensor> pictures_;  // of a moment each: [sequences, or truth and sequence in turn, 3, H, W]
};

}  // namespace df
