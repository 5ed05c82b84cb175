// SPDX-License-Identifier: MIT
#include "diffusion_forcing/data/teco_npz.hpp"

#include <ATen/ATen.h>

#include <fstream>
#include <set>

#include "diffusion_forcing/core/error.hpp"
#include "diffusion_forcing/core/npy.hpp"
#include "support/support.hpp"

namespace df {
namespace {

using test::error_of;

// Every pixel of frame t is t; the action at t is t modulo 3.
std::map<std::string, Tensor> numbered(int64_t frames = 40, int64_t H = 6, int64_t W = 8) {
  return {{"video", at::arange(frames).to(at::kByte).reshape({frames, 1, 1, 1}).expand({frames, H, W, 3})},
          {"actions", at::arange(frames) % 3}};
}

class TecoNpz : public ::testing::Test {
 protected:
  TecoNpz() {
    write("train/0.npz", numbered());
    write("train/1.npz", numbered());
    write("test/0.npz", numbered());
    config_.path = folder_.path().string();
    config_.frames = 8;
    config_.frame_stack = 2;
    config_.mean = 0;
    config_.std = 1;
    config_.actions = true;
    config_.clips_per_file = 5;
  }
  void write(const std::string& name, const std::map<std::string, Tensor>& arrays) { write_npz(folder_.path() / name, arrays); }
  void says(std::vector<std::string> parts) {
    const std::string message = error_of([&] { make(config_, Split::train); });
    for (const auto& part : parts) EXPECT_NE(message.find(part), std::string::npos) << message;
  }
  test::TemporaryFolder folder_;
  TecoNpzConfig config_;
};

TEST_F(TecoNpz, ClipsHoldFramesAndTheActionsThatLedToThem) {
  const auto set = make(config_, Split::train);
  EXPECT_EQ(set->size(), 10);
  EXPECT_EQ(make(config_, Split::validation)->size(), 5);
  EXPECT_EQ(set->spec().token.token_shape, (Shape{6, 6, 8}));
  EXPECT_EQ(set->spec().token.condition_dim, 6);
  std::set<int64_t> starts;
  for (int64_t i = 0; i < set->size(); ++i) {
    const Batch clip = set->get(i);
    ASSERT_EQ(clip.x.sizes(), (std::vector<int64_t>{4, 6, 6, 8}));
    ASSERT_EQ(clip.c.sizes(), (std::vector<int64_t>{4, 6}));
    const Tensor frames = clip.x.reshape({8, 3, 6, 8}).mean({1, 2, 3}) * 255;
    const int64_t start = std::lround(frames[0].item<double>());
    starts.insert(start);
    EXPECT_TRUE(test::close(frames, at::arange(start, start + 8), 1e-5));
    const Tensor led = clip.c.reshape({8, 3});
    EXPECT_EQ(led[0].sum().item<double>(), 0);  // nothing led to the first frame
    for (int64_t t = 1; t < 8; ++t) {
      EXPECT_EQ(led[t].sum().item<double>(), 1);
      EXPECT_EQ(led[t].argmax().item<int64_t>(), (start + t - 1) % 3);
    }
    EXPECT_TRUE(test::identical(set->get(i).x, clip.x));
  }
  EXPECT_GT(starts.size(), 4);
  EXPECT_EQ(set->get(0, 20).x.size(0), 20);
  EXPECT_NE(error_of([&] { set->get(0, 21); }).find("at least 42 frames for a clip, got 40"), std::string::npos);
}

TEST_F(TecoNpz, ActionsMayBeLeftOut) {
  config_.actions = false;
  write("train/0.npz", {{"video", numbered()["video"]}});
  const auto set = make(config_, Split::train);
  EXPECT_EQ(set->spec().token.condition_dim, 0);
  EXPECT_FALSE(set->get(0).c.defined());
}

TEST_F(TecoNpz, ErrorsNameFileExpectedAndGot) {
  const auto with = [](const std::string& name, const Tensor& array) {
    auto arrays = numbered();
    arrays[name] = array;
    return arrays;
  };
  write("train/0.npz", {{"actions", at::arange(40)}});
  says({"0.npz", "'video'", "got: actions"});
  write("train/0.npz", {{"video", numbered()["video"]}});
  says({"0.npz", "'actions'", "got: video"});
  write("train/0.npz", with("video", at::zeros({40, 6, 8, 3})));
  says({"0.npz", "video: expected uint8, got Float"});
  write("train/0.npz", with("video", at::zeros({40, 3, 6, 8}, at::kByte)));
  says({"0.npz", "[*, *, *, 3]", "[40, 3, 6, 8]"});
  write("train/0.npz", with("actions", at::zeros({39}, at::kLong)));
  says({"0.npz", "actions", "[40]", "[39]"});
  write("train/0.npz", with("actions", at::zeros({40})));
  says({"0.npz", "actions: expected integers, got Float"});
  write("train/0.npz", with("actions", at::arange(40) % 4));
  says({"0.npz", "frame 3", "0 .. 2 (data.action_count 3)", "got 3"});
  write("train/0.npz", with("actions", at::arange(40) % 3 - 1));
  says({"0.npz", "frame 0", "got -1"});
  write("train/0.npz", numbered(7));
  says({"0.npz", "at least 8 frames", "got 7"});
  write("train/0.npz", numbered());
  write("train/1.npz", numbered(40, 6, 9));
  const auto set = make(config_, Split::train);
  const std::string message = error_of([&] { set->get(5); });
  EXPECT_NE(message.find("1.npz"), std::string::npos) << message;
  EXPECT_NE(message.find("[40, 6, 9, 3]"), std::string::npos) << message;
}

TEST_F(TecoNpz, FoldersMustBeThere) {
  std::filesystem::remove_all(folder_.path() / "test");
  EXPECT_NE(error_of([&] { make(config_, Split::validation); }).find("test: no such folder"), std::string::npos);
  std::filesystem::create_directories(folder_.path() / "test");
  EXPECT_NE(error_of([&] { make(config_, Split::validation); }).find("expected .npz files, got none"), std::string::npos);
  config_.path = "";
  says({"data.path", "got nothing"});
}

TEST_F(TecoNpz, CheckFindsTheBadFiles) {
  std::ofstream(folder_.path() / "train" / "0.npz") << "text";
  write("train/2.npz", numbered(40, 6, 9));
  write("test/1.npz", numbered(5));
  std::vector<std::string> bad;
  for (const FileReport& report : check(config_))
    if (!report.problem.empty()) bad.push_back(report.path.filename().string() + ": " + report.problem);
  ASSERT_EQ(bad.size(), 3);
  EXPECT_NE(bad[0].find("0.npz"), std::string::npos);
  EXPECT_NE(bad[1].find("2.npz"), std::string::npos);
  EXPECT_NE(bad[2].find("got 5"), std::string::npos);
}

}  // namespace
}  // namespace df
