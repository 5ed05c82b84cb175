// SPDX-License-Identifier: MIT
#include "media/ffmpeg_picture.hpp"

extern "C" {
#include <libavutil/pixdesc.h>
}

#include <cmath>
#include <cstdlib>
#include <cstring>
#include <stdexcept>
#include <utility>

namespace df::media {

namespace {

// Pixels that are not square are shown so many times as wide as high. A mark that nobody can mean is passed over.
double pixel_aspect(AVFormatContext& format, AVStream& stream, AVFrame& frame) {
  const AVRational aspect = av_guess_sample_aspect_ratio(&format, &stream, &frame);
  if (aspect.num <= 0 || aspect.den <= 0) return 1;
  const double ratio = av_q2d(aspect);
  return ratio > 0.1 && ratio < 10 ? ratio : 1;
}

}  // namespace

Turn turn_of(const AVStream& stream) {
  size_t size = 0;
  const uint8_t* data = av_stream_get_side_data(&stream, AV_PKT_DATA_DISPLAYMATRIX, &size);
  if (!data || size < 9 * sizeof(int32_t)) return {};
  // A stored point (x, y) is shown at (a x + c y, b x + d y); the matrix is a, b, u, c, d, v, ...
  int32_t matrix[9];
  std::memcpy(matrix, data, sizeof(matrix));
  const double a = matrix[0], b = matrix[1], c = matrix[3], d = matrix[4];
  if (std::abs(a) + std::abs(d) >= std::abs(b) + std::abs(c)) return {false, d < 0, a < 0};
  return {true, b < 0, c < 0};
}

std::pair<int64_t, int64_t> shown_size(AVFormatContext& format, AVStream& stream, AVFrame& first) {
  const double aspect = pixel_aspect(format, stream, first);
  int64_t height = first.height, width = first.width;  // the side that is too short grows: nothing is lost
  if (aspect > 1) width = std::lround(static_cast<double>(width) * aspect);
  if (aspect < 1) height = std::lround(static_cast<double>(height) / aspect);
  return turn_of(stream).transposed ? std::pair{width, height} : std::pair{height, width};
}

Pictures::Pictures(const AVStream& stream, int64_t height, int64_t width)
    : turn_(turn_of(stream)),
      height_(static_cast<int>(turn_.transposed ? width : height)),
      width_(static_cast<int>(turn_.transposed ? height : width)),
      stride_((static_cast<size_t>(width_) * 3 + 127) / 64 * 64),
      rows_(stride_ * static_cast<size_t>(height_) + 64) {}

void Pictures::convert(const AVFrame& frame, uint8_t* rgb) {
  const auto format = static_cast<AVPixelFormat>(frame.format);
  scaler_.reset(sws_getCachedContext(scaler_.release(), frame.width, frame.height, format, width_, height_, AV_PIX_FMT_RGB24, SWS_BICUBIC,
                                     nullptr, nullptr, nullptr));
  const char* name = av_get_pix_fmt_name(format);
  if (!scaler_) throw std::runtime_error(std::string("pixels of the format ") + (name ? name : "?") + " cannot be converted");
  // What the file does not say is BT.601 of limited range, as for the ffmpeg program.
  int *from = nullptr, *to = nullptr, full = 0, to_full = 0, brightness = 0, contrast = 0, saturation = 0;
  if (sws_getColorspaceDetails(scaler_.get(), &from, &full, &to, &to_full, &brightness, &contrast, &saturation) >= 0) {
    if (frame.color_range != AVCOL_RANGE_UNSPECIFIED) full = frame.color_range == AVCOL_RANGE_JPEG;
    sws_setColorspaceDetails(scaler_.get(), sws_getCoefficients(frame.colorspace), full, to, to_full, brightness, contrast, saturation);
  }
  uint8_t* planes[4] = {rows_.data(), nullptr, nullptr, nullptr};
  const int strides[4] = {static_cast<int>(stride_), 0, 0, 0};
  if (sws_scale(scaler_.get(), frame.data, frame.linesize, 0, frame.height, planes, strides) <= 0)
    throw std::runtime_error(std::string("pixels of the format ") + (name ? name : "?") + " cannot be converted");
  turn(rgb);
}

void Pictures::turn(uint8_t* rgb) const {
  const int64_t H = turn_.transposed ? width_ : height_, W = turn_.transposed ? height_ : width_;
  for (int64_t y = 0; y < H; ++y) {
    const int64_t across = turn_.rows_backwards ? H - 1 - y : y;
    uint8_t* row = rgb + 3 * W * y;
    if (!turn_.transposed && !turn_.columns_backwards) {
      std::memcpy(row, rows_.data() + static_cast<size_t>(across) * stride_, static_cast<size_t>(3 * W));
      continue;
    }
    for (int64_t x = 0; x < W; ++x) {
      const int64_t along = turn_.columns_backwards ? W - 1 - x : x;
      const auto [r, c] = turn_.transposed ? std::pair{along, across} : std::pair{across, along};
      std::memcpy(row + 3 * x, rows_.data() + static_cast<size_t>(r) * stride_ + static_cast<size_t>(3 * c), 3);
    }
  }
}

}  // namespace df::media
