// SPDX-License-Identifier: MIT
#include "media/ffmpeg_sink.hpp"

#include <fmt/format.h>

#include <array>
#include <cstring>
#include <utility>
#include <vector>

#include "diffusion_forcing/core/error.hpp"
#include "media/ffmpeg.hpp"

namespace df::media {

namespace {

struct CloseOutput {
  void operator()(AVFormatContext* format) const {
    avio_closep(&format->pb);
    avformat_free_context(format);
  }
};
using Output = std::unique_ptr<AVFormatContext, CloseOutput>;

// An mp4 file that browsers play: 4:2:0, BT.709 as marked, the table of contents in front. Frame n is shown at n / fps exactly.
class Mp4 final : public FrameSink {
 public:
  Mp4(const std::filesystem::path& path, std::string name, double fps, int64_t height, int64_t width)
      : name_(std::move(name)), height_(height), width_(width), packet_(av_packet_alloc()), frame_(av_frame_alloc()) {
    AVFormatContext* format = nullptr;
    expect(avformat_alloc_output_context2(&format, nullptr, "mp4", file_url(path).c_str()));
    format_.reset(format);
    if (!packet_ || !frame_) throw Error(name_ + ": no memory to write it");
    open_codec(fps);
    AVStream* stream = avformat_new_stream(format, nullptr);
    if (!stream) throw Error(name_ + ": no memory to write it");
    stream->time_base = codec_->time_base;
    stream->avg_frame_rate = codec_->framerate;
    expect(avcodec_parameters_from_context(stream->codecpar, codec_.get()));
    expect(avio_open(&format->pb, file_url(path).c_str(), AVIO_FLAG_WRITE));
    AVDictionary* options = nullptr;
    av_dict_set(&options, "movflags", "+faststart", 0);
    const int started = avformat_write_header(format, &options);
    av_dict_free(&options);
    expect(started);
    open_frame();
  }

  void write(const uint8_t* rgb) override {
    expect(av_frame_make_writable(frame_.get()));
    pad(rgb);
    const uint8_t* planes[4] = {rows_.data(), nullptr, nullptr, nullptr};
    const int strides[4] = {3 * codec_->width, 0, 0, 0};
    sws_scale(scaler_.get(), planes, strides, 0, codec_->height, frame_->data, frame_->linesize);
    frame_->pts = written_++;
    encode(frame_.get());
  }

  void close() override {
    encode(nullptr);
    expect(av_write_trailer(format_.get()));
    expect(avio_closep(&format_->pb));
    if (muxed_ != written_)
      throw Error(fmt::format("{}: cannot be written: expected {} frames in the file, got {}", name_, written_, muxed_));
  }

  std::string codec() const override { return codec_->codec_id == AV_CODEC_ID_H264 ? "H.264" : "MPEG-4"; }

 private:
  void expect(int code) const {
    if (code < 0) throw Error(fmt::format("{}: cannot be written: {}", name_, ffmpeg_error(code)));
  }

  void open_codec(double fps) {
    const AVRational rate = av_d2q(fps, 1001000);
    for (const char* encoder_name : {"libx264", "libopenh264", "mpeg4"}) {
      const AVCodec* encoder = avcodec_find_encoder_by_name(encoder_name);
      if (!encoder) continue;
      codec_.reset(avcodec_alloc_context3(encoder));
      if (!codec_) throw Error(name_ + ": no memory to write it");
      codec_->width = static_cast<int>(width_ + width_ % 2);  // 4:2:0 needs even sizes
      codec_->height = static_cast<int>(height_ + height_ % 2);
      codec_->pix_fmt = AV_PIX_FMT_YUV420P;
      codec_->time_base = av_inv_q(rate);
      codec_->framerate = rate;
      codec_->color_range = AVCOL_RANGE_MPEG;
      codec_->colorspace = AVCOL_SPC_BT709;
      codec_->color_primaries = AVCOL_PRI_BT709;
      codec_->color_trc = AVCOL_TRC_BT709;
      codec_->sample_aspect_ratio = {1, 1};
      codec_->thread_count = 1;  // the model has the others
      if (format_->oformat->flags & AVFMT_GLOBALHEADER) codec_->flags |= AV_CODEC_FLAG_GLOBAL_HEADER;
      if (encoder->id == AV_CODEC_ID_MPEG4) codec_->flags |= AV_CODEC_FLAG_QSCALE, codec_->global_quality = 2 * FF_QP2LAMBDA;
      AVDictionary* options = nullptr;
      if (std::strcmp(encoder_name, "libx264") == 0) av_dict_set(&options, "crf", "18", 0);
      const int opened = avcodec_open2(codec_.get(), encoder, &options);
      av_dict_free(&options);
      if (opened >= 0) return;
    }
    throw Error(fmt::format("{}: cannot be written: this FFmpeg opens no H.264 or MPEG-4 encoder for {} x {} at {} frames/s", name_, width_,
                            height_, fps));
  }

  void open_frame() {
    frame_->format = codec_->pix_fmt;
    frame_->width = codec_->width;
    frame_->height = codec_->height;
    frame_->color_range = codec_->color_range;
    frame_->colorspace = codec_->colorspace;
    expect(av_frame_get_buffer(frame_.get(), 0));
    scaler_.reset(sws_getContext(codec_->width, codec_->height, AV_PIX_FMT_RGB24, codec_->width, codec_->height, codec_->pix_fmt,
                                 SWS_BICUBIC | SWS_ACCURATE_RND, nullptr, nullptr, nullptr));
    const int* bt709 = sws_getCoefficients(SWS_CS_ITU709);
    if (!scaler_ || sws_setColorspaceDetails(scaler_.get(), bt709, 1, bt709, 0, 0, 1 << 16, 1 << 16) < 0)
      throw Error(name_ + ": cannot be written: no conversion to 4:2:0");
    rows_.resize(static_cast<size_t>(3 * codec_->width * codec_->height) + 64);
  }

  // The last row and column are doubled where their number is odd.
  void pad(const uint8_t* rgb) {
    const size_t from = static_cast<size_t>(3 * width_), to = static_cast<size_t>(3 * codec_->width);
    for (int64_t y = 0; y < codec_->height; ++y) {
      uint8_t* row = rows_.data() + static_cast<size_t>(y) * to;
      std::memcpy(row, rgb + static_cast<size_t>(std::min(y, height_ - 1)) * from, from);
      if (to > from) std::memcpy(row + from, row + from - 3, 3);
    }
  }

  void encode(const AVFrame* frame) {
    expect(avcodec_send_frame(codec_.get(), frame));
    AVStream& stream = *format_->streams[0];
    while (true) {
      const int received = avcodec_receive_packet(codec_.get(), packet_.get());
      if (received == AVERROR(EAGAIN) || received == AVERROR_EOF) return;
      expect(received);
      packet_->stream_index = 0;
      packet_->duration = 1;
      av_packet_rescale_ts(packet_.get(), codec_->time_base, stream.time_base);
      expect(av_interleaved_write_frame(format_.get(), packet_.get()));
      ++muxed_;
    }
  }

  std::string name_;
  int64_t height_, width_, written_ = 0, muxed_ = 0;
  Output format_;
  Codec codec_;
  Packet packet_;
  Frame frame_;
  Scaler scaler_;
  std::vector<uint8_t> rows_;
};

}  // namespace

std::unique_ptr<FrameSink> open_sink(const std::filesystem::path& path, const std::string& name, double fps, int64_t height,
                                     int64_t width) {
  return std::make_unique<Mp4>(path, name, fps, height, width);
}

}  // namespace df::media
