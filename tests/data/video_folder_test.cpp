// SPDX-License-Identifier: MIT
#include "diffusion_forcing/data/video_folder.hpp"

#include <ATen/ATen.h>

#include <fstream>
#include <set>
#include <thread>

#include "diffusion_forcing/core/error.hpp"
#include "diffusion_forcing/core/file.hpp"
#include "diffusion_forcing/media/media.hpp"
#include "support/support.hpp"
#include "support/video_maker.hpp"

namespace df {
namespace {

using test::error_of;
using test::identical;

// Frame t of video v is of one grey that says t, and of one shade of blue that says v; GIFs of so few colours are exact.
void write_numbered(const std::filesystem::path& path, int64_t frames, int64_t video = 0, int64_t H = 16, int64_t W = 24) {
  const auto writer = create_video(path, 10);
  for (int64_t t = 0; t < frames; ++t) {
    Tensor frame = at::full({3, H, W}, 2 * t, at::kByte);
    frame[2].fill_(video);
    writer->write(frame);
  }
  writer->close();
}

// The numbers of the frames of a clip with mean 0 and std 1, and of its video.
std::vector<int64_t> numbers(const Batch& clip, int64_t frame_stack) {
  std::vector<int64_t> found;
  for (const Tensor& token : clip.x.unbind())
    for (int64_t f = 0; f < frame_stack; ++f) found.push_back(std::lround(token[3 * f].mean().item<double>() * 255 / 2));
  return found;
}
int64_t video_of(const Batch& clip) { return std::lround(clip.x[0][2].mean().item<double>() * 255); }

class VideoFolder : public ::testing::Test {
 protected:
  VideoFolderConfig config(const std::string& name = "") const {
    VideoFolderConfig config;
    config.path = (folder_.path() / name).string();
    config.height = config.width = 8;
    config.frames = 8;
    config.frame_stack = 2;
    config.clip_stride = 4;
    config.held_out = 0;
    config.mean = 0;
    config.std = 1;
    return config;
  }
  std::filesystem::path path(const std::string& name) const { return folder_.path() / name; }
  test::TemporaryFolder folder_;
};

TEST_F(VideoFolder, ClipsAreTheFramesTheyShouldBe) {
  write_numbered(path("a.gif"), 30, 10);
  write_numbered(path("deeper/b.gif"), 21, 200);
  const auto set = make(config(), Split::train);
  EXPECT_EQ(set->size(), 6 + 4);
  const DataSpec spec = set->spec();
  EXPECT_EQ(spec.token.token_shape, (Shape{6, 8, 8}));
  EXPECT_EQ(spec.tokens, 4);
  for (const int64_t index : {9, 0, 5, 6, 3}) {
    const Batch clip = set->get(index);
    EXPECT_EQ(clip.x.sizes(), (std::vector<int64_t>{4, 6, 8, 8}));
    EXPECT_TRUE(identical(clip.mask, at::ones({8})));
    EXPECT_EQ(video_of(clip), index < 6 ? 10 : 200);
    const auto found = numbers(clip, 2);
    for (int64_t t = 0; t < 8; ++t) EXPECT_EQ(found[t], (index < 6 ? index : index - 6) * 4 + t);
  }
  EXPECT_NE(set->describe().find("10 clips of 8 frames"), std::string::npos) << set->describe();
  EXPECT_NE(error_of([&] { set->get(10); }).find("0 .. 9, got 10"), std::string::npos);
}

TEST_F(VideoFolder, StepTakesEveryNthFrame) {
  write_numbered(path("a.gif"), 120);
  VideoFolderConfig stepped = config();
  stepped.frame_step = 10;
  stepped.clip_stride = 2;
  const auto set = make(stepped, Split::train);
  EXPECT_EQ(set->size(), 3);  // a clip reaches over 71 frames; starts 0, 20, 40
  EXPECT_EQ(numbers(set->get(1), 2), (std::vector<int64_t>{20, 30, 40, 50, 60, 70, 80, 90}));
}

TEST_F(VideoFolder, LongerClipsStartEarlierOrFail) {
  write_numbered(path("a.gif"), 30);
  const auto set = make(config(), Split::train);
  EXPECT_EQ(numbers(set->get(0, 6), 2).back(), 11);
  EXPECT_EQ(numbers(set->get(5, 15), 2).front(), 0);  // starts at 20, but 30 frames are asked for
  const std::string message = error_of([&] { set->get(0, 16); });
  for (const char* part : {"a.gif", "at least 32 frames", "got 30"}) EXPECT_NE(message.find(part), std::string::npos) << message;
}

TEST_F(VideoFolder, FramesAreCutInTheMiddleAndNormalised) {
  // 48 x 16: the middle third is white.
  const auto writer = create_video(path("a.gif"), 10);
  Tensor frame = at::zeros({3, 16, 48}, at::kByte);
  frame.narrow(2, 16, 16).fill_(255);
  for (int t = 0; t < 8; ++t) writer->write(frame);
  writer->close();
  VideoFolderConfig square = config();
  square.mean = 0.25;
  square.std = 0.5;
  EXPECT_TRUE(test::close(make(square, Split::train)->get(0).x, at::full({4, 6, 8, 8}, 1.5), 1e-6));
  square.height = 8;
  square.width = 24;  // all of it: 8 columns each of black, white, black
  const Tensor x = make(square, Split::train)->get(0).x;
  EXPECT_TRUE(test::close(x.narrow(3, 8, 8), at::full({4, 6, 8, 8}, 1.5), 1e-6));
  EXPECT_TRUE(test::close(x.narrow(3, 16, 8), at::full({4, 6, 8, 8}, -0.5), 1e-6));
}

TEST_F(VideoFolder, SplitsAreDisjointAndStable) {
  const auto videos = [&](const VideoFolderConfig& config, Split split) {
    const auto set = make(config, split);
    std::set<int64_t> found;
    for (int64_t i = 0; i < set->size(); ++i) found.insert(video_of(set->get(i)));
    return found;
  };
  for (int64_t v = 0; v < 12; ++v) write_numbered(path("clip" + std::to_string(v) + ".gif"), 8, v);
  VideoFolderConfig split = config();
  split.held_out = 0.3;
  const auto train = videos(split, Split::train), validation = videos(split, Split::validation);
  EXPECT_FALSE(train.empty());
  EXPECT_FALSE(validation.empty());
  EXPECT_EQ(train.size() + validation.size(), 12);
  for (const int64_t v : validation) EXPECT_EQ(train.count(v), 0);
  for (int64_t v = 12; v < 16; ++v) write_numbered(path("clip" + std::to_string(v) + ".gif"), 8, v);
  const auto later = videos(split, Split::validation);
  for (const int64_t v : validation) EXPECT_EQ(later.count(v), 1) << "new files move no old one";
  for (const int64_t v : train) EXPECT_EQ(later.count(v), 0);
}

TEST_F(VideoFolder, NeitherSplitIsEmpty) {
  for (int64_t v = 0; v < 3; ++v) write_numbered(path("clip" + std::to_string(v) + ".gif"), 8, v);
  VideoFolderConfig split = config();
  for (const double share : {1e-6, 1 - 1e-6}) {
    split.held_out = share;
    EXPECT_EQ(make(split, Split::train)->size() + make(split, Split::validation)->size(), 3);
  }
}

TEST_F(VideoFolder, SingleFileIsCutInTime) {
  write_numbered(path("a.gif"), 100);
  VideoFolderConfig single = config("a.gif");
  single.held_out = 0.2;
  const auto train = make(single, Split::train), validation = make(single, Split::validation);
  EXPECT_EQ(train->size(), (80 - 8) / 4 + 1);
  EXPECT_EQ(validation->size(), (20 - 8) / 4 + 1);
  EXPECT_EQ(numbers(train->get(train->size() - 1), 2).back(), 79);
  EXPECT_EQ(numbers(train->get(0, 40), 2).back(), 79);
  EXPECT_THROW(train->get(0, 41), Error);  // does not reach into the other part
  EXPECT_EQ(numbers(validation->get(0), 2).front(), 80);
  EXPECT_EQ(numbers(validation->get(0, 10), 2).front(), 80);
  write_numbered(path("short/b.gif"), 15);
  single.path = path("short").string();
  EXPECT_NE(error_of([&] { make(single, Split::train); }).find("at least 16 frames"), std::string::npos);
}

TEST_F(VideoFolder, ThreadsSeeTheSameClips) {
  for (int64_t v = 0; v < 3; ++v) {
    const auto writer = create_video(path("clip" + std::to_string(v) + ".mp4"), 10);
    for (int64_t t = 0; t < 90; ++t) writer->write(at::full({3, 32, 32}, 40 * v + t, at::kByte));
    writer->close();
  }
  const auto set = make(config(), Split::train);
  std::vector<Tensor> expected;
  for (int64_t i = 0; i < set->size(); ++i) expected.push_back(set->get(i).x);
  std::vector<int64_t> wrong(4);
  std::vector<std::thread> threads;
  for (int64_t n = 0; n < 4; ++n)
    threads.emplace_back([&, n] {
      for (int64_t i = 0; i < set->size(); ++i) {
        const int64_t index = (i * 7 + n * 13) % set->size();
        wrong[n] += !at::equal(set->get(index).x, expected[index]);
      }
    });
  for (auto& thread : threads) thread.join();
  EXPECT_EQ(wrong, std::vector<int64_t>(4));
}

// Frames that are dropped or shown for longer: at a rate, a clip takes what is shown at each time.
TEST_F(VideoFolder, RateTakesTheFramesShownAtItsTimes) {
  test::VideoRecipe recipe;
  std::vector<int64_t> expected;  // at 25 frames a second
  for (int64_t n = 0, time = 0; n < 60; ++n) {
    recipe.times.push_back(time);
    const int64_t frames = n == 10 ? 5 : n % 4 == 0 ? 2 : 1;
    expected.insert(expected.end(), static_cast<size_t>(frames), n);
    time += 40 * frames;
  }
  expected.push_back(59);  // the last one is shown as long as the first
  for (const char* name : {"a.mp4", "a.mkv"}) {
    test::make_video(path(name), recipe, [](int64_t n) { return test::numbered_picture(n); });
    VideoFolderConfig rated = config(name);
    rated.height = 48;
    rated.width = 64;
    const auto clip = [&](double fps, int64_t frames, int64_t index) {
      rated.fps = fps;
      rated.frames = frames;
      rated.clip_stride = 1;
      const Batch batch = make(rated, Split::train)->get(index);
      std::vector<int64_t> numbers;
      for (const Tensor& token : batch.x.unbind())
        for (int64_t f = 0; f < 2; ++f) {
          const Tensor rows = token.narrow(0, 3 * f, 3).mul(255).round().to(at::kByte).permute({1, 2, 0}).contiguous();
          numbers.push_back(test::number_shown(rows.data_ptr<uint8_t>(), 48, 64));
        }
      return numbers;
    };
    const auto from = [](const std::vector<int64_t>& all, size_t first, size_t step) {
      std::vector<int64_t> some;
      for (size_t i = 0; i < 20; ++i) some.push_back(all[first + step * i]);
      return some;
    };
    EXPECT_EQ(clip(25, 20, 7), from(expected, 7, 1)) << name;
    EXPECT_EQ(clip(12.5, 20, 2), from(expected, 4, 2)) << name;
    rated.frame_step = 2;
    EXPECT_EQ(clip(25, 20, 3), from(expected, 6, 2)) << name;
    rated.frame_step = 1;
    const auto stored = clip(0, 20, 30);
    for (int64_t n = 0; n < 20; ++n) EXPECT_EQ(stored[static_cast<size_t>(n)], 30 + n) << name;
    rated.fps = 25;
    EXPECT_EQ(make(rated, Split::train)->size(), static_cast<int64_t>(expected.size()) - 20 + 1) << name;
  }
}

// However a clip is reached, it is the same.
TEST_F(VideoFolder, ClipsDoNotDependOnWhatWasReadBefore) {
  test::VideoRecipe recipe{.times = test::even_times(220, 40), .gop = 40, .b_frames = 2};
  recipe.times.erase(recipe.times.begin() + 100, recipe.times.begin() + 110);
  test::make_video(path("a.mp4"), recipe, [](int64_t n) { return test::numbered_picture(n); });
  VideoFolderConfig stepped = config("a.mp4");
  stepped.frame_step = 20;
  stepped.clip_stride = 1;
  const auto one = make(stepped, Split::train);
  const auto first = [&](const Batch& batch) { return batch.x[0].narrow(0, 0, 3).mean(); };
  for (const int64_t index : {3, 1, 2, 0, 3}) {
    const Tensor fresh = make(stepped, Split::train)->get(index).x;
    EXPECT_TRUE(identical(one->get(index).x, fresh)) << index;
  }
  EXPECT_FALSE(identical(first(one->get(0)), first(one->get(1))));
}

TEST_F(VideoFolder, LinkedFoldersAreFollowedHiddenOnesAreNot) {
  write_numbered(path("store/run/a.gif"), 8, 1);
  write_numbered(path("store/walk/b.gif"), 8, 2);
  write_numbered(path("clips/own.gif"), 8, 3);
  write_numbered(path("clips/.ipynb_checkpoints/own-checkpoint.gif"), 8, 4);
  write_numbered(path("clips/.trash/old.gif"), 8, 5);
  std::filesystem::create_directory_symlink(path("store/run"), path("clips/run"));
  std::filesystem::create_directory_symlink(path("store/walk"), path("clips/walk"));
  std::filesystem::create_directory_symlink(path("clips"), path("clips/run_again"));  // in a circle
  std::filesystem::create_symlink(path("store/walk/b.gif"), path("clips/linked.gif"));
  std::filesystem::create_symlink(path("store/absent.gif"), path("clips/broken.gif"));
  const auto set = make(config("clips"), Split::train);
  std::multiset<int64_t> found;
  for (int64_t i = 0; i < set->size(); ++i) found.insert(video_of(set->get(i)));
  EXPECT_EQ(found, (std::multiset<int64_t>{1, 2, 2, 3}));
}

TEST_F(VideoFolder, AnyEndingThatFfmpegKnows) {
  const test::VideoRecipe recipe{.times = test::even_times(12, 40)};
  const auto picture = [](int64_t n) { return test::numbered_picture(n); };
  for (const char* name : {"a.m4v", "b.TS", "c.flv", "d.f4v", "e.nut"}) test::make_video(path(name), recipe, picture);
  std::filesystem::rename(path("e.nut"), path("e.clip"));
  std::filesystem::copy_file(path("a.m4v"), path("no_ending"));
  std::ofstream(path("labels.txt")) << "a walk\n";
  std::ofstream(path("labels.bin")) << "a run\n";
  EXPECT_EQ(check(config()).size(), 6);
  EXPECT_EQ(make(config(), Split::train)->size(), 6 * 2);
}

TEST_F(VideoFolder, FoldersOfPicturesAreClips) {
  for (int64_t v = 0; v < 2; ++v) {
    const auto folder = path("episode_" + std::to_string(v));
    for (int64_t t = 0; t < 12; ++t) {
      Tensor frame = at::full({3, 16, 24}, 2 * t, at::kByte);
      frame[2].fill_(100 * v);
      write_png(folder / ("frame" + std::to_string(t) + ".png"), frame);  // 10 comes after 9
    }
  }
  write_numbered(path("video/a.gif"), 8, 7);
  write_png(path("video/poster.png"), at::zeros({3, 16, 24}, at::kByte));
  write_png(path("video/second_poster.png"), at::zeros({3, 16, 24}, at::kByte));
  const auto set = make(config(), Split::train);
  ASSERT_EQ(set->size(), 2 + 2 + 1);
  EXPECT_EQ(numbers(set->get(1), 2), (std::vector<int64_t>{4, 5, 6, 7, 8, 9, 10, 11}));
  EXPECT_EQ(video_of(set->get(2)), 100);
  EXPECT_EQ(video_of(set->get(4)), 7);
  EXPECT_EQ(make(config("episode_1"), Split::train)->size(), 2);
  EXPECT_EQ(check(config()).size(), 3);
}

TEST_F(VideoFolder, BadFilesAreSkippedCountedOrStop) {
  for (int64_t v = 0; v < 4; ++v) write_numbered(path("clip" + std::to_string(v) + ".gif"), 8, v);
  std::ofstream(path("broken.mp4")) << "no video";
  const auto set = make(config(), Split::train);
  EXPECT_EQ(set->size(), 4);
  EXPECT_NE(set->describe().find("1 bad files are skipped"), std::string::npos) << set->describe();
  VideoFolderConfig strict = config();
  strict.on_bad_file = OnBadFile::stop;
  EXPECT_NE(error_of([&] { make(strict, Split::train); }).find("broken.mp4"), std::string::npos);
  strict = config();
  strict.max_bad_files = 0.1;
  const std::string message = error_of([&] { make(strict, Split::train); });
  for (const char* part : {"at most 0.1", "1 of 5", "broken.mp4"}) EXPECT_NE(message.find(part), std::string::npos) << message;
  strict.max_bad_files = 2;
  EXPECT_NE(error_of([&] { make(strict, Split::train); }).find("data.max_bad_files"), std::string::npos);
  strict = config();
  strict.fps = -1;
  EXPECT_NE(error_of([&] { make(strict, Split::train); }).find("data.fps"), std::string::npos);
}

TEST_F(VideoFolder, ErrorsNamePathExpectedAndGot) {
  const auto says = [](const VideoFolderConfig& config, std::vector<std::string> parts, Split split = Split::train) {
    const std::string message = error_of([&] { make(config, split); });
    for (const auto& part : parts) EXPECT_NE(message.find(part), std::string::npos) << message;
  };
  std::ofstream(path("notes.txt")) << "no video";
  std::ofstream(path(".hidden.mp4")) << "no video";
  says(config(), {folder_.path().string(), "mp4", "avi", "mkv", "mov", "webm", "gif", "got none"});
  says(config("absent"), {"absent", "no such"});
  VideoFolderConfig wrong = config();
  wrong.path = "";
  says(wrong, {"data.path", "got nothing"});
  write_numbered(path("a.gif"), 6);
  write_numbered(path("b.gif"), 5);
  says(config(), {folder_.path().string(), "at least 8 frames", "2 videos, the longest of 6"});
  wrong = config();
  wrong.frames = 7;
  says(wrong, {"data.frames", "multiple", "got 7"});
  wrong = config();
  wrong.height = 0;
  says(wrong, {"data.height", "got 0"});
  wrong = config();
  wrong.held_out = 1;
  says(wrong, {"data.held_out", "got 1"});
  says(config(), {"data.held_out"}, Split::validation);
  std::ofstream(path("broken.mp4")) << "no video";
  says(config(), {"broken.mp4"});
}

TEST_F(VideoFolder, CheckFindsTheBadFiles) {
  write_numbered(path("good.gif"), 20);
  write_numbered(path("short.gif"), 5);
  std::ofstream(path("broken.mp4")) << "no video";
  const auto reports = check(config());
  ASSERT_EQ(reports.size(), 3);
  EXPECT_NE(reports[0].problem.find("broken.mp4"), std::string::npos);
  EXPECT_EQ(reports[1].problem, "");
  EXPECT_EQ(reports[1].frames, 20);
  EXPECT_EQ(reports[1].width, 24);
  EXPECT_NE(reports[2].problem.find("at least 8 frames for a clip, got 5"), std::string::npos);
}

}  // namespace
}  // namespace df
