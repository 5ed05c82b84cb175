// SPDX-License-Identifier: MIT
#include "diffusion_forcing/data/video_tokens.hpp"

#include <ATen/ATen.h>

#include "diffusion_forcing/core/error.hpp"
#include "support/support.hpp"

namespace df {
namespace {

Tensor random_bytes(const Shape& shape) {
  return at::arange(at::prod(at::tensor(shape)).item<int64_t>()).mul(37).remainder(256).to(at::kByte).view(shape);
}

TEST(VideoTokens, BytesComeBackExactly) {
  const Tensor frames = random_bytes({8, 3, 5, 7}), batch = random_bytes({2, 12, 3, 4, 4});
  for (const auto& [mean, std] : {std::pair{0.5, 0.5}, {0.0, 1.0}, {0.43, 0.21}}) {
    EXPECT_TRUE(test::identical(tokens_to_frames(frames_to_tokens(frames, 4, mean, std), 4, mean, std), frames));
    EXPECT_TRUE(test::identical(tokens_to_frames(frames_to_tokens(batch, 3, mean, std), 3, mean, std), batch));
  }
}

TEST(VideoTokens, TokensAreFrameMajorAndNormalised) {
  const Tensor frames = random_bytes({6, 3, 2, 2});
  const Tensor tokens = frames_to_tokens(frames, 2, 0.4, 0.2);
  ASSERT_EQ(tokens.sizes().vec(), (Shape{3, 6, 2, 2}));
  EXPECT_EQ(tokens.scalar_type(), at::kFloat);
  for (int64_t f = 0; f < 6; ++f)
    EXPECT_TRUE(test::close(tokens[f / 2].narrow(0, f % 2 * 3, 3), (frames[f].to(at::kFloat) / 255 - 0.4) / 0.2, 1e-6));
}

TEST(VideoTokens, FloatsAndBytesAgreeAndTheInputIsKept) {
  const Tensor frames = random_bytes({4, 3, 2, 2}), floats = frames.to(at::kFloat) / 255, copy = floats.clone();
  EXPECT_TRUE(test::close(frames_to_tokens(floats, 2, 0.5, 0.5), frames_to_tokens(frames, 2, 0.5, 0.5), 1e-6));
  EXPECT_TRUE(test::identical(floats, copy));
}

TEST(VideoTokens, PredictionsOutOfRangeAreClamped) {
  const Tensor tokens = at::tensor({-3.0f, -1.0f, 0.0f, 3.0f}).view({1, 4, 1, 1});
  EXPECT_TRUE(test::identical(tokens_to_frames(tokens, 4, 0.5, 0.5), at::tensor({0, 0, 128, 255}).to(at::kByte).view({4, 1, 1, 1})));
}

TEST(VideoTokens, ABatchIsItsSequences) {
  const Tensor frames = random_bytes({3, 8, 3, 2, 2});
  const Tensor tokens = frames_to_tokens(frames, 4, 0.5, 0.5);
  ASSERT_EQ(tokens.sizes().vec(), (Shape{3, 2, 12, 2, 2}));
  for (int64_t b = 0; b < 3; ++b) EXPECT_TRUE(test::identical(tokens[b], frames_to_tokens(frames[b], 4, 0.5, 0.5)));
}

TEST(VideoTokens, ConditionsAreTheActionsThatLedToTheFrames) {
  const Tensor actions = at::eye(3).index_select(0, at::tensor({2, 0, 1, 1}, at::kLong));  // [4, 3]
  const Tensor expected = at::tensor({0, 0, 0, 0, 0, 1, 1, 0, 0, 0, 1, 0}, at::kFloat).view({2, 6});
  EXPECT_TRUE(test::identical(actions_to_condition(actions, 2), expected));
  EXPECT_TRUE(test::identical(actions_to_condition(at::stack({actions, actions}), 2), at::stack({expected, expected})));
  EXPECT_TRUE(test::identical(actions_to_condition(actions, 4), expected.view({1, 12})));
}

TEST(VideoTokens, ErrorsNameWhatIsWrong) {
  const Tensor frames = random_bytes({6, 3, 2, 2});
  EXPECT_EQ(test::error_of([&] { frames_to_tokens(frames, 4, 0.5, 0.5); }), "frames: expected a multiple of frame_stack 4, got 6");
  EXPECT_EQ(test::error_of([&] { frames_to_tokens(frames, 0, 0.5, 0.5); }), "frame_stack: expected at least 1, got 0");
  EXPECT_NE(test::error_of([&] { frames_to_tokens(frames[0], 1, 0.5, 0.5); }).find("got [3, 2, 2]"), std::string::npos);
  EXPECT_NE(test::error_of([&] { frames_to_tokens(Tensor(), 1, 0.5, 0.5); }).find("undefined"), std::string::npos);
  EXPECT_NE(test::error_of([&] { frames_to_tokens(frames.to(at::kInt), 1, 0.5, 0.5); }).find("got Int"), std::string::npos);
  EXPECT_NE(test::error_of([&] { tokens_to_frames(frames, 2, 0.5, 0.5); }).find("frame_stack 2, got 3"), std::string::npos);
  EXPECT_NE(test::error_of([&] { actions_to_condition(at::ones({5, 3}), 2); }).find("frame_stack 2, got 5"), std::string::npos);
  EXPECT_NE(test::error_of([&] { actions_to_condition(at::ones({4}), 2); }).find("got [4]"), std::string::npos);
}

}  // namespace
}  // namespace df
