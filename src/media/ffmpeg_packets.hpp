// SPDX-License-Identifier: MIT
// The packets of a file's video stream, numbered from the start of the file. Private to libdiffusion_forcing_video.
#pragma once

#include <filesystem>

#include "media/ffmpeg.hpp"
#include "media/video_backend.hpp"

namespace df::media {

struct CloseInput {
  void operator()(AVFormatContext* format) const { avformat_close_input(&format); }
};
using Input = std::unique_ptr<AVFormatContext, CloseInput>;

// Throws df::Error where FFmpeg does not know the content. The file may not send the reader to other files. What the container does not say
// of its streams is found out from their first packets, unless `known`: the file was looked through before.
Input open_input(const std::filesystem::path& path, bool known = false);

// The stream that a player would show: neither cover pictures nor thumbnails; marked as default, then the largest, then the first.
// -1 where there is none.
int video_stream(const AVFormatContext& format);

class Packets {
 public:
  explicit Packets(std::filesystem::path path, bool known = false);
  const std::filesystem::path& path() const { return path_; }
  AVFormatContext& format() const { return *format_; }
  AVStream& stream() const { return *format_->streams[stream_]; }

  // nullptr at the end of the file, also of one that was cut off. It lives until the next call.
  AVPacket* next();
  int64_t position() const { return position_; }  // number of the packet that next() gives
  void rewind();
  // Afterwards next() gives the packet of restarts[wanted], or of an earlier one. False where the file does not lead there: then rewind().
  bool seek(const std::vector<VideoIndex::Restart>& restarts, size_t wanted);

 private:
  bool fetch();

  std::filesystem::path path_;
  Input format_;
  Packet packet_;
  bool known_ = false;
  int stream_ = -1;
  int64_t position_ = 0;
  bool fetched_ = false;  // packet_ is what next() gives
};

}  // namespace df::media
