// SPDX-License-Identifier: MIT
// Decoded frames as RGB pictures, as a player shows them. Private to libdiffusion_forcing_video.
#pragma once

#include <cstdint>
#include <utility>
#include <vector>

#include "media/ffmpeg.hpp"

namespace df::media {

// How the stored picture is turned to be upright: row y, column x of the result are row x, column y of the stored one (transposed), then
// rows and columns of the result run backwards.
struct Turn {
  bool transposed = false, rows_backwards = false, columns_backwards = false;
};
// By the stream's display matrix, to the nearest quarter.
Turn turn_of(const AVStream& stream);

// [height, width] of the pictures of a stream that starts with this frame: upright, with square pixels.
std::pair<int64_t, int64_t> shown_size(AVFormatContext& format, AVStream& stream, AVFrame& first);

class Pictures {
 public:
  // Of this size, as shown: frames of another one are scaled to it.
  Pictures(const AVStream& stream, int64_t height, int64_t width);
  // Into [height, width, 3]. Throws std::runtime_error where swscale does not know the pixel format.
  void convert(const AVFrame& frame, uint8_t* rgb);

 private:
  void turn(uint8_t* rgb) const;

  Turn turn_;
  int height_ = 0, width_ = 0;  // before the turn
  Scaler scaler_;
  size_t stride_ = 0;  // bytes a row of rows_: swscale writes beyond the last pixel
  std::vector<uint8_t> rows_;
};

}  // namespace df::media
