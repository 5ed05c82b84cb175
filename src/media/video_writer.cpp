// SPDX-License-Identifier: MIT
#include <ATen/ATen.h>
#include <fmt/format.h>
#include <spdlog/spdlog.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <cmath>
#include <cstdio>
#include <cstring>
#include <utility>
#include <vector>

#include "diffusion_forcing/core/error.hpp"
#include "diffusion_forcing/core/file.hpp"
#include "diffusion_forcing/core/npy.hpp"
#include "diffusion_forcing/media/media.hpp"
#include "media/backend.hpp"
#include "media/frames.hpp"
#include "media/gif.hpp"

namespace df {

namespace {

// What the formats share: frames of one size, at least one, and close() once.
class Writer : public VideoWriter {
 public:
  explicit Writer(fs::path path) : path_(std::move(path)) {}

  void write(const Tensor& frame) final {
    if (closed_) throw Error(path_.string() + ": write after close");
    const std::string name = fmt::format("{}: frame {}", path_.string(), written_);
    media::check_frame(frame, name);
    if (written_ == 0) {
      height_ = frame.size(1);
      width_ = frame.size(2);
    }
    if (frame.size(1) != height_ || frame.size(2) != width_)
      throw Error(fmt::format("{}: expected {} x {} pixels as in the first frame, got {} x {}", name, width_, height_, frame.size(2),
                              frame.size(1)));
    add(media::to_rows(frame));
    ++written_;
  }

  void close() final {
    if (closed_) return;
    if (written_ == 0) throw Error(path_.string() + ": expected at least one frame before close, got none");
    finish();
    closed_ = true;
  }

 protected:
  virtual void add(Tensor rows) = 0;  // [H, W, 3]
  virtual void finish() = 0;

  fs::path path_;
  int64_t height_ = 0, width_ = 0, written_ = 0;

 private:
  bool closed_ = false;
};

// A file or folder beside `path` that takes its name in commit(), or disappears.
class Partial {
 public:
  explicit Partial(const fs::path& path) : path_(path) {
    static std::atomic<uint64_t> count{0};
    std::error_code failed;
    if (path.has_parent_path()) fs::create_directories(path.parent_path(), failed);
    if (failed) throw Error(path.parent_path().string() + ": cannot be created: " + failed.message());
    partial_ = path;  // the ending stays: FFmpeg chooses the format by it
    partial_.replace_filename(fmt::format(".partial-{}-video-{}-{}", ::getpid(), count++, path.filename().string()));
  }
  Partial(const Partial&) = delete;
  Partial& operator=(const Partial&) = delete;
  ~Partial() {
    std::error_code ignored;
    fs::remove_all(partial_, ignored);
  }
  const fs::path& path() const { return partial_; }
  void commit() {
    std::error_code failed;
    fs::rename(partial_, path_, failed);
    if (failed) throw Error(path_.string() + ": cannot be written: " + failed.message());
  }

 private:
  fs::path path_, partial_;
};

class Mp4 final : public Writer {
 public:
  Mp4(const fs::path& path, double fps) : Writer(path), fps_(fps), partial_(path) {}
  ~Mp4() override { sink_.reset(); }  // before its file is removed
  std::string codec() const override { return sink_ ? sink_->codec() : "mp4"; }

 private:
  void add(Tensor rows) override {
    if (!sink_) sink_ = media::backend().create_mp4(partial_.path(), path_.string(), fps_, height_, width_);
    sink_->write(rows.data_ptr<uint8_t>());
  }
  void finish() override {
    sink_->close();
    partial_.commit();
  }
  double fps_;
  Partial partial_;
  std::unique_ptr<media::FrameSink> sink_;
};

class PngFolder final : public Writer {
 public:
  explicit PngFolder(const fs::path& path) : Writer(path), partial_(path) {
    std::error_code failed;
    if (fs::exists(path) && !(fs::is_directory(path, failed) && fs::is_empty(path, failed)))
      throw Error(path.string() + ": expected a new or empty folder for PNG frames, got one with files in it");
    fs::create_directory(partial_.path(), failed);
    if (failed) throw Error(path.string() + ": cannot be written: " + failed.message());
  }
  std::string codec() const override { return "PNG"; }

 private:
  void add(Tensor rows) override {
    write_atomically(partial_.path() / fmt::format("{:06}.png", written_),
                     media::backend().encode_png(rows.data_ptr<uint8_t>(), height_, width_));
  }
  void finish() override { partial_.commit(); }
  Partial partial_;
};

// Formats that need all frames before the first byte: the palette of a GIF, the array's length in an npz.
class InMemory : public Writer {
 public:
  using Writer::Writer;

 protected:
  void add(Tensor rows) override { frames_.push_back(std::move(rows)); }
  std::vector<Tensor> frames_;
};

class Gif final : public InMemory {
 public:
  Gif(const fs::path& path, double fps) : InMemory(path), fps_(fps) {}
  std::string codec() const override { return "GIF"; }

 private:
  void finish() override {
    std::vector<const uint8_t*> pixels;
    for (const Tensor& rows : frames_) pixels.push_back(rows.data_ptr<uint8_t>());
    write_atomically(path_, media::encode_gif(pixels, height_, width_, fps_));
  }
  double fps_;
};

class Npz final : public InMemory {
 public:
  using InMemory::InMemory;
  std::string codec() const override { return "npz"; }

 private:
  void finish() override { write_npz(path_, {{"video", at::stack(frames_)}}); }
};

// Frames on standard output, for a player or an encoder at the other end of a pipe.
class RawStream final : public Writer {
 public:
  explicit RawStream(double fps) : Writer("standard output"), fps_(fps) {}
  std::string codec() const override { return "RGB24"; }

 private:
  void add(Tensor rows) override {
    if (written_ == 0)
      spdlog::info("raw video on standard output: ffplay -f rawvideo -pixel_format rgb24 -video_size {}x{} -framerate {} -", width_,
                   height_, fps_);
    const auto bytes = static_cast<size_t>(rows.numel());
    if (std::fwrite(rows.const_data_ptr<uint8_t>(), 1, bytes, stdout) != bytes || std::fflush(stdout) != 0)
      throw Error(fmt::format("standard output: frame {} cannot be written: {}", written_, std::strerror(errno)));
  }
  void finish() override {}
  double fps_;
};

}  // namespace

std::unique_ptr<VideoWriter> create_video(const fs::path& path, double fps) {
  if (!(fps > 0) || fps > 1000) throw Error(fmt::format("{}: expected frames per second in (0, 1000], got {}", path.string(), fps));
  if (path == "-") return std::make_unique<RawStream>(fps);
  if (!path.empty() && !path.has_filename()) return std::make_unique<PngFolder>(path.parent_path());
  const std::string ending = path.extension();
  if (ending == ".mp4") return std::make_unique<Mp4>(path, fps);
  if (ending == ".gif") return std::make_unique<Gif>(path, fps);
  if (ending == ".npz") return std::make_unique<Npz>(path);
  if (ending.empty() && path.has_filename()) return std::make_unique<PngFolder>(path);
  throw Error(fmt::format(
      "{}: expected a name that ends in .mp4, .gif or .npz, or a folder (no ending, or '/' at the end) for PNG frames, got '{}'",
      path.string(), ending));
}

}  // namespace df
