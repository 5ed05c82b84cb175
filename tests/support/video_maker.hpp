// SPDX-License-Identifier: MIT
// Video files of every kind that people have, made by FFmpeg's libraries for the tests that read them.
#pragma once

#include <array>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <string>
#include <vector>

namespace df::test {

struct VideoRecipe {
  std::string codec = "libx264";  // FFmpeg's name of the encoder
  std::string pixels = "yuv420p";
  std::string options = "crf=12";  // of the encoder, key=value:key=value
  std::string format = {};         // FFmpeg's name of the container; empty: by the path's ending
  int64_t height = 48, width = 64;
  std::vector<int64_t> times = {};  // milliseconds at which each frame is shown; those below 0 are cut off by an edit list
  int ticks = 1000;                 // a second: what the encoder counts time in
  int gop = 12, b_frames = 0;
  std::string matrix = {};  // bt709, smpte170m; empty: the file does not say, and it is smpte170m
  bool full_range = false;  // marked so
  std::array<int, 2> pixel_aspect{1, 1};
  std::array<int, 4> shown{1, 0, 0, 1};  // a, b, c, d: a stored point (x, y) is shown at (a x + c y, b x + d y)
  bool sound = false;                    // a track of silence that lasts a second longer
  bool cover = false;                    // a cover picture beside the video
};

// Times of frames at an even rate.
std::vector<int64_t> even_times(int64_t frames, int64_t milliseconds_a_frame);

bool has_encoder(const std::string& name);

// `picture(n)` gives frame n as RGB [height, width, 3].
void make_video(const std::filesystem::path& path, const VideoRecipe& recipe, const std::function<std::vector<uint8_t>(int64_t)>& picture);

// A picture that says its number (0 .. 255) as two greys, and the number that a picture shows, however it was scaled.
std::vector<uint8_t> numbered_picture(int64_t number, int64_t height = 48, int64_t width = 64);
int64_t number_shown(const uint8_t* rgb, int64_t height, int64_t width);

}  // namespace df::test
