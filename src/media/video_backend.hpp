// SPDX-License-Identifier: MIT
// What libdiffusion_forcing_video (FFmpeg's libraries) does for the core, in plain numbers and bytes.
#pragma once

#include <cstdint>
#include <filesystem>
#include <limits>
#include <memory>
#include <string>
#include <vector>

namespace df::media {

// What reading needs to know of a video file. It is made once a file, from its packets. Frames are numbered in the order in which a player
// shows them, packets in the order in which they lie in the file. Times are in ticks.
struct VideoIndex {
  static constexpr int64_t hidden = std::numeric_limits<int64_t>::min();
  // A packet from which decoding can start, and what the file says of it. The file is looked up by these.
  struct Restart {
    int64_t packet = 0, pts = 0, dts = 0, position = 0, size = 0;
  };

  int64_t height = 0, width = 0;       // of a picture as it is shown: upright, with square pixels
  double fps = 0;                      // on average
  int64_t stream = 0;                  // of the file's streams
  int64_t reorder = 0;                 // frames that the decoder holds back at most, to give them in order
  int64_t tick_num = 1, tick_den = 1;  // seconds a tick
  int64_t end = 0;                     // time at which the last frame gives way
  std::vector<int64_t> times;          // of each packet's picture; `hidden` where it has none that is shown
  std::vector<int32_t> shown;          // packet of each frame
  std::vector<Restart> restarts;       // sorted by packet

  int64_t frames() const { return static_cast<int64_t>(shown.size()); }
  int64_t time(int64_t frame) const { return times[static_cast<size_t>(shown[static_cast<size_t>(frame)])]; }
  double seconds_a_tick() const { return static_cast<double>(tick_num) / static_cast<double>(tick_den); }
  // Since the first frame.
  double seconds(int64_t frame) const { return static_cast<double>(time(frame) - time(0)) * seconds_a_tick(); }
  double duration() const { return static_cast<double>(end - time(0)) * seconds_a_tick(); }
};

// Frames of one video by number. One thread at a time.
class FrameSource {
 public:
  virtual ~FrameSource() = default;
  virtual int64_t frames() const = 0;
  virtual int64_t height() const = 0;
  virtual int64_t width() const = 0;
  // Into [height, width, 3]. The same bytes whatever was read before. In place of a frame that cannot be decoded: the one before it, as a
  // player does; false then.
  virtual bool read(int64_t frame, uint8_t* rgb) = 0;
};

class FrameSink {
 public:
  virtual ~FrameSink() = default;              // without close(): the file is not whole
  virtual void write(const uint8_t* rgb) = 0;  // [height, width, 3]
  virtual void close() = 0;                    // throws where the file does not hold every frame
  virtual std::string codec() const = 0;
};

// All throw df::Error; `name` is what messages call the file. Any thread may call.
class VideoBackend {
 public:
  virtual ~VideoBackend() = default;
  // Changes whenever another index could come out for the same file.
  virtual std::string version() = 0;
  // True where FFmpeg finds moving pictures in the file.
  virtual bool is_video(const std::filesystem::path& path) = 0;
  virtual VideoIndex make_index(const std::filesystem::path& path) = 0;
  virtual std::unique_ptr<FrameSource> open(const std::filesystem::path& path, std::shared_ptr<const VideoIndex> index,
                                            int64_t threads) = 0;
  virtual std::unique_ptr<FrameSink> create_mp4(const std::filesystem::path& path, const std::string& name, double fps, int64_t height,
                                                int64_t width) = 0;
};

// Threads of one decoder: some of the processors that this process may use, so that several readers find room.
int64_t decoder_threads();

// The library, loaded on first use. Throws df::Error with the loader's message.
VideoBackend& video_backend();

inline constexpr const char* kVideoBackendSymbol = "df_video_backend";
using GetVideoBackend = VideoBackend* (*)();

}  // namespace df::media
