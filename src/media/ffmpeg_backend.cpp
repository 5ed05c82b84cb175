// SPDX-License-Identifier: MIT
// FFmpeg's libraries behind the plain interface of video_backend.hpp.
#include <fmt/format.h>

#include <string_view>
#include <utility>

#include "diffusion_forcing/core/error.hpp"
#include "media/ffmpeg_packets.hpp"
#include "media/ffmpeg_sink.hpp"
#include "media/ffmpeg_source.hpp"

namespace df::media {

namespace {

// Formats that FFmpeg also shows as moving pictures, and nobody means: text, single pictures.
bool is_meant(std::string_view format) {
  return format != "tty" && format.find("image2") == std::string_view::npos && !format.ends_with("_pipe");
}

class Ffmpeg final : public VideoBackend {
 public:
  Ffmpeg() { av_log_set_level(AV_LOG_QUIET); }  // errors come back as df::Error instead
  std::string version() override { return fmt::format("1 {} {}", avformat_version(), avcodec_version()); }
  bool is_video(const std::filesystem::path& path) override {
    try {
      const Input input = open_input(path);
      return is_meant(input->iformat->name) && video_stream(*input) >= 0;
    } catch (const Error&) {
      return false;
    }
  }
  VideoIndex make_index(const std::filesystem::path& path) override { return media::make_index(path); }
  std::unique_ptr<FrameSource> open(const std::filesystem::path& path, std::shared_ptr<const VideoIndex> index, int64_t threads) override {
    return open_source(path, std::move(index), static_cast<int>(threads));
  }
  std::unique_ptr<FrameSink> create_mp4(const std::filesystem::path& path, const std::string& name, double fps, int64_t height,
                                        int64_t width) override {
    return open_sink(path, name, fps, height, width);
  }
};

}  // namespace

}  // namespace df::media

extern "C" __attribute__((visibility("default"))) df::media::VideoBackend* df_video_backend() {
  static auto& backend = *new df::media::Ffmpeg;  // leaked: readers may outlive static objects
  return &backend;
}
