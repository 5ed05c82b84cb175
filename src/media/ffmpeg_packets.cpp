// SPDX-License-Identifier: MIT
#include "media/ffmpeg_packets.hpp"

#include <fmt/format.h>

#include <string_view>
#include <tuple>
#include <utility>

#include "diffusion_forcing/core/error.hpp"

namespace df::media {

namespace {

namespace fs = std::filesystem;

// Playlists and the like name other files, perhaps of other machines: only the file itself is opened.
int open_only_itself(AVFormatContext* format, AVIOContext** io, const char* url, int flags, AVDictionary** options) {
  if (format->pb) return AVERROR(EPERM);
  return avio_open2(io, url, flags, &format->interrupt_callback, options);
}

// Containers whose header says all that decoding needs.
bool is_self_contained(const AVFormatContext& format) {
  const std::string_view name = format.iformat->name;
  return name.find("mov,mp4") != std::string_view::npos || name.find("matroska") != std::string_view::npos;
}

bool says_pts(const AVFormatContext& format) {
  const std::string_view name = format.iformat->name;
  return name.find("matroska") != std::string_view::npos || name == "ogg";
}

}  // namespace

Input open_input(const fs::path& path, bool known) {
  if (!fs::exists(path)) throw Error(path.string() + ": no such file");
  if (!fs::is_regular_file(path)) throw Error(path.string() + ": expected a video file, got a folder or device");
  AVFormatContext* format = avformat_alloc_context();
  if (!format) throw Error(path.string() + ": no memory to open it");
  format->io_open = open_only_itself;
  AVDictionary* options = nullptr;
  av_dict_set(&options, "protocol_whitelist", "file", 0);
  const int opened = avformat_open_input(&format, file_url(path).c_str(), nullptr, &options);  // frees the context where it fails
  av_dict_free(&options);
  if (opened < 0) throw Error(fmt::format("{}: expected a video that FFmpeg can open, got: {}", path.string(), ffmpeg_error(opened)));
  Input input(format);
  if (known && is_self_contained(*format)) return input;
  if (const int found = avformat_find_stream_info(format, nullptr); found < 0)
    throw Error(fmt::format("{}: expected a video that FFmpeg can open, got: {}", path.string(), ffmpeg_error(found)));
  return input;
}

int video_stream(const AVFormatContext& format) {
  int best = -1;
  std::tuple<bool, int64_t> best_rank;
  for (unsigned i = 0; i < format.nb_streams; ++i) {
    const AVStream& stream = *format.streams[i];
    if (stream.codecpar->codec_type != AVMEDIA_TYPE_VIDEO) continue;
    if (stream.disposition & (AV_DISPOSITION_ATTACHED_PIC | AV_DISPOSITION_TIMED_THUMBNAILS)) continue;
    const std::tuple rank{(stream.disposition & AV_DISPOSITION_DEFAULT) != 0,
                          static_cast<int64_t>(stream.codecpar->width) * stream.codecpar->height};
    if (best >= 0 && rank <= best_rank) continue;
    best = static_cast<int>(i);
    best_rank = rank;
  }
  return best;
}

Packets::Packets(fs::path path, bool known) : path_(std::move(path)), packet_(av_packet_alloc()), known_(known) {
  if (!packet_) throw Error(path_.string() + ": no memory to read it");
  rewind();
}

void Packets::rewind() {
  av_packet_unref(packet_.get());
  format_.reset();  // before the file is opened again
  format_ = open_input(path_, known_);
  stream_ = video_stream(*format_);
  if (stream_ < 0) throw Error(path_.string() + ": expected a video, got a file without moving pictures");
  for (unsigned i = 0; i < format_->nb_streams; ++i)
    if (static_cast<int>(i) != stream_) format_->streams[i]->discard = AVDISCARD_ALL;
  position_ = 0;
  fetched_ = false;
}

bool Packets::fetch() {
  int code = 0;
  do {
    av_packet_unref(packet_.get());
    code = av_read_frame(format_.get(), packet_.get());
  } while (code == AVERROR(EAGAIN) || (code >= 0 && packet_->stream_index != stream_));
  if (code >= 0) return true;
  if (const int failed = format_->pb ? format_->pb->error : 0; failed < 0 && failed != AVERROR_EOF)
    throw Error(fmt::format("{}: cannot be read: {}", path_.string(), ffmpeg_error(failed)));
  return false;
}

AVPacket* Packets::next() {
  if (!fetched_ && !fetch()) return nullptr;
  fetched_ = false;
  ++position_;
  return packet_.get();
}

bool Packets::seek(const std::vector<VideoIndex::Restart>& restarts, size_t wanted) {
  const VideoIndex::Restart& to = restarts[wanted];
  const bool by_pts = to.pts != AV_NOPTS_VALUE && (to.dts == AV_NOPTS_VALUE || says_pts(*format_));
  const int64_t time = by_pts ? to.pts : to.dts;
  if (time == AV_NOPTS_VALUE || av_seek_frame(format_.get(), stream_, time, AVSEEK_FLAG_BACKWARD) < 0) return false;
  fetched_ = false;
  while (fetch()) {
    if (!(packet_->flags & AV_PKT_FLAG_KEY)) continue;
    // The packet tells where the file has led to.
    for (size_t i = wanted + 1; i-- > 0;)
      if (restarts[i].position == packet_->pos && restarts[i].size == packet_->size && restarts[i].pts == packet_->pts) {
        position_ = restarts[i].packet;
        fetched_ = true;
        return true;
      }
    return false;
  }
  return false;
}

}  // namespace df::media
