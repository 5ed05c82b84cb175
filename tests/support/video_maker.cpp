// SPDX-License-Identifier: MIT
#include "support/video_maker.hpp"

extern "C" {
#include <libavcodec/avcodec.h>
#include <libavformat/avformat.h>
#include <libavutil/opt.h>
#include <libavutil/pixdesc.h>
#include <libswscale/swscale.h>
}

#include <cmath>
#include <cstring>
#include <stdexcept>

namespace df::test {

namespace {

int expect(int code) {
  if (code >= 0) return code;
  char text[AV_ERROR_MAX_STRING_SIZE] = {};
  av_strerror(code, text, sizeof(text));
  throw std::runtime_error(std::string("video maker: ") + text);
}

class Maker {
 public:
  Maker(const std::filesystem::path& path, const VideoRecipe& recipe) : recipe_(recipe) {
    expect(avformat_alloc_output_context2(&format_, nullptr, recipe.format.empty() ? nullptr : recipe.format.c_str(), path.c_str()));
    format_->avoid_negative_ts = AVFMT_AVOID_NEG_TS_DISABLED;
    open_video();
    if (recipe.sound) open_sound();
    if (recipe.cover) open_cover();
    expect(avio_open(&format_->pb, ("file:" + path.string()).c_str(), AVIO_FLAG_WRITE));
    expect(avformat_write_header(format_, nullptr));
    packet_ = av_packet_alloc();
  }
  ~Maker() {
    av_packet_free(&packet_);
    av_frame_free(&frame_);
    sws_freeContext(scaler_);
    avcodec_free_context(&video_);
    avcodec_free_context(&sound_);
    avio_closep(&format_->pb);
    avformat_free_context(format_);
  }

  void write(int64_t n, const std::vector<uint8_t>& rgb) {
    const uint8_t* planes[4] = {rgb.data(), nullptr, nullptr, nullptr};
    const int strides[4] = {static_cast<int>(3 * recipe_.width), 0, 0, 0};
    expect(av_frame_make_writable(frame_));
    sws_scale(scaler_, planes, strides, 0, video_->height, frame_->data, frame_->linesize);
    frame_->pts = recipe_.times[static_cast<size_t>(n)] * recipe_.ticks / 1000;
    frame_->pict_type = AV_PICTURE_TYPE_NONE;
    encode(video_, frame_, 0);
  }

  void finish() {
    encode(video_, nullptr, 0);
    if (recipe_.sound) write_silence();
    if (recipe_.cover) write_cover();
    expect(av_write_trailer(format_));
  }

 private:
  void open_video() {
    const AVCodec* encoder = avcodec_find_encoder_by_name(recipe_.codec.c_str());
    if (!encoder) throw std::runtime_error("video maker: no encoder " + recipe_.codec);
    video_ = avcodec_alloc_context3(encoder);
    video_->width = static_cast<int>(recipe_.width);
    video_->height = static_cast<int>(recipe_.height);
    video_->pix_fmt = av_get_pix_fmt(recipe_.pixels.c_str());
    video_->time_base = {1, recipe_.ticks};
    video_->framerate = {25, 1};
    video_->gop_size = recipe_.gop;
    video_->max_b_frames = recipe_.b_frames;
    video_->thread_count = 1;
    video_->sample_aspect_ratio = {recipe_.pixel_aspect[0], recipe_.pixel_aspect[1]};
    if (recipe_.full_range) video_->color_range = AVCOL_RANGE_JPEG;
    if (!recipe_.matrix.empty()) video_->colorspace = static_cast<AVColorSpace>(expect(av_color_space_from_name(recipe_.matrix.c_str())));
    if (format_->oformat->flags & AVFMT_GLOBALHEADER) video_->flags |= AV_CODEC_FLAG_GLOBAL_HEADER;
    AVDictionary* options = nullptr;
    expect(av_dict_parse_string(&options, recipe_.options.c_str(), "=", ":", 0));
    expect(avcodec_open2(video_, encoder, &options));
    av_dict_free(&options);
    AVStream* stream = avformat_new_stream(format_, nullptr);
    stream->time_base = video_->time_base;
    stream->sample_aspect_ratio = video_->sample_aspect_ratio;
    stream->disposition = AV_DISPOSITION_DEFAULT;
    expect(avcodec_parameters_from_context(stream->codecpar, video_));
    turn(*stream);

    scaler_ = sws_getContext(video_->width, video_->height, AV_PIX_FMT_RGB24, video_->width, video_->height, video_->pix_fmt,
                             SWS_BICUBIC | SWS_ACCURATE_RND | SWS_FULL_CHR_H_INP, nullptr, nullptr, nullptr);
    const int* table = sws_getCoefficients(recipe_.matrix == "bt709" ? SWS_CS_ITU709 : SWS_CS_ITU601);
    sws_setColorspaceDetails(scaler_, table, 1, table, recipe_.full_range ? 1 : 0, 0, 1 << 16, 1 << 16);
    frame_ = av_frame_alloc();
    frame_->format = video_->pix_fmt;
    frame_->width = video_->width;
    frame_->height = video_->height;
    frame_->color_range = video_->color_range;
    frame_->colorspace = video_->colorspace;
    expect(av_frame_get_buffer(frame_, 0));
  }

  void turn(AVStream& stream) const {
    if (recipe_.shown == std::array<int, 4>{1, 0, 0, 1}) return;
    const auto [a, b, c, d] = recipe_.shown;
    const int32_t one = 1 << 16;
    const int32_t matrix[9] = {a * one, b * one, 0, c * one, d * one, 0, 0, 0, 1 << 30};
    std::memcpy(av_stream_new_side_data(&stream, AV_PKT_DATA_DISPLAYMATRIX, sizeof(matrix)), matrix, sizeof(matrix));
  }

  void open_sound() {
    const AVCodec* encoder = avcodec_find_encoder(AV_CODEC_ID_MP2);
    sound_ = avcodec_alloc_context3(encoder);
    sound_->sample_fmt = AV_SAMPLE_FMT_S16;
    sound_->sample_rate = 48000;
    av_channel_layout_default(&sound_->ch_layout, 1);
    expect(avcodec_open2(sound_, encoder, nullptr));
    AVStream* stream = avformat_new_stream(format_, nullptr);
    stream->time_base = {1, 48000};
    expect(avcodec_parameters_from_context(stream->codecpar, sound_));
  }

  void write_silence() {
    AVFrame* silence = av_frame_alloc();
    silence->format = sound_->sample_fmt;
    silence->sample_rate = sound_->sample_rate;
    silence->nb_samples = sound_->frame_size;
    av_channel_layout_copy(&silence->ch_layout, &sound_->ch_layout);
    expect(av_frame_get_buffer(silence, 0));
    std::memset(silence->data[0], 0, static_cast<size_t>(2 * silence->nb_samples));
    const int64_t last = (recipe_.times.back() + 1000) * 48;
    for (silence->pts = 0; silence->pts < last; silence->pts += silence->nb_samples) encode(sound_, silence, 1);
    encode(sound_, nullptr, 1);
    av_frame_free(&silence);
  }

  void open_cover() {
    AVStream* stream = avformat_new_stream(format_, nullptr);
    stream->codecpar->codec_type = AVMEDIA_TYPE_VIDEO;
    stream->codecpar->codec_id = AV_CODEC_ID_MJPEG;
    stream->codecpar->width = stream->codecpar->height = 256;  // larger than the video
    stream->disposition = AV_DISPOSITION_ATTACHED_PIC;
  }

  void write_cover() {
    const AVCodec* encoder = avcodec_find_encoder(AV_CODEC_ID_MJPEG);
    AVCodecContext* codec = avcodec_alloc_context3(encoder);
    codec->width = codec->height = 256;
    codec->pix_fmt = AV_PIX_FMT_YUVJ420P;
    codec->time_base = {1, 1};
    expect(avcodec_open2(codec, encoder, nullptr));
    AVFrame* frame = av_frame_alloc();
    frame->format = codec->pix_fmt;
    frame->width = frame->height = 256;
    frame->pts = 0;
    expect(av_frame_get_buffer(frame, 0));
    for (int plane = 0; plane < 3; ++plane)
      std::memset(frame->data[plane], 200, static_cast<size_t>(frame->linesize[plane] * (plane == 0 ? 256 : 128)));
    encode(codec, frame, static_cast<int>(format_->nb_streams) - 1);
    av_frame_free(&frame);
    avcodec_free_context(&codec);
  }

  void encode(AVCodecContext* codec, const AVFrame* frame, int stream) {
    expect(avcodec_send_frame(codec, frame));
    while (true) {
      const int received = avcodec_receive_packet(codec, packet_);
      if (received == AVERROR(EAGAIN) || received == AVERROR_EOF) return;
      expect(received);
      packet_->stream_index = stream;
      if (stream == 0 && packet_->duration == 0)
        packet_->duration = (recipe_.times.size() > 1 ? recipe_.times[1] - recipe_.times[0] : 100) * recipe_.ticks / 1000;
      av_packet_rescale_ts(packet_, codec->time_base, format_->streams[stream]->time_base);
      expect(av_interleaved_write_frame(format_, packet_));
    }
  }

  const VideoRecipe& recipe_;
  AVFormatContext* format_ = nullptr;
  AVCodecContext *video_ = nullptr, *sound_ = nullptr;
  SwsContext* scaler_ = nullptr;
  AVFrame* frame_ = nullptr;
  AVPacket* packet_ = nullptr;
};

}  // namespace

std::vector<int64_t> even_times(int64_t frames, int64_t milliseconds_a_frame) {
  std::vector<int64_t> times;
  for (int64_t n = 0; n < frames; ++n) times.push_back(n * milliseconds_a_frame);
  return times;
}

bool has_encoder(const std::string& name) { return avcodec_find_encoder_by_name(name.c_str()) != nullptr; }

void make_video(const std::filesystem::path& path, const VideoRecipe& recipe, const std::function<std::vector<uint8_t>(int64_t)>& picture) {
  av_log_set_level(AV_LOG_QUIET);
  Maker maker(path, recipe);
  for (size_t n = 0; n < recipe.times.size(); ++n) maker.write(static_cast<int64_t>(n), picture(static_cast<int64_t>(n)));
  maker.finish();
}

std::vector<uint8_t> numbered_picture(int64_t number, int64_t height, int64_t width) {
  std::vector<uint8_t> rgb(static_cast<size_t>(height * width * 3));
  for (int64_t y = 0; y < height; ++y)
    for (int64_t x = 0; x < width; ++x)
      std::memset(rgb.data() + 3 * (y * width + x), static_cast<int>(16 + 14 * (x < width / 2 ? number / 16 : number % 16)), 3);
  return rgb;
}

int64_t number_shown(const uint8_t* rgb, int64_t height, int64_t width) {
  const auto level = [&](int64_t x) { return std::lround((rgb[3 * (height / 2 * width + x)] - 16) / 14.0); };
  return level(width / 4) * 16 + level(3 * width / 4);
}

}  // namespace df::test
