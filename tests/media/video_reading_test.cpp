// SPDX-License-Identifier: MIT
// Files of every kind that people have are read as a good player shows them, frame by frame, in any order.
#include <ATen/ATen.h>

#include <fstream>
#include <random>

#include "diffusion_forcing/core/error.hpp"
#include "diffusion_forcing/core/file.hpp"
#include "diffusion_forcing/media/media.hpp"
#include "support/support.hpp"
#include "support/video_maker.hpp"

namespace df {
namespace {

using test::error_of;
using test::even_times;
using test::identical;
using test::VideoRecipe;

int64_t number_of(const Tensor& frame) {  // uint8 [3, H, W]
  const Tensor rows = frame.permute({1, 2, 0}).contiguous();
  return test::number_shown(rows.data_ptr<uint8_t>(), rows.size(0), rows.size(1));
}

Tensor frame_at(VideoReader& reader, int64_t frame) {
  Tensor picture;
  reader.seek(frame);
  EXPECT_TRUE(reader.read(picture)) << "frame " << frame;
  return picture;
}

std::vector<int64_t> all_numbers(VideoReader& reader) {
  std::vector<int64_t> numbers;
  reader.seek(0);
  for (Tensor frame; reader.read(frame);) numbers.push_back(number_of(frame));
  return numbers;
}

std::vector<int64_t> counted(int64_t first, int64_t end) {
  std::vector<int64_t> numbers;
  for (int64_t n = first; n < end; ++n) numbers.push_back(n);
  return numbers;
}

class VideoReading : public ::testing::Test {
 protected:
  void SetUp() override { setenv("XDG_CACHE_HOME", path("caches").c_str(), 1); }
  std::filesystem::path path(const std::string& name) const { return folder_.path() / name; }
  // Frame n shows the number n.
  std::filesystem::path numbered(const std::string& name, VideoRecipe recipe) const {
    if (recipe.times.empty()) recipe.times = even_times(100, 40);
    test::make_video(path(name), recipe, [&](int64_t n) { return test::numbered_picture(n, recipe.height, recipe.width); });
    return path(name);
  }
  // All pixels of the middle frame of a video of one colour.
  Tensor colour_of(const std::string& name, VideoRecipe recipe, std::array<uint8_t, 3> rgb) const {
    recipe.times = even_times(5, 100);
    test::make_video(path(name), recipe, [&](int64_t) {
      std::vector<uint8_t> picture(static_cast<size_t>(3 * recipe.height * recipe.width));
      for (size_t i = 0; i < picture.size(); ++i) picture[i] = rgb[i % 3];
      return picture;
    });
    return frame_at(*open_video(path(name)), 2).to(at::kFloat).mean(std::vector<int64_t>{1, 2});
  }
  test::TemporaryFolder folder_;
};

// B-frames, frames that refer over the start of a group, frames all of their own: whatever was read before, frame n is frame n.
TEST_F(VideoReading, AnyOrderGivesTheSameFrames) {
  const struct {
    const char *name, *codec, *options;
    int b_frames;
  } cases[] = {{"plain.mp4", "libx264", "crf=20", 0},
               {"b_frames.mp4", "libx264", "crf=20", 3},
               {"open.mkv", "libx264", "crf=20:x264-params=open-gop=1", 3},
               {"refresh.mkv", "libx264", "crf=20:intra-refresh=1", 0},
               {"hevc.mp4", "libx265", "x265-params=open-gop=1\\:log-level=none", 3},
               {"old.avi", "mpeg4", "b=2000000", 2},
               {"stream.ts", "libx264", "crf=20", 2},
               {"program.mpg", "mpeg2video", "b=2000000", 2},
               {"vp9.webm", "libvpx-vp9", "cpu-used=8:deadline=realtime", 0},
               {"vp8.webm", "libvpx", "auto-alt-ref=1:lag-in-frames=16:cpu-used=8", 0},
               {"photos.avi", "mjpeg", "", 0}};
  for (const auto& c : cases) {
    if (!test::has_encoder(c.codec)) continue;
    VideoRecipe recipe{.codec = c.codec, .options = c.options, .b_frames = c.b_frames};
    recipe.gop = 30;
    if (std::string(c.codec) == "mjpeg") recipe.pixels = "yuvj420p", recipe.full_range = true;
    if (std::string(c.codec) == "mpeg2video") recipe.ticks = 25;
    const auto file = numbered(c.name, recipe);
    const auto reader = open_video(file);
    std::vector<Tensor> frames;
    for (Tensor frame; reader->read(frame);) frames.push_back(frame);
    ASSERT_EQ(frames.size(), 100) << c.name;
    EXPECT_EQ(all_numbers(*reader), counted(0, 100)) << c.name;
    std::mt19937 random(7);
    for (int fresh = 0; fresh < 3; ++fresh) {
      const auto other = open_video(file);
      for (int i = 0; i < 25; ++i) {
        const auto n = static_cast<int64_t>(random() % 97);
        EXPECT_TRUE(identical(frame_at(*other, n), frames[n])) << c.name << " frame " << n;
        Tensor next;
        if (i % 3 != 0 || !other->read(next)) continue;
        EXPECT_TRUE(identical(next, frames[n + 1])) << c.name << " frame after " << n;
      }
    }
  }
}

TEST_F(VideoReading, FramesAreThoseThatAreThereWhateverTheContainerPromises) {
  VideoRecipe gap;
  gap.times = even_times(200, 40);
  gap.times.erase(gap.times.begin() + 100, gap.times.begin() + 110);  // ten frames were dropped
  const auto file = numbered("gap.mp4", gap);
  std::filesystem::copy_file(file, path("gap.webm"));  // the ending says nothing
  for (const auto& name : {file, path("gap.webm")}) {
    const auto reader = open_video(name);
    EXPECT_EQ(reader->frames(), 190);
    EXPECT_EQ(number_of(frame_at(*reader, 150)), 150);
    EXPECT_NEAR(reader->seconds(99), 99 * 0.04, 1e-6);
    EXPECT_NEAR(reader->seconds(100), 110 * 0.04, 1e-6);
    EXPECT_NE(error_of([&] { reader->seek(191); }).find("the file has only 190"), std::string::npos);
  }
  for (const char* name : {"sound.mp4", "sound.mkv"}) {
    const auto reader = open_video(numbered(name, {.times = even_times(40, 100), .sound = true}));
    EXPECT_EQ(reader->frames(), 40) << name;
    EXPECT_NEAR(reader->fps(), 10, 1e-6) << name;
    EXPECT_EQ(all_numbers(*reader), counted(0, 40)) << name;
  }
  const auto cover = open_video(numbered("cover.mp4", {.times = even_times(30, 100), .cover = true}));
  EXPECT_EQ(cover->width(), 64);
  EXPECT_EQ(all_numbers(*cover), counted(0, 30));
}

TEST_F(VideoReading, EditListsCutTheStart) {
  VideoRecipe recipe{.gop = 250};
  for (int64_t n = 0; n < 60; ++n) recipe.times.push_back((n - 20) * 40);
  const auto reader = open_video(numbered("cut.mp4", recipe));
  EXPECT_EQ(all_numbers(*reader), counted(20, 60));
  EXPECT_EQ(number_of(frame_at(*open_video(path("cut.mp4")), 7)), 27);
}

TEST_F(VideoReading, TruncatedFilesGiveWhatTheyHold) {
  const std::string whole = read_file(numbered("whole.mkv", {.options = "crf=1"}));
  std::ofstream(path("cut.mkv"), std::ios::binary) << whole.substr(0, whole.size() / 2);
  const auto reader = open_video(path("cut.mkv"));
  EXPECT_GT(reader->frames(), 30);
  EXPECT_LT(reader->frames(), 70);
  const auto numbers = all_numbers(*reader);
  EXPECT_EQ(std::vector<int64_t>(numbers.begin(), numbers.end() - 1), counted(0, reader->frames() - 1));
}

// Guessed pictures, too, do not depend on what was read before.
TEST_F(VideoReading, DamagedFilesReadTheSameInAnyOrder) {
  std::string bytes = read_file(numbered("whole.mp4", {.options = "crf=1", .gop = 25, .b_frames = 2}));
  const size_t first = bytes.find("mdat") + 200, end = bytes.find("moov") - 200;
  std::mt19937 random(3);
  for (int i = 0; i < 30; ++i) bytes[first + random() % (end - first)] = static_cast<char>(random());
  std::ofstream(path("damaged.mp4"), std::ios::binary) << bytes;
  std::vector<Tensor> frames;
  for (int64_t n = 0; n < 100; ++n) frames.push_back(frame_at(*open_video(path("damaged.mp4")), n));
  const auto reader = open_video(path("damaged.mp4"));
  for (int64_t n = 0; n < 100; ++n) EXPECT_TRUE(identical(frame_at(*reader, n), frames[n])) << n;
  for (int i = 0; i < 60; ++i) {
    const auto n = static_cast<int64_t>(random() % 100);
    EXPECT_TRUE(identical(frame_at(*reader, n), frames[n])) << n;
  }
}

TEST_F(VideoReading, PicturesAreUpright) {
  // The stored picture's upper left quarter is bright.
  const auto stored = [](int64_t) {
    std::vector<uint8_t> rgb(3 * 32 * 64, 20);
    for (int64_t y = 0; y < 16; ++y) std::fill_n(rgb.begin() + 3 * 64 * y, 3 * 32, uint8_t{230});
    return rgb;
  };
  const struct {
    std::array<int, 4> shown;
    bool upright;      // else wide becomes high
    int64_t row, col;  // of the bright quarter
  } cases[] = {{{1, 0, 0, 1}, true, 0, 0},  {{-1, 0, 0, -1}, true, 1, 1}, {{0, 1, -1, 0}, false, 0, 1}, {{0, -1, 1, 0}, false, 1, 0},
               {{-1, 0, 0, 1}, true, 0, 1}, {{1, 0, 0, -1}, true, 1, 0},  {{0, 1, 1, 0}, false, 0, 0},  {{0, -1, -1, 0}, false, 1, 1}};
  for (const auto& c : cases) {
    test::make_video(path("turned.mov"), {.height = 32, .width = 64, .times = even_times(3, 100), .shown = c.shown}, stored);
    const auto reader = open_video(path("turned.mov"));
    EXPECT_EQ(reader->height(), c.upright ? 32 : 64);
    EXPECT_EQ(reader->width(), c.upright ? 64 : 32);
    const Tensor frame = frame_at(*reader, 1)[0].to(at::kFloat);
    for (int64_t row = 0; row < 2; ++row)
      for (int64_t col = 0; col < 2; ++col) {
        const int64_t h = frame.size(0) / 2, w = frame.size(1) / 2;
        const double mean = frame.narrow(0, row * h, h).narrow(1, col * w, w).mean().item<double>();
        EXPECT_NEAR(mean, row == c.row && col == c.col ? 230 : 20, 5) << c.shown[0] << c.shown[1] << c.shown[2] << c.shown[3];
      }
  }
}

TEST_F(VideoReading, PixelsAreSquare) {
  const auto wide = open_video(numbered("wide.mp4", {.times = even_times(9, 100), .pixel_aspect = {4, 3}}));
  EXPECT_EQ(wide->height(), 48);
  EXPECT_EQ(wide->width(), 85);
  EXPECT_EQ(all_numbers(*wide), counted(0, 9));
  const auto high = open_video(numbered("high.mp4", {.times = even_times(9, 100), .pixel_aspect = {1, 2}}));
  EXPECT_EQ(high->height(), 96);
  EXPECT_EQ(high->width(), 64);
}

TEST_F(VideoReading, ColoursAreWhatTheFileSays) {
  const Tensor green = at::tensor({0.0f, 192.0f, 0.0f});
  const auto near = [](const Tensor& a, const Tensor& b) { return (a - b).abs().max().item<float>() <= 4; };
  for (const char* matrix : {"bt709", "smpte170m", ""})
    for (const bool full : {false, true}) {
      const Tensor got = colour_of("green.mp4", {.options = "crf=1", .matrix = matrix, .full_range = full}, {0, 192, 0});
      EXPECT_TRUE(near(got, green)) << matrix << " " << full << " " << got;
    }
  for (const auto& [codec, options] :
       {std::pair{"libvpx-vp9", "cpu-used=8"}, {"libx265", "x265-params=log-level=none"}, {"libaom-av1", "cpu-used=8"}}) {
    if (!test::has_encoder(codec)) continue;
    const Tensor grey = colour_of("grey.mkv", {.codec = codec, .options = options, .height = 64, .full_range = true}, {64, 64, 64});
    EXPECT_TRUE(near(grey, at::full({3}, 64.0f))) << codec << " " << grey;
  }
}

TEST_F(VideoReading, TimesOfUnevenFramesAreTheirOwn) {
  VideoRecipe recipe;
  for (int64_t n = 0, time = 0; n < 50; ++n, time += n % 3 == 0 ? 70 : 30) recipe.times.push_back(time);
  for (const char* name : {"uneven.mp4", "uneven.mkv"}) {
    const auto reader = open_video(numbered(name, recipe));
    ASSERT_EQ(reader->frames(), 50);
    for (int64_t n = 0; n < 50; ++n) EXPECT_NEAR(reader->seconds(n), static_cast<double>(recipe.times[n]) / 1000, 1e-9) << name << n;
    EXPECT_EQ(all_numbers(*reader), counted(0, 50));
  }
}

TEST_F(VideoReading, OtherFilesAreNotOpened) {
  numbered("secret.mp4", {.times = even_times(20, 40)});
  std::ofstream(path("list.mp4")) << "ffconcat version 1.0\nfile " << path("secret.mp4").string() << "\n";
  std::ofstream(path("list.m3u8")) << "#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:0.8,\n"
                                   << path("secret.mp4").string() << "\n#EXT-X-ENDLIST\n";
  for (const char* name : {"list.mp4", "list.m3u8"}) EXPECT_NE(error_of([&] { open_video(path(name)); }).find(name), std::string::npos);
}

TEST_F(VideoReading, ColonsInNamesAreNoProtocols) {
  std::filesystem::current_path(folder_.path());
  numbered("plain.mp4", {.times = even_times(20, 40)});
  std::filesystem::rename("plain.mp4", "12:30.mp4");
  EXPECT_EQ(open_video("12:30.mp4")->frames(), 20);
  std::filesystem::current_path("/");
}

}  // namespace
}  // namespace df
