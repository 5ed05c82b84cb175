// SPDX-License-Identifier: MIT
// Video and image files. FFmpeg's libraries read and write videos, OpenCV pictures, each in a library of its own
// (libdiffusion_forcing_video, libdiffusion_forcing_media) that is loaded when first needed: programs that never touch a video need
// neither.
#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <string>

#include "diffusion_forcing/core/tensor.hpp"

namespace df {

// Frames one by one in the order in which a player shows them, RGB uint8 [3, H, W]: upright, with square pixels, in the colours that the
// file says.
class VideoReader {
 public:
  virtual ~VideoReader() = default;
  virtual int64_t frames() const = 0;
  virtual double fps() const = 0;  // on average
  virtual int64_t height() const = 0;
  virtual int64_t width() const = 0;
  virtual double seconds(int64_t frame) const = 0;  // at which it is shown, since the first
  virtual bool read(Tensor& frame) = 0;             // false at the end
  virtual void seek(int64_t frame) = 0;             // exact
};
// Looks through the file's packets, and keeps what it finds among the user's caches. Throws df::Error naming the file.
std::unique_ptr<VideoReader> open_video(const std::filesystem::path& path);

// By the name's ending: .mp4 (H.264 where FFmpeg has an encoder, else MPEG-4; odd sizes grow by a row or column), .gif, .npz (`video` uint8
// [T, H, W, 3]), or a folder name without ending or with '/' at the end (PNG frames 000000.png ...). Written under a temporary name;
// close() renames. "-" is standard output: bytes [H, W, 3] of one frame after the other, each sent as it is written; a reader that went
// away is a df::Error where the program ignores SIGPIPE.
class VideoWriter {
 public:
  virtual ~VideoWriter() = default;             // without close(): nothing is left
  virtual void write(const Tensor& frame) = 0;  // uint8 [3, H, W], all of one size
  virtual void close() = 0;
  virtual std::string codec() const = 0;  // "H.264", "MPEG-4", "GIF", "PNG", "npz", "RGB24"
};
// Throws df::Error listing the known endings.
std::unique_ptr<VideoWriter> create_video(const std::filesystem::path& path, double fps);

void write_png(const std::filesystem::path& path, const Tensor& rgb);  // uint8 [3, H, W]
Tensor read_image(const std::filesystem::path& path);                  // uint8 [3, H, W]
// A picture uint8 [3, H, W] as the bytes of a PNG file.
std::string encode_png(const Tensor& rgb);
std::string encode_gif(const Tensor& frames, double fps);  // uint8 [T, 3, H, W]

// uint8 [N, 3, H, W] -> one picture, `columns` per row, `gap` white pixels between, each frame enlarged `scale` times.
Tensor sheet(const Tensor& frames, int64_t columns, int64_t gap = 2, int64_t scale = 1);
Tensor enlarge(const Tensor& frames, int64_t scale);  // nearest neighbour, uint8 [..., H, W]

}  // namespace df
