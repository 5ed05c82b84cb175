// SPDX-License-Identifier: MIT
#include "media/ffmpeg_source.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <optional>
#include <utility>

#include "diffusion_forcing/core/error.hpp"
#include "media/ffmpeg_decoder.hpp"
#include "media/ffmpeg_index.hpp"
#include "media/ffmpeg_picture.hpp"

namespace df::media {

namespace {

// A frame comes from decoding on from a restart that follows from its number alone, so that it is the same whatever was read before.
class Source final : public FrameSource {
 public:
  Source(const std::filesystem::path& path, std::shared_ptr<const VideoIndex> index, int threads)
      : index_(std::move(index)),
        packets_(path, index_->height > 0),
        decoder_(packets_, threads, index_->reorder),
        frame_(av_frame_alloc()),
        held_(av_frame_alloc()),
        before_(av_frame_alloc()) {
    if (!frame_ || !held_ || !before_) throw Error(name() + ": no memory to read it");
    if (packets_.stream().index != index_->stream) throw Error(name() + ": has changed since it was looked through");
  }
  int64_t frames() const override { return index_->frames(); }
  int64_t height() const override { return index_->height; }
  int64_t width() const override { return index_->width; }

  bool read(int64_t frame, uint8_t* rgb) override {
    if (frame < 0 || frame >= index_->frames())
      throw Error(fmt::format("{}: frame {}: the file has only {}", name(), frame, index_->frames()));
    const int64_t packet = index_->shown[static_cast<size_t>(frame)];
    const AVFrame& picture = picture_of(packet);
    if (!pictures_) pictures_.emplace(packets_.stream(), index_->height, index_->width);
    try {
      pictures_->convert(picture, rgb);
    } catch (const std::runtime_error& error) {
      throw Error(fmt::format("{}: frame {}: {}", name(), frame, error.what()));
    }
    return picture.pts == packet;
  }

  // [height, width] as shown; later pictures of another size are scaled to that of the first.
  std::pair<int64_t, int64_t> size() {
    return shown_size(packets_.format(), packets_.stream(), const_cast<AVFrame&>(picture_of(index_->shown[0])));
  }

 private:
  static constexpr size_t kStart = SIZE_MAX;  // in place of a restart: the beginning of the file
  static constexpr int64_t kNear = 12;        // packets: reading on costs no more than a seek
  static constexpr int kTries = 3;            // restarts from which a picture that does not come is tried

  std::string name() const { return packets_.path().string(); }
  int64_t time(int64_t packet) const { return index_->times[static_cast<size_t>(packet)]; }
  int64_t packet_of(size_t restart) const { return restart == kStart ? 0 : index_->restarts[restart].packet; }

  // The last restart whose own picture is not shown after that of the packet: what is shown before it may need what it does not have.
  size_t restart_before(int64_t packet) const {
    const auto& all = index_->restarts;
    const auto is_after = [&](const VideoIndex::Restart& restart) {
      const int64_t shown = time(restart.packet) == VideoIndex::hidden ? restart.pts : time(restart.packet);
      return shown != AV_NOPTS_VALUE && shown > time(packet);
    };
    auto next = std::upper_bound(all.begin(), all.end(), packet, [](int64_t p, const auto& restart) { return p < restart.packet; });
    while (next != all.begin() && is_after(*std::prev(next))) --next;
    return next == all.begin() ? kStart : static_cast<size_t>(next - all.begin()) - 1;
  }

  // True where decoding on gives the picture, and a seek would not be faster.
  bool is_ahead(int64_t packet, size_t restart) const {
    return going_ && began_ <= packet_of(restart) && packets_.position() + kNear >= packet_of(restart) &&
           (held_packet_ < 0 || time(held_packet_) < time(packet));
  }

  void go(size_t restart) {
    going_ = complete_ = true;
    held_packet_ = before_packet_ = -1;
    if (restart == kStart || !packets_.seek(index_->restarts, restart)) packets_.rewind();
    began_ = packets_.position();
    decoder_.flush();
  }

  // Decodes until the picture of `packet` is in held_. False where a later one (now in held_) or the end comes instead. Pictures on the
  // way that no other refers to are passed over, unless `all` are asked for: then before_ is the last one before the wanted.
  bool run(int64_t packet, bool all) {
    complete_ &= all;
    const auto wanted = [&](int64_t number) { return all || number >= count() || time(number) >= time(packet); };
    while (true) {
      if (held_packet_ >= 0) {
        std::swap(before_, held_);
        before_packet_ = std::exchange(held_packet_, -1);
      }
      if (!decoder_.next(*frame_, wanted)) return going_ = false;
      if (frame_->pts < 0 || frame_->pts >= count() || time(frame_->pts) == VideoIndex::hidden) continue;
      std::swap(frame_, held_);
      held_packet_ = held_->pts;
      if (held_packet_ == packet) return true;
      if (time(held_packet_) > time(packet)) return false;
    }
  }

  // Where the picture cannot be decoded: the last one before it that can, or else the first one that can.
  const AVFrame& picture_of(int64_t packet) {
    if (held_packet_ == packet && !decoder_.damaged()) return *held_;
    size_t restart = restart_before(packet);
    if (!is_ahead(packet, restart)) go(restart);
    // What a decoder guesses depends on every picture since it started: it starts at the restart and leaves none out.
    const bool came = run(packet, decoder_.damaged() && complete_);
    if (came && (!decoder_.damaged() || (complete_ && began_ == packet_of(restart)))) return *held_;
    for (int tries = 1;; ++tries) {
      go(restart);
      if (run(packet, true)) return *held_;
      if (before_packet_ >= 0 && (tries >= kTries || restart == kStart)) return *before_;
      if (restart == kStart && held_packet_ < 0) throw Error(name() + ": expected a video, but no frame can be decoded");
      if (restart == kStart) return *held_;
      restart = restart == 0 ? kStart : restart - 1;
    }
  }

  int64_t count() const { return static_cast<int64_t>(index_->times.size()); }

  std::shared_ptr<const VideoIndex> index_;
  Packets packets_;
  Decoder decoder_;
  Frame frame_, held_, before_;
  int64_t held_packet_ = -1, before_packet_ = -1;  // -1: none
  std::optional<Pictures> pictures_;
  int64_t began_ = 0;  // packet from which the decoder goes on
  bool going_ = true;
  bool complete_ = true;  // every picture since was decoded
};

}  // namespace

std::unique_ptr<FrameSource> open_source(const std::filesystem::path& path, std::shared_ptr<const VideoIndex> index, int threads) {
  return std::make_unique<Source>(path, std::move(index), threads);
}

VideoIndex make_index(const std::filesystem::path& path) {
  auto index = std::make_shared<VideoIndex>(index_packets(path));
  std::tie(index->height, index->width) = Source(path, index, 1).size();
  return std::move(*index);
}

}  // namespace df::media
