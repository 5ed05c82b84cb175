// SPDX-License-Identifier: MIT
#include "procedures/token_sheet.hpp"

#include <ATen/ATen.h>

#include <algorithm>
#include <utility>

#include "diffusion_forcing/core/error.hpp"
#include "diffusion_forcing/data/video_tokens.hpp"
#include "diffusion_forcing/media/media.hpp"

namespace df {

TokenSheet::TokenSheet(std::filesystem::path path, DataSpec spec, int64_t frames, int64_t scale)
    : path_(std::move(path)), spec_(std::move(spec)), frames_(frames), scale_(scale) {
  if (path_.extension() != ".png") throw Error(path_.string() + ": expected a contact sheet's name to end in .png");
}

bool TokenSheet::wanted(int64_t frame) const {
  const int64_t columns = std::min(most, frames_);
  for (int64_t i = 0; i < columns; ++i)
    if (frame == (columns == 1 ? 0 : i * (frames_ - 1) / (columns - 1))) return true;
  return false;
}

void TokenSheet::write(const Tensor& x, const Tensor& truth) {
  const auto frames_of = [&](const Tensor& tokens) {
    return tokens_to_frames(tokens.detach().unsqueeze(1).cpu(), spec_.token.frame_stack, spec_.mean, spec_.std);  // [B, F, 3, H, W]
  };
  Tensor video, real;
  for (int64_t f = 0; f < spec_.token.frame_stack && written_ < frames_; ++f, ++written_) {
    if (!wanted(written_)) continue;
    if (!video.defined()) {
      video = frames_of(x);
      if (truth.defined()) real = frames_of(truth);
    }
    const Tensor moment = video.select(1, f);
    pictures_.push_back(real.defined() ? at::stack({real.select(1, f), moment}, 1).flatten(0, 1) : moment);
  }
}

void TokenSheet::close() {
  if (pictures_.empty()) throw Error(path_.string() + ": no frames were written");
  const Tensor all = at::stack(pictures_, 1);  // [sequences, moments, 3, H, W]
  const int64_t size = std::max(all.size(3), all.size(4));
  const int64_t scale = scale_ > 0 ? scale_ : std::max<int64_t>(1, 96 / size);
  write_png(path_, sheet(all.flatten(0, 1), all.size(1), 2, scale));
}

}  // namespace df
