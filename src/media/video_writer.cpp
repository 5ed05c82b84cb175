// SPDX-License-Identifier: MIT
#include <ATen/ATen.h>
#include <fmt/format.h>
#include <spdlog/spdlog.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <cstdio>
#include <cstring>
#include <fstream>
#include <system_error>
#include <utility>
#include <vector>

#include "diffusion_forcing/core/error.hpp"
#include "diffusion_forcing/core/file.hpp"
#include "diffusion_forcing/core/npy.hpp"
#include "diffusion_forcing/media/media.hpp"
#include "media/backend.hpp"
#include "media/frames.hpp"
#include "media/gif.hpp"
#include "media/video_backend.hpp"

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

std::string reason(const std::error_code& code) { return code.message(); }

// Where a link leads, whether something is there or not.
fs::path followed(fs::path path) {
  std::error_code failed;
  for (int links = 0; links < 40 && fs::is_symlink(path, failed); ++links) {
    const fs::path next = fs::read_symlink(path, failed);
    if (failed) break;
    path = next.is_absolute() ? next : path.parent_path() / next;
  }
  return path;
}

// A file or folder under another name, which takes the place of `path` in commit(), or disappears. It is made at once, so that a place that
// cannot be written to is known before the work. Its name is short: file systems allow 255 bytes.
class Partial {
 public:
  enum class Kind { file, folder };
  Partial(const fs::path& path, Kind kind) : path_(path), target_(followed(path)) {
    static std::atomic<uint64_t> count{0};
    std::error_code failed;
    inside_ = kind == Kind::folder && fs::is_directory(target_, failed);  // it may be a mount, which cannot be replaced
    const fs::path place = inside_ ? target_ : target_.parent_path();
    if (!place.empty()) fs::create_directories(place, failed);
    if (failed) throw Error(place.string() + ": cannot be created: " + reason(failed));
    partial_ = place / fmt::format(".partial-{}-video-{}", ::getpid(), count++);
    if (kind == Kind::folder)
      fs::create_directory(partial_, failed);
    else if (!std::ofstream(partial_))
      failed = {errno, std::generic_category()};
    if (failed) throw Error(path.string() + ": cannot be written: " + reason(failed));
  }
  Partial(const Partial&) = delete;
  Partial& operator=(const Partial&) = delete;
  ~Partial() {
    std::error_code ignored;
    if (!kept_) fs::remove_all(partial_, ignored);
  }
  const fs::path& path() const { return partial_; }
  // What was made stays under its other name where it cannot have its own.
  void commit() {
    std::error_code failed;
    if (inside_)
      for (const auto& entry : fs::directory_iterator(partial_)) {
        fs::rename(entry.path(), target_ / entry.path().filename(), failed);
        if (failed) break;
      }
    else
      fs::rename(partial_, target_, failed);
    if (!failed) return;
    kept_ = true;
    throw Error(fmt::format("{}: cannot be written: {}; what was made is in {}", path_.string(), reason(failed), partial_.string()));
  }

 private:
  fs::path path_, target_, partial_;
  bool inside_ = false, kept_ = false;
};

class Mp4 final : public Writer {
 public:
  Mp4(const fs::path& path, double fps) : Writer(path), fps_(fps), partial_(path, Partial::Kind::file) {}
  ~Mp4() override { sink_.reset(); }  // before its file is removed
  std::string codec() const override { return sink_ ? sink_->codec() : "mp4"; }

 private:
  void add(Tensor rows) override {
    if (!sink_) sink_ = media::video_backend().create_mp4(partial_.path(), path_.string(), fps_, height_, width_);
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
  explicit PngFolder(const fs::path& path) : Writer(path), partial_(checked(path), Partial::Kind::folder) {}
  std::string codec() const override { return "PNG"; }

 private:
  void add(Tensor rows) override {
    write_atomically(partial_.path() / fmt::format("{:06}.png", written_),
                     media::backend().encode_png(rows.data_ptr<uint8_t>(), height_, width_));
  }
  void finish() override { partial_.commit(); }
  static const fs::path& checked(const fs::path& path) {
    std::error_code failed;
    if (fs::exists(path) && !(fs::is_directory(path, failed) && fs::is_empty(path, failed)))
      throw Error(path.string() + ": expected a new or empty folder for PNG frames, got one with files in it");
    return path;
  }
  Partial partial_;
};

// Formats that need all frames before the first byte: the palette of a GIF, the array's length in an npz.
class InMemory : public Writer {
 public:
  explicit InMemory(const fs::path& path) : Writer(path), partial_(path, Partial::Kind::file) {}

 protected:
  void add(Tensor rows) override { frames_.push_back(std::move(rows)); }
  void finish() override {
    write_whole(partial_.path());
    partial_.commit();
  }
  virtual void write_whole(const fs::path& path) = 0;
  std::vector<Tensor> frames_;

 private:
  Partial partial_;
};

class Gif final : public InMemory {
 public:
  Gif(const fs::path& path, double fps) : InMemory(path), fps_(fps) {}
  std::string codec() const override { return "GIF"; }

 private:
  void write_whole(const fs::path& path) override {
    std::vector<const uint8_t*> pixels;
    for (const Tensor& rows : frames_) pixels.push_back(rows.data_ptr<uint8_t>());
    write_atomically(path, media::encode_gif(pixels, height_, width_, fps_));
  }
  double fps_;
};

class Npz final : public InMemory {
 public:
  using InMemory::InMemory;
  std::string codec() const override { return "npz"; }

 private:
  void write_whole(const fs::path& path) override { write_npz(path, {{"video", at::stack(frames_)}}); }
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
