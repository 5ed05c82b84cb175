// SPDX-License-Identifier: MIT
#include "diffusion_forcing/media/media.hpp"

#include <ATen/ATen.h>

#include <fstream>

#include "diffusion_forcing/core/error.hpp"
#include "diffusion_forcing/core/file.hpp"
#include "diffusion_forcing/core/npy.hpp"
#include "diffusion_forcing/core/seed.hpp"
#include "support/support.hpp"

namespace df {
namespace {

using test::error_of;
using test::identical;

// A bright square that moves two pixels a frame over a gradient: [T, 3, H, W]. No two frames are alike.
Tensor moving_square(int64_t T, int64_t H, int64_t W) {
  const Tensor frames = at::zeros({T, 3, H, W}, at::kByte);
  for (int64_t t = 0; t < T; ++t) {
    frames[t][0].copy_(at::linspace(0, 200, W).to(at::kByte).expand({H, W}));
    frames[t][1].copy_(at::linspace(40, 160, H).to(at::kByte).unsqueeze(1).expand({H, W}));
    frames[t][2].fill_(64 + t % 64 * 2);
    const int64_t x = 2 * t % (W - 8), y = 2 * t / (W - 8) * 8 % (H - 8);
    frames[t].narrow(1, y, 8).narrow(2, x, 8).fill_(255);
  }
  return frames;
}

std::string write_video(const std::filesystem::path& path, const Tensor& frames, double fps = 10) {
  const auto writer = create_video(path, fps);
  for (const Tensor& frame : frames.unbind()) writer->write(frame);
  writer->close();
  return writer->codec();
}

std::vector<Tensor> read_all(VideoReader& reader) {
  std::vector<Tensor> frames;
  for (Tensor frame; reader.read(frame);) frames.push_back(frame);
  return frames;
}

double mean_difference(const Tensor& a, const Tensor& b) { return (a.to(at::kFloat) - b.to(at::kFloat)).abs().mean().item<double>(); }

int64_t entries(const std::filesystem::path& folder) {
  return std::distance(std::filesystem::directory_iterator(folder), std::filesystem::directory_iterator());
}

class Media : public ::testing::Test {
 protected:
  std::filesystem::path path(const std::string& name) const { return folder_.path() / name; }
  test::TemporaryFolder folder_;
};

TEST_F(Media, Mp4ComesBackInOrderAndColour) {
  for (const auto& [H, W] : {std::pair<int64_t, int64_t>{64, 96}, {32, 32}, {63, 97}}) {
    const Tensor frames = moving_square(30, H, W);
    const std::string codec = write_video(path("a.mp4"), frames);
    EXPECT_TRUE(codec == "H.264" || codec == "MPEG-4") << codec;
    const auto reader = open_video(path("a.mp4"));
    EXPECT_EQ(reader->frames(), 30);
    EXPECT_DOUBLE_EQ(reader->fps(), 10);
    EXPECT_EQ(reader->height(), H + H % 2);  // the last row and column are doubled
    EXPECT_EQ(reader->width(), W + W % 2);
    const auto read = read_all(*reader);
    ASSERT_EQ(read.size(), 30);
    for (int64_t t = 0; t < 30; ++t) EXPECT_LT(mean_difference(read[t].narrow(1, 0, H).narrow(2, 0, W), frames[t]), 6) << "frame " << t;
  }
}

TEST_F(Media, RedStaysRed) {
  Tensor red = at::zeros({3, 32, 48}, at::kByte);
  red[0].fill_(230);
  for (const char* name : {"red.mp4", "red.gif"}) {
    write_video(path(name), red.expand({5, 3, 32, 48}));
    Tensor frame;
    ASSERT_TRUE(open_video(path(name))->read(frame));
    EXPECT_GT(frame[0].to(at::kFloat).mean().item<double>(), 200) << name;
    EXPECT_LT(frame.narrow(0, 1, 2).to(at::kFloat).mean().item<double>(), 30) << name;
  }
  write_png(path("red.png"), red);
  EXPECT_TRUE(identical(read_image(path("red.png")), red));
}

TEST_F(Media, NpzAndPngAreExact) {
  const Tensor frames = moving_square(7, 20, 31);
  EXPECT_EQ(write_video(path("a.npz"), frames), "npz");
  EXPECT_TRUE(identical(read_npz(path("a.npz"), "video"), frames.permute({0, 2, 3, 1}).contiguous()));
  for (const char* name : {"frames", "more/frames/"}) {
    EXPECT_EQ(write_video(path(name), frames), "PNG");
    EXPECT_EQ(entries(path(name)), 7);
    for (int64_t t = 0; t < 7; ++t) EXPECT_TRUE(identical(read_image(path(name) / ("00000" + std::to_string(t) + ".png")), frames[t]));
  }
}

TEST_F(Media, GifWithFewColoursIsExact) {
  const auto generator = make_generator(1);
  const Tensor table = at::randint(256, {200, 3}, generator, at::kByte);
  const Tensor frames = table.index({at::randint(200, {12, 61, 47}, generator, at::kLong)}).permute({0, 3, 1, 2}).contiguous();
  EXPECT_EQ(write_video(path("a.gif"), frames, 12.5), "GIF");
  const auto reader = open_video(path("a.gif"));
  EXPECT_NEAR(reader->fps(), 12.5, 0.01);
  const auto read = read_all(*reader);
  ASSERT_EQ(read.size(), 12);
  for (int64_t t = 0; t < 12; ++t) EXPECT_TRUE(identical(read[t], frames[t])) << "frame " << t;
  EXPECT_TRUE(read_file(path("a.gif")) == encode_gif(frames, 12.5));
  EXPECT_NE(encode_gif(frames, 12.5).find("NETSCAPE2.0"), std::string::npos);
}

// Pictures that fill the table of codes many times, pictures of one colour, and sizes that end on any bit.
TEST_F(Media, GifCodesOfAnyLength) {
  const auto generator = make_generator(2);
  for (const int64_t W : {1, 2, 3, 253, 254, 255, 256, 257, 258, 511, 512, 3837, 3838, 3839, 3840, 4100}) {
    const Tensor random = at::randint(256, {1, 1, 1, W}, generator, at::kByte).expand({1, 3, 16, W}).contiguous();
    const Tensor frames = at::cat({random, at::zeros_like(random)});
    write_atomically(path("a.gif"), encode_gif(frames, 10));
    const auto read = read_all(*open_video(path("a.gif")));
    ASSERT_EQ(read.size(), 2) << W;
    EXPECT_TRUE(identical(read[0], frames[0])) << W;
    EXPECT_TRUE(identical(read[1], frames[1])) << W;
  }
}

TEST_F(Media, GifWithManyColoursIsNear) {
  const Tensor frames = moving_square(20, 64, 64);
  write_video(path("a.gif"), frames);
  const auto read = read_all(*open_video(path("a.gif")));
  ASSERT_EQ(read.size(), 20);
  for (int64_t t = 0; t < 20; ++t) {
    EXPECT_LT(mean_difference(read[t], frames[t]), 8) << "frame " << t;
    EXPECT_LE((read[t].to(at::kInt) - frames[t].to(at::kInt)).abs().max().item<int>(), 48) << "frame " << t;
  }
}

TEST_F(Media, SeekIsExact) {
  for (const char* name : {"a.mp4", "a.gif"}) {
    write_video(path(name), moving_square(120, 48, 64));
    const auto reader = open_video(path(name));
    const auto frames = read_all(*reader);
    ASSERT_EQ(frames.size(), 120);
    for (const int64_t t : {0, 119, 1, 60, 61, 59, 118, 40, 90, 2, 77, 119}) {
      reader->seek(t);
      Tensor frame;
      ASSERT_TRUE(reader->read(frame)) << name << " " << t;
      EXPECT_TRUE(identical(frame, frames[t])) << name << " " << t;
    }
    Tensor frame;
    EXPECT_FALSE(reader->read(frame));
    const auto fresh = open_video(path(name));
    fresh->seek(100);  // before anything was read
    ASSERT_TRUE(fresh->read(frame));
    EXPECT_TRUE(identical(frame, frames[100]));
    ASSERT_TRUE(fresh->read(frame));
    EXPECT_TRUE(identical(frame, frames[101]));
    EXPECT_NE(error_of([&] { fresh->seek(130); }).find("the file has only 120"), std::string::npos);
  }
}

TEST_F(Media, NothingIsLeftWithoutClose) {
  for (const char* name : {"a.mp4", "a.gif", "a.npz", "a"}) {
    const auto writer = create_video(path(name), 10);
    for (const Tensor& frame : moving_square(3, 32, 32).unbind()) writer->write(frame);
  }
  EXPECT_EQ(entries(folder_.path()), 0);
}

TEST_F(Media, OldFileStaysUntilClose) {
  write_video(path("a.mp4"), moving_square(4, 32, 32));
  const std::string before = read_file(path("a.mp4"));
  {
    const auto writer = create_video(path("a.mp4"), 10);
    writer->write(moving_square(1, 32, 32)[0]);
    EXPECT_TRUE(read_file(path("a.mp4")) == before);
  }
  EXPECT_TRUE(read_file(path("a.mp4")) == before);
  write_video(path("a.mp4"), moving_square(9, 32, 32));
  EXPECT_EQ(open_video(path("a.mp4"))->frames(), 9);
  EXPECT_EQ(entries(folder_.path()), 1);
}

TEST_F(Media, Mp4FramesAreShownAtTheirTimes) {
  for (const double fps : {10.0, 12.5, 30000.0 / 1001, 3.7}) {
    write_video(path("a.mp4"), moving_square(50, 32, 32), fps);
    const auto reader = open_video(path("a.mp4"));
    ASSERT_EQ(reader->frames(), 50);
    for (int64_t t = 0; t < 50; ++t) EXPECT_NEAR(reader->seconds(t), static_cast<double>(t) / fps, 1e-9) << fps;
  }
  // Browsers start before they have the whole file: its table of contents is in front.
  const std::string bytes = read_file(path("a.mp4"));
  EXPECT_LT(bytes.find("moov"), bytes.find("mdat"));
}

TEST_F(Media, ColoursOfMp4AreKept) {
  for (const auto& rgb : {std::array<int64_t, 3>{0, 192, 0}, {200, 30, 60}, {20, 40, 220}, {128, 128, 128}}) {
    Tensor frame = at::zeros({3, 64, 64}, at::kByte);
    for (int64_t c = 0; c < 3; ++c) frame[c].fill_(rgb[c]);
    write_video(path("a.mp4"), frame.expand({3, 3, 64, 64}));
    EXPECT_LT(mean_difference(read_all(*open_video(path("a.mp4")))[1], frame), 3) << frame[0][0][0] << frame[1][0][0];
  }
}

TEST_F(Media, LinksAreWrittenThrough) {
  std::filesystem::create_directory(path("real"));
  for (const char* ending : {".mp4", ".gif", ".npz", ""}) {
    const auto link = path("link" + std::string(ending)), target = path("real") / ("target" + std::string(ending));
    if (*ending == '\0') std::filesystem::create_directory(target);
    std::filesystem::create_symlink(std::filesystem::path("real") / target.filename(), link);
    write_video(link, moving_square(3, 32, 32));
    EXPECT_TRUE(std::filesystem::is_symlink(link)) << ending;
    EXPECT_TRUE(std::filesystem::exists(target)) << ending;
  }
  EXPECT_EQ(entries(path("real") / "target"), 3);
}

TEST_F(Media, NamesMayBeLongOrHaveColons) {
  std::filesystem::current_path(folder_.path());
  for (const char* ending : {".mp4", ".gif", ".npz"})
    for (const std::string& name : {std::string(250 - 4, 'x'), std::string("12:30")}) {
      write_video(name + ending, moving_square(3, 32, 32));
      EXPECT_TRUE(std::filesystem::exists(name + ending));
    }
  std::filesystem::current_path("/");
}

TEST_F(Media, APlaceThatCannotBeWrittenToIsKnownBeforeTheWork) {
  std::ofstream(path("file")) << "no folder";
  for (const char* name : {"file/a.mp4", "file/a.gif", "file/a.npz", "file/frames"})
    EXPECT_NE(error_of([&] { create_video(path(name), 10); }).find("file"), std::string::npos);
}

// A folder has taken the name since: what was made stays.
TEST_F(Media, WhatWasMadeIsKeptWhereItsNameIsTaken) {
  const auto writer = create_video(path("a.mp4"), 10);
  for (const Tensor& frame : moving_square(3, 32, 32).unbind()) writer->write(frame);
  std::filesystem::create_directory(path("a.mp4"));
  const std::string message = error_of([&] { writer->close(); });
  const auto kept = message.find("what was made is in ");
  ASSERT_NE(kept, std::string::npos) << message;
  EXPECT_EQ(open_video(message.substr(kept + 20))->frames(), 3);
}

TEST_F(Media, WriterErrors) {
  const std::string ending = error_of([&] { create_video(path("a.mpg"), 10); });
  for (const char* part : {"a.mpg", ".mp4", ".gif", ".npz", "folder", "'.mpg'"}) EXPECT_NE(ending.find(part), std::string::npos) << ending;
  EXPECT_NE(error_of([&] { create_video(path("a.mp4"), 0); }).find("got 0"), std::string::npos);
  const auto writer = create_video(path("a.mp4"), 10);
  EXPECT_NE(error_of([&] { writer->close(); }).find("at least one frame"), std::string::npos);
  EXPECT_NE(error_of([&] { writer->write(at::zeros({3, 8, 8})); }).find("got Float"), std::string::npos);
  EXPECT_NE(error_of([&] { writer->write(at::zeros({8, 8, 3}, at::kByte)); }).find("[3, *, *]"), std::string::npos);
  writer->write(at::zeros({3, 32, 32}, at::kByte));
  EXPECT_NE(error_of([&] { writer->write(at::zeros({3, 32, 34}, at::kByte)); }).find("expected 32 x 32"), std::string::npos);
  std::filesystem::create_directory(path("full"));
  std::ofstream(path("full") / "note.txt") << "keep";
  EXPECT_NE(error_of([&] { create_video(path("full"), 10); }).find("empty folder"), std::string::npos);
  EXPECT_TRUE(std::filesystem::exists(path("full") / "note.txt"));
}

TEST_F(Media, ReaderErrorsNameTheFile) {
  std::ofstream(path("text.mp4")) << "no video at all";
  std::ofstream(path("empty.mp4"));
  write_video(path("whole.mp4"), moving_square(30, 64, 64));
  const std::string whole = read_file(path("whole.mp4"));
  std::ofstream(path("cut.mp4")) << whole.substr(0, whole.size() / 2);
  for (const char* name : {"text.mp4", "empty.mp4", "absent.mp4", "cut.mp4"})
    EXPECT_NE(error_of([&] { open_video(path(name)); }).find(name), std::string::npos);
  EXPECT_NE(error_of([&] { open_video(folder_.path()); }).find("folder"), std::string::npos);
  EXPECT_NE(error_of([&] { read_image(path("text.mp4")); }).find("text.mp4"), std::string::npos);
  EXPECT_NE(error_of([&] { read_image(path("empty.mp4")); }).find("empty.mp4"), std::string::npos);
}

TEST(Sheet, PlacesFramesInRows) {
  const Tensor frames = at::arange(5).to(at::kByte).reshape({5, 1, 1, 1}).expand({5, 3, 2, 4});
  const Tensor picture = sheet(frames, 3, 1, 2);
  EXPECT_EQ(picture.sizes(), (std::vector<int64_t>{3, 2 * 4 + 1, 3 * 8 + 2}));
  EXPECT_EQ(picture[1][0][0].item<int>(), 0);
  EXPECT_EQ(picture[1][0][9].item<int>(), 1);
  EXPECT_EQ(picture[1][0][8].item<int>(), 255);  // the gap
  EXPECT_EQ(picture[2][5][9].item<int>(), 4);
  EXPECT_EQ(picture[2][5][18].item<int>(), 255);  // no sixth frame
  EXPECT_EQ(sheet(frames, 10).size(2), 5 * 4 + 4 * 2);
  EXPECT_THROW(sheet(frames, 0), Error);
}

TEST(Enlarge, RepeatsPixels) {
  const Tensor frames = at::arange(4).to(at::kByte).reshape({1, 1, 2, 2});
  const Tensor expected = at::tensor({0, 0, 1, 1, 0, 0, 1, 1, 2, 2, 3, 3, 2, 2, 3, 3}).to(at::kByte).reshape({1, 1, 4, 4});
  EXPECT_TRUE(identical(enlarge(frames, 2), expected));
  EXPECT_THROW(enlarge(frames, 0), Error);
}

}  // namespace
}  // namespace df
