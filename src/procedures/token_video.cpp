// SPDX-License-Identifier: MIT
#include "diffusion_forcing/procedures/token_video.hpp"

#include <ATen/ATen.h>
#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <map>

#include "diffusion_forcing/core/error.hpp"
#include "diffusion_forcing/core/npy.hpp"
#include "diffusion_forcing/data/video_tokens.hpp"
#include "diffusion_forcing/media/media.hpp"

namespace df {

namespace {

constexpr int64_t shown_pixels = 256;   // of one sequence alone
constexpr int64_t widest_pixels = 768;  // of all together

}  // namespace

bool is_video(const DataSpec& spec) {
  return spec.token.token_shape.size() == 3 && spec.token.token_shape[0] == 3 * spec.token.frame_stack;
}

TokenVideo::TokenVideo(const std::filesystem::path& path, const DataSpec& spec, const TokenVideoOptions& options)
    : path_(path), spec_(spec), options_(options) {
  if (!is_video(spec))
    throw Error(fmt::format("{}: expected tokens of RGB frames [{}, height, width], got {}", path.string(), 3 * spec.token.frame_stack,
                            to_string(spec.token.token_shape)));
  if (options.fps <= 0.0 || !std::isfinite(options.fps)) throw Error(fmt::format("fps: expected a positive number, got {}", options.fps));
  if (path.extension() != ".npz") writer_ = create_video(path, options.fps);
}

TokenVideo::~TokenVideo() = default;

void TokenVideo::write(const Tensor& x, const Tensor& truth) {
  const auto frames_of = [&](const Tensor& tokens) {
    return tokens_to_frames(tokens.detach().unsqueeze(1).cpu(), spec_.token.frame_stack, spec_.mean, spec_.std);  // [B, F, 3, H, W]
  };
  Tensor video = frames_of(x), real = truth.defined() ? frames_of(truth) : Tensor();
  int64_t count = video.size(1);
  if (options_.frames > 0) count = std::min(count, options_.frames - frames_);
  if (count <= 0) return;
  frames_ += count;
  if (!writer_) {
    videos_.push_back(video.narrow(1, 0, count));
    if (real.defined()) truths_.push_back(real.narrow(1, 0, count));
    return;
  }
  const int64_t batch = video.size(0);
  const int64_t columns = real.defined() ? 2 : static_cast<int64_t>(std::ceil(std::sqrt(static_cast<double>(batch))));
  const int64_t size = std::max(video.size(3), video.size(4));
  const int64_t scale =
      options_.scale > 0 ? options_.scale : std::max<int64_t>(1, std::min(shown_pixels / size, widest_pixels / (size * columns)));
  for (int64_t f = 0; f < count; ++f) {
    Tensor pictures = video.select(1, f);
    if (real.defined()) pictures = at::stack({real.select(1, f), pictures}, 1).flatten(0, 1);
    writer_->write(pictures.size(0) == 1 ? enlarge(pictures[0], scale) : sheet(pictures, columns, 2, scale));
  }
}

void TokenVideo::close() {
  if (writer_) {
    writer_->close();
    return;
  }
  if (videos_.empty()) throw Error(path_.string() + ": no frames were written");
  const auto whole = [](const std::vector<Tensor>& parts) { return at::cat(parts, 1).permute({0, 1, 3, 4, 2}).contiguous(); };
  std::map<std::string, Tensor> arrays = {{"video", whole(videos_)}};
  if (!truths_.empty()) arrays["truth"] = whole(truths_);
  write_npz(path_, arrays);
}

std::string TokenVideo::codec() const { return writer_ ? writer_->codec() : "npz"; }

}  // namespace df
