// SPDX-License-Identifier: MIT
#include "media/ffmpeg_index.hpp"

#include <algorithm>
#include <cmath>
#include <numeric>
#include <string_view>
#include <utility>

#include "diffusion_forcing/core/error.hpp"
#include "media/ffmpeg_decoder.hpp"

namespace df::media {

namespace {

// Containers in which a packet is a frame and says when it is shown. In others the decoder is asked.
bool says_frames(const Packets& packets) {
  const std::string_view name = packets.format().iformat->name;
  for (const std::string_view known : {"mov,mp4", "matroska", "gif", "flv", "apng", "nut"})
    if (name.find(known) != std::string_view::npos) return true;
  const AVCodecDescriptor* codec = avcodec_descriptor_get(packets.stream().codecpar->codec_id);
  return name == "avi" && codec && (codec->props & AV_CODEC_PROP_INTRA_ONLY) != 0;
}

// Frames of VP8 and VP9 that are only for other frames to refer to.
bool is_reference_only(AVCodecID codec, const AVPacket& packet) {
  if (packet.size < 1) return false;
  if (codec == AV_CODEC_ID_VP8) return (packet.data[0] & 0x10) == 0;
  if (codec != AV_CODEC_ID_VP9) return false;
  if ((packet.data[packet.size - 1] & 0xE0) == 0xC0) return false;  // several frames in one packet: the last one is shown
  const int bits = packet.data[0] << 8 | (packet.size > 1 ? packet.data[1] : 0);
  const int profile = (bits >> 13 & 1) | (bits >> 12 & 1) << 1;
  const int shift = profile == 3 ? 10 : 11;  // of show_existing_frame; frame_type and show_frame follow
  return (bits >> shift & 1) == 0 && (bits >> (shift - 2) & 1) == 0;
}

struct Listed {
  std::vector<int64_t> pts, dts;  // of each packet; AV_NOPTS_VALUE where the file does not say
  std::vector<char> is_shown;
  std::vector<VideoIndex::Restart> restarts;
  int64_t last_duration = 0;
  bool certain = true;  // what is shown when is known without decoding
};

Listed list_packets(Packets& packets) {
  Listed listed;
  listed.certain = says_frames(packets);
  const AVCodecID codec = packets.stream().codecpar->codec_id;
  int64_t latest = AV_NOPTS_VALUE;
  while (const AVPacket* packet = packets.next()) {
    const int64_t number = packets.position() - 1;
    const bool shown = !(packet->flags & AV_PKT_FLAG_DISCARD) && !is_reference_only(codec, *packet);
    listed.pts.push_back(packet->pts);
    listed.dts.push_back(packet->dts);
    listed.is_shown.push_back(shown);
    const bool key = (packet->flags & AV_PKT_FLAG_KEY) != 0;
    if (number == 0 && !key) listed.certain = false;
    // A packet that the file does not tell from others cannot be found again.
    if (key && (packet->pos >= 0 || packet->pts != AV_NOPTS_VALUE))
      listed.restarts.push_back({number, packet->pts, packet->dts, packet->pos, packet->size});
    if (packet->flags & AV_PKT_FLAG_CORRUPT || packet->size == 0) listed.certain = false;
    if (shown && (packet->pts == AV_NOPTS_VALUE || packet->pts < listed.pts[0])) listed.certain = false;  // e.g. refers to cut-off frames
    if (shown && packet->pts != AV_NOPTS_VALUE && packet->pts >= latest) {
      latest = packet->pts;
      listed.last_duration = packet->duration;
    }
  }
  return listed;
}

std::vector<int32_t> sorted_by_time(const Listed& listed) {
  std::vector<int32_t> shown;
  for (size_t i = 0; i < listed.pts.size(); ++i)
    if (listed.is_shown[i]) shown.push_back(static_cast<int32_t>(i));
  std::stable_sort(shown.begin(), shown.end(),
                   [&](int32_t a, int32_t b) { return listed.pts[static_cast<size_t>(a)] < listed.pts[static_cast<size_t>(b)]; });
  return shown;
}

// Packets of the frames that the decoder gives, in its order.
std::vector<int32_t> decoded_order(Packets& packets, size_t count) {
  packets.rewind();
  Decoder decoder(packets, 1);
  const Frame frame(av_frame_alloc());
  std::vector<int32_t> shown;
  std::vector<char> seen(count);
  while (decoder.next(*frame, [](int64_t) { return true; })) {
    if (frame->pts < 0 || frame->pts >= static_cast<int64_t>(count) || std::exchange(seen[static_cast<size_t>(frame->pts)], 1)) continue;
    shown.push_back(static_cast<int32_t>(frame->pts));
  }
  return shown;
}

// Times that rise from frame to frame: the packets' own where they do, else those at which the decoder wanted them, in order.
std::vector<int64_t> rising_times(const Listed& listed, const std::vector<int32_t>& shown) {
  const auto taken = [&](const std::vector<int64_t>& of_packet) {
    std::vector<int64_t> times;
    for (const int32_t packet : shown) times.push_back(of_packet[static_cast<size_t>(packet)]);
    return times;
  };
  const auto rise = [](const std::vector<int64_t>& times) {
    return std::find(times.begin(), times.end(), AV_NOPTS_VALUE) == times.end() &&
           std::adjacent_find(times.begin(), times.end(), std::greater_equal<>()) == times.end();
  };
  if (std::vector<int64_t> times = taken(listed.pts); rise(times)) return times;
  std::vector<int64_t> times = taken(listed.dts);
  std::sort(times.begin(), times.end());
  return rise(times) ? times : std::vector<int64_t>();
}

double measured_rate(const VideoIndex& index, const AVStream& stream) {
  const double stated = av_q2d(stream.avg_frame_rate.den ? stream.avg_frame_rate : AVRational{0, 1});
  const double seconds = index.seconds(index.frames() - 1);
  if (index.frames() < 2 || seconds <= 0) return stated;
  const double rate = static_cast<double>(index.frames() - 1) / seconds;
  return std::abs(stated - rate) < 0.005 * rate ? stated : rate;  // times may be rounded to milliseconds
}

}  // namespace

VideoIndex index_packets(const std::filesystem::path& path) {
  Packets packets(path);
  VideoIndex index;
  index.stream = packets.stream().index;
  index.reorder = packets.stream().codecpar->video_delay;
  index.tick_num = packets.stream().time_base.num;
  index.tick_den = packets.stream().time_base.den;
  Listed listed = list_packets(packets);
  index.shown = sorted_by_time(listed);
  std::vector<int64_t> times = rising_times(listed, index.shown);
  if (!listed.certain || times.empty()) {
    index.shown = decoded_order(packets, listed.pts.size());
    times = rising_times(listed, index.shown);
  }
  if (index.shown.empty()) throw Error(path.string() + ": expected a video, but no frame can be decoded");
  if (times.empty()) {  // no usable times at all: the stated rate
    const AVRational rate = packets.stream().avg_frame_rate.num > 0 ? packets.stream().avg_frame_rate : packets.stream().r_frame_rate;
    index.tick_num = rate.num > 0 ? rate.den : 1;
    index.tick_den = rate.num > 0 ? rate.num : 25;
    times.resize(index.shown.size());
    std::iota(times.begin(), times.end(), 0);
    listed.last_duration = 1;
  }
  index.times.assign(listed.pts.size(), VideoIndex::hidden);
  for (size_t i = 0; i < times.size(); ++i) index.times[static_cast<size_t>(index.shown[i])] = times[i];
  index.restarts = std::move(listed.restarts);
  index.fps = measured_rate(index, packets.stream());
  const double usual = index.fps > 0 ? 1 / (index.fps * index.seconds_a_tick()) : 1;
  index.end = times.back() + std::max<int64_t>(1, listed.last_duration > 0 ? listed.last_duration : std::llround(usual));
  return index;
}

}  // namespace df::media
