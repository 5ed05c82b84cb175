// SPDX-License-Identifier: MIT
#include "media/ffmpeg_decoder.hpp"

#include <fmt/format.h>

#include "diffusion_forcing/core/error.hpp"

namespace df::media {

Decoder::Decoder(Packets& packets, int threads, int64_t reorder) : packets_(packets) {
  const AVCodecParameters& parameters = *packets.stream().codecpar;
  const std::string name = packets.path().string();
  const AVCodec* decoder = avcodec_find_decoder(parameters.codec_id);
  if (!decoder) throw Error(fmt::format("{}: this FFmpeg has no decoder for {}", name, avcodec_get_name(parameters.codec_id)));
  codec_.reset(avcodec_alloc_context3(decoder));
  if (!codec_ || avcodec_parameters_to_context(codec_.get(), &parameters) < 0) throw Error(name + ": no memory to decode it");
  codec_->pkt_timebase = packets.stream().time_base;
  codec_->thread_count = threads;
  if (reorder >= 0) codec_->has_b_frames = static_cast<int>(reorder);
  if (const int opened = avcodec_open2(codec_.get(), decoder, nullptr); opened < 0)
    throw Error(fmt::format("{}: the {} decoder cannot be opened: {}", name, decoder->name, ffmpeg_error(opened)));
}

bool Decoder::next(AVFrame& frame, const std::function<bool(int64_t)>& wanted) {
  constexpr int most_failures = 1000;  // one after another: a decoder that gives nothing else any more
  for (int failures = 0; failures < most_failures;) {
    const int received = avcodec_receive_frame(codec_.get(), &frame);
    if (received >= 0) {
      damaged_ |= frame.decode_error_flags != 0 || (frame.flags & AV_FRAME_FLAG_CORRUPT) != 0;
      return true;
    }
    if (received == AVERROR_EOF) return false;
    if (received != AVERROR(EAGAIN)) {  // a damaged picture
      damaged_ = true;
      ++failures;
      continue;
    }
    if (ended_) return false;
    const int64_t number = packets_.position();
    AVPacket* packet = packets_.next();
    if (packet) {
      packet->pts = number;
      packet->dts = AV_NOPTS_VALUE;
      codec_->skip_frame = wanted(number) ? AVDISCARD_DEFAULT : AVDISCARD_NONREF;
    }
    ended_ = !packet;
    if (avcodec_send_packet(codec_.get(), packet) < 0) damaged_ = true;  // the next one may be whole
  }
  return false;
}

void Decoder::flush() {
  avcodec_flush_buffers(codec_.get());
  ended_ = damaged_ = false;
}

}  // namespace df::media
