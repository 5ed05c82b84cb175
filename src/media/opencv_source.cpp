// SPDX-License-Identifier: MIT
#include "media/opencv_source.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <opencv2/core.hpp>
#include <opencv2/imgproc.hpp>
#include <opencv2/videoio.hpp>
#include <optional>
#include <utility>

#include "diffusion_forcing/core/error.hpp"

namespace df::media {

namespace {

namespace fs = std::filesystem;

// OpenCV seeks by time and believes in a constant frame rate. This class trusts it only where a probe of the file's first frames says
// so and where the time of the frame that it lands on is the expected one; else the file is opened again and frames are skipped.
class Source final : public FrameSource {
 public:
  explicit Source(fs::path path) : path_(std::move(path)) {
    if (!fs::exists(path_)) throw Error(path_.string() + ": no such file");
    if (!fs::is_regular_file(path_)) throw Error(path_.string() + ": expected a video file, got a folder or device");
    rewind();
    frames_ = std::max<int64_t>(0, std::llround(capture_.get(cv::CAP_PROP_FRAME_COUNT)));
    fps_ = capture_.get(cv::CAP_PROP_FPS);
    if (!std::isfinite(fps_) || fps_ < 0) fps_ = 0;
    start_ = time();
  }

  int64_t frames() const override { return frames_; }
  double fps() const override { return fps_; }
  int64_t height() const override { return height_; }
  int64_t width() const override { return width_; }

  bool read(uint8_t* rgb) override {
    if (!ready_ && !capture_.grab()) return false;
    if (!capture_.retrieve(bgr_)) throw Error(fmt::format("{}: frame {} cannot be decoded", path_.string(), next_));
    if (bgr_.rows != height_ || bgr_.cols != width_ || bgr_.type() != CV_8UC3)
      throw Error(fmt::format("{}: frame {}: expected {} x {} pixels as in the first frame, got {} x {}", path_.string(), next_, width_,
                              height_, bgr_.cols, bgr_.rows));
    cv::cvtColor(bgr_, cv::Mat(bgr_.rows, bgr_.cols, CV_8UC3, rgb), cv::COLOR_BGR2RGB);
    ready_ = false;
    ++next_;
    return true;
  }

  void seek(int64_t frame) override {
    if (frame < 0) throw Error(fmt::format("{}: seek: expected a frame from 0, got {}", path_.string(), frame));
    if (frame >= next_ && frame - next_ <= kNear) return skip_to(frame);
    if (frame <= kNear) {
      rewind();
      return skip_to(frame);
    }
    if (!exact_) exact_ = probe();
    if (*exact_ && jump(frame)) return;
    exact_ = false;
    if (frame < next_) rewind();
    skip_to(frame);
  }

 private:
  static constexpr int64_t kNear = 24;  // frames: decoding these costs no more than a jump

  void rewind() {
    if (!capture_.open(path_.string(), cv::CAP_FFMPEG)) throw Error(path_.string() + ": cannot be opened as a video");
    next_ = 0;
    ready_ = capture_.grab();
    if (!ready_ || !capture_.retrieve(bgr_) || bgr_.empty())
      throw Error(path_.string() + ": expected a video, but no frame can be decoded");
    height_ = bgr_.rows;
    width_ = bgr_.cols;
  }

  void skip_to(int64_t frame) {
    while (next_ < frame) {
      if (!ready_ && !capture_.grab()) throw Error(fmt::format("{}: seek to frame {}: the file has only {}", path_.string(), frame, next_));
      ready_ = false;
      ++next_;
    }
  }

  double time() const { return capture_.get(cv::CAP_PROP_POS_MSEC); }
  bool in_time(int64_t frame) const {
    const double period = 1000 / fps_;
    return std::abs(time() - start_ - period * static_cast<double>(frame)) < period / 4;
  }

  // True where the first frames come at equal times and jumping among them gives the same pictures as decoding in order.
  bool probe() {
    if (fps_ <= 0 || frames_ <= 0) return false;
    constexpr int64_t kFrames = 16;
    cv::Mat kept;
    rewind();
    for (int64_t i = 0; i < kFrames; ++i) {
      if (i > 0 && !capture_.grab()) return false;
      if (!in_time(i)) return false;
      if (i == kFrames / 2 && !capture_.retrieve(kept)) return false;
    }
    kept = kept.clone();
    if (!jump(kFrames / 2) || !capture_.retrieve(bgr_) || bgr_.size() != kept.size()) return false;
    return cv::norm(bgr_, kept, cv::NORM_INF) == 0;
  }

  bool jump(int64_t frame) {
    if (!capture_.set(cv::CAP_PROP_POS_FRAMES, static_cast<double>(frame)) || !capture_.grab() || !in_time(frame)) {
      rewind();
      return false;
    }
    next_ = frame;
    ready_ = true;
    return true;
  }

  fs::path path_;
  mutable cv::VideoCapture capture_;
  cv::Mat bgr_;
  int64_t frames_ = 0, height_ = 0, width_ = 0;
  double fps_ = 0, start_ = 0;  // start_: milliseconds of frame 0
  int64_t next_ = 0;            // the frame that read() gives
  bool ready_ = false;          // it is grabbed already
  std::optional<bool> exact_;   // may jump(); empty: not yet probed
};

}  // namespace

std::unique_ptr<FrameSource> open_source(const fs::path& path) { return std::make_unique<Source>(path); }

}  // namespace df::media
