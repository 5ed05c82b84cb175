// SPDX-License-Identifier: MIT
// FFmpeg's objects with owners. Private to libdiffusion_forcing_video.
#pragma once

extern "C" {
#include <libavcodec/avcodec.h>
#include <libavformat/avformat.h>
#include <libavutil/error.h>
#include <libswscale/swscale.h>
}

#include <array>
#include <filesystem>
#include <memory>
#include <string>

namespace df::media {

struct FreeFfmpeg {
  void operator()(AVCodecContext* codec) const { avcodec_free_context(&codec); }
  void operator()(AVPacket* packet) const { av_packet_free(&packet); }
  void operator()(AVFrame* frame) const { av_frame_free(&frame); }
  void operator()(SwsContext* scaler) const { sws_freeContext(scaler); }
};
using Codec = std::unique_ptr<AVCodecContext, FreeFfmpeg>;
using Packet = std::unique_ptr<AVPacket, FreeFfmpeg>;
using Frame = std::unique_ptr<AVFrame, FreeFfmpeg>;
using Scaler = std::unique_ptr<SwsContext, FreeFfmpeg>;

inline std::string ffmpeg_error(int code) {
  std::array<char, AV_ERROR_MAX_STRING_SIZE> text{};
  av_strerror(code, text.data(), text.size());
  return text.data();
}

// A name with a colon is no protocol.
inline std::string file_url(const std::filesystem::path& path) { return "file:" + path.string(); }

}  // namespace df::media
