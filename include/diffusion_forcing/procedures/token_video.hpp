// SPDX-License-Identifier: MIT
// Tokens as they come from a rollout, written as one video: sequences side by side.
#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <string>
#include <vector>

#include "diffusion_forcing/core/tensor.hpp"
#include "diffusion_forcing/data/dataset.hpp"

namespace df {

class VideoWriter;

// Whether tokens are stacks of RGB frames.
bool is_video(const DataSpec& spec);

// How tokens are written as a video.
struct TokenVideoOptions {
  double fps = 10.0;
  int64_t scale = 0;   // each frame is enlarged so many times; 0: to about 256 pixels (fewer where many sequences stand side by side)
  int64_t frames = 0;  // stop after these; 0: all
};

// By the name's ending, as create_video: mp4, gif, PNG and raw frames ("-") show the sequences in a grid, or, where the truth is given, one
// below the other with the truth on the left. npz holds `video` uint8 [B, frames, H, W, 3] and `truth`, not enlarged. Memory does not grow,
// npz excepted.
class TokenVideo {
 public:
  TokenVideo(const std::filesystem::path& path, const DataSpec& spec, const TokenVideoOptions& options);
  ~TokenVideo();                                          // without close(): nothing is left
  void write(const Tensor& x, const Tensor& truth = {});  // [B, token...]: one token of each sequence, on any device
  void close();
  int64_t frames() const { return frames_; }  // written so far
  std::string codec() const;

 private:
  std::filesystem::path path_;
  DataSpec spec_;
  TokenVideoOptions options_;
  std::unique_ptr<VideoWriter> writer_;  // none for npz
  std::vector<Tensor> videos_, truths_;  // npz: [B, F, 3, H, W] each
  int64_t frames_ = 0;
};

}  // namespace df
