// SPDX-License-Identifier: MIT
// Pictures out of packets, each with the number of the packet that it came from. Private to libdiffusion_forcing_video.
#pragma once

#include <functional>

#include "media/ffmpeg_packets.hpp"

namespace df::media {

class Decoder {
 public:
  // Throws df::Error where FFmpeg has no decoder for the stream. `packets` outlives this.
  // `reorder`: as an index says; -1: as the stream says.
  Decoder(Packets& packets, int threads, int64_t reorder = -1);
  // The next picture in the order in which they are shown; its pts is the number of its packet. False at the end. Packets that cannot be
  // decoded are passed over. `wanted(packet)` says whether its picture will be looked at; others need not come.
  bool next(AVFrame& frame, const std::function<bool(int64_t)>& wanted);
  void flush();  // after packets went elsewhere
  // True where something since the last flush could not be decoded or was guessed: such pictures depend on all that came before them.
  bool damaged() const { return damaged_; }

 private:
  Packets& packets_;
  Codec codec_;
  bool ended_ = false, damaged_ = false;
};

}  // namespace df::media
