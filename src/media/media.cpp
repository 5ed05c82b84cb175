// SPDX-License-Identifier: MIT
#include "diffusion_forcing/media/media.hpp"

#include <ATen/ATen.h>
#include <fmt/format.h>

#include <algorithm>
#include <utility>

#include "core/cpu_share.hpp"
#include "core/load_library.hpp"
#include "diffusion_forcing/core/error.hpp"
#include "diffusion_forcing/core/file.hpp"
#include "diffusion_forcing/core/shape.hpp"
#include "media/backend.hpp"
#include "media/frames.hpp"
#include "media/gif.hpp"
#include "media/video_cache.hpp"

namespace df {

namespace media {

Backend& backend() {
  static const auto get =
      reinterpret_cast<GetBackend>(library_function("libdiffusion_forcing_media.so", kBackendSymbol, "image files need"));
  return *get();
}

VideoBackend& video_backend() {
  static const auto get =
      reinterpret_cast<GetVideoBackend>(library_function("libdiffusion_forcing_video.so", kVideoBackendSymbol, "video files need"));
  return *get();
}

int64_t decoder_threads() { return std::clamp<int64_t>(cpu_share() / 2, 1, 4); }

void check_frame(const Tensor& frame, const std::string& name) {
  check_shape(frame, name, {3, -1, -1});
  if (frame.scalar_type() != at::kByte)
    throw Error(fmt::format("{}: expected a uint8 frame, got {}", name, c10::toString(frame.scalar_type())));
  if (frame.numel() == 0) throw Error(fmt::format("{}: expected a frame with pixels, got {} x {}", name, frame.size(2), frame.size(1)));
}

Tensor to_rows(const Tensor& frame) { return frame.detach().to(at::kCPU).permute({1, 2, 0}).contiguous(); }

}  // namespace media

namespace {

class Reader final : public VideoReader {
 public:
  explicit Reader(const fs::path& path)
      : path_(path), index_(media::index_of(path)), source_(media::video_backend().open(path, index_, media::decoder_threads())) {}
  int64_t frames() const override { return index_->frames(); }
  double fps() const override { return index_->fps; }
  int64_t height() const override { return index_->height; }
  int64_t width() const override { return index_->width; }
  double seconds(int64_t frame) const override {
    check_frame_number("seconds of", frame, frames() - 1);
    return index_->seconds(frame);
  }
  bool read(Tensor& frame) override {
    if (next_ >= frames()) return false;
    const Tensor rows = at::empty({height(), width(), 3}, at::kByte);
    source_->read(next_++, rows.data_ptr<uint8_t>());
    frame = rows.permute({2, 0, 1}).contiguous();
    return true;
  }
  void seek(int64_t frame) override {
    check_frame_number("seek to", frame, frames());
    next_ = frame;
  }

 private:
  void check_frame_number(const char* what, int64_t frame, int64_t most) const {
    if (frame < 0) throw Error(fmt::format("{}: {} frame {}: expected a frame from 0", path_.string(), what, frame));
    if (frame > most) throw Error(fmt::format("{}: {} frame {}: the file has only {}", path_.string(), what, frame, frames()));
  }

  fs::path path_;
  std::shared_ptr<const media::VideoIndex> index_;
  std::unique_ptr<media::FrameSource> source_;
  int64_t next_ = 0;
};

}  // namespace

std::unique_ptr<VideoReader> open_video(const fs::path& path) { return std::make_unique<Reader>(path); }

std::string encode_png(const Tensor& rgb) {
  media::check_frame(rgb, "encode_png");
  const Tensor rows = media::to_rows(rgb);
  return media::backend().encode_png(rows.data_ptr<uint8_t>(), rows.size(0), rows.size(1));
}

void write_png(const fs::path& path, const Tensor& rgb) {
  media::check_frame(rgb, path.string());
  write_atomically(path, encode_png(rgb));
}

Tensor read_image(const fs::path& path) {
  media::Image image = media::backend().decode_image(read_file(path), path.string());
  return at::from_blob(image.rgb.data(), {image.height, image.width, 3}, at::kByte).permute({2, 0, 1}).contiguous();
}

std::string encode_gif(const Tensor& frames, double fps) {
  check_shape(frames, "encode_gif", {-1, 3, -1, -1});
  if (frames.size(0) == 0) throw Error("encode_gif: expected at least one frame, got none");
  std::vector<Tensor> rows;
  std::vector<const uint8_t*> pixels;
  for (const Tensor& frame : frames.unbind()) {
    media::check_frame(frame, "encode_gif");
    pixels.push_back(rows.emplace_back(media::to_rows(frame)).data_ptr<uint8_t>());
  }
  return media::encode_gif(pixels, frames.size(2), frames.size(3), fps);
}

Tensor sheet(const Tensor& frames, int64_t columns, int64_t gap, int64_t scale) {
  check_shape(frames, "sheet", {-1, 3, -1, -1});
  if (frames.scalar_type() != at::kByte || frames.size(0) == 0)
    throw Error(fmt::format("sheet: expected at least one uint8 frame, got {} {}", c10::toString(frames.scalar_type()),
                            to_string(frames.sizes().vec())));
  if (columns < 1 || gap < 0) throw Error(fmt::format("sheet: expected columns >= 1 and gap >= 0, got {} and {}", columns, gap));
  const Tensor large = enlarge(frames.cpu(), scale);
  const int64_t N = large.size(0), H = large.size(2), W = large.size(3);
  columns = std::min(columns, N);
  const int64_t rows = (N + columns - 1) / columns;
  const Tensor picture = at::full({3, rows * (H + gap) - gap, columns * (W + gap) - gap}, 255, at::kByte);
  for (int64_t n = 0; n < N; ++n) picture.narrow(1, n / columns * (H + gap), H).narrow(2, n % columns * (W + gap), W).copy_(large[n]);
  return picture;
}

Tensor enlarge(const Tensor& frames, int64_t scale) {
  if (scale < 1) throw Error(fmt::format("enlarge: expected a scale >= 1, got {}", scale));
  if (scale == 1) return frames;
  return frames.repeat_interleave(scale, -2).repeat_interleave(scale, -1);
}

}  // namespace df
