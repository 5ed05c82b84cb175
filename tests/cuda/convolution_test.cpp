// SPDX-License-Identifier: MIT
// The device's convolutions against those of float64 on the CPU.
#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <ostream>
#include <vector>

#include "cuda/on_device.hpp"
#include "ops/convolution_passes.hpp"
#include "ops/kernels.hpp"

namespace df::test {
namespace {

struct Sizes {
  int64_t images, in, out, height, width, side = 3;
};
std::ostream& operator<<(std::ostream& out, const Sizes& s) {
  return out << s.images << " x " << s.in << " x " << s.height << " x " << s.width << " to " << s.out << " by " << s.side;
}

class ConvolutionKernels : public KernelTest, public ::testing::WithParamInterface<Sizes> {
 protected:
  void SetUp() override {
    KernelTest::SetUp();
    if (IsSkipped()) return;
    kernels_ = ops::kernels(cuda_->device()).convolutions;
    generator_ = cuda_->make_generator(5);
  }
  Tensor images(at::IntArrayRef sizes) {
    return at::randn(sizes, generator_, at::TensorOptions(at::kFloat).device(cuda_->device()))
        .to(at::kBFloat16)
        .contiguous(at::MemoryFormat::ChannelsLast);
  }
  static Tensor exact(const Tensor& x) { return x.to(at::kCPU, at::kDouble).contiguous(); }

  const ops::ConvolutionKernels* kernels_ = nullptr;
  at::Generator generator_;
};

constexpr double rounding = 3e-3;  // of results in bfloat16; sums are in float32

using Forward = ConvolutionKernels;
TEST_P(Forward, GivesImages) {
  const Sizes& s = GetParam();
  const Tensor x = images({s.images, s.in, s.height, s.width}), w = images({s.out, s.in, s.side, s.side});
  ASSERT_TRUE(kernels_->has_convolution({x, {}}, w));
  const Tensor y = ops::convolution_forward({x, {}}, w, {1, s.side / 2}, {}), expected = at::conv2d(exact(x), exact(w), {}, 1, s.side / 2);
  EXPECT_TRUE(y.is_contiguous(at::MemoryFormat::ChannelsLast));
  EXPECT_LT(relative_distance(y, expected), rounding);
  // One for each image, rows apart.
  const Tensor bias = 30 * at::randn({s.images, s.out + 3}, generator_, y.options().dtype(at::kFloat)).narrow(1, 1, s.out);
  EXPECT_LT(
      relative_distance(ops::convolution_forward({x, {}}, w, {1, s.side / 2}, bias), expected + exact(bias).view({s.images, s.out, 1, 1})),
      rounding);
}
INSTANTIATE_TEST_SUITE_P(Sizes, Forward,
                         ::testing::Values(Sizes{32, 48, 48, 64, 64}, Sizes{9, 96, 48, 64, 64}, Sizes{70, 48, 96, 32, 32},
                                           Sizes{50, 96, 96, 32, 48}, Sizes{11, 32, 48, 64, 64, 7}, Sizes{20, 16, 16, 64, 64},
                                           Sizes{67, 48, 48, 16, 16}, Sizes{51, 48, 48, 48, 16}, Sizes{45, 96, 48, 16, 80}));

// in: the channels that have a gradient; out: of the result.
using Backward = ConvolutionKernels;
TEST_P(Backward, GivesTheGradientOfTheFirstChannelsAndAddsAnother) {
  const Sizes& s = GetParam();
  const int64_t others = s.side == 7 ? 16 : 48;
  const Tensor x = images({s.images, s.in + others, s.height, s.width}), w = images({s.out, s.in + others, s.side, s.side}),
               dy = images({s.images, s.out, s.height, s.width}), more = images({s.images, s.in, s.height, s.width});
  ASSERT_TRUE(kernels_->has_convolution_backward(dy, w, s.in, 0));
  const ops::ConvolutionStep step{1, s.side / 2};
  const Tensor expected = at::conv_transpose2d(exact(dy), exact(w), {}, 1, step.padding).narrow(1, 0, s.in);
  EXPECT_LT(relative_distance(ops::convolution_backward(dy, {x, {}}, w, step, s.in, 0, {}).first, expected), rounding);
  EXPECT_LT(relative_distance(ops::convolution_backward(dy, {x, {}}, w, step, s.in, 0, {more, {}}).first, expected + exact(more)),
            rounding);
}
INSTANTIATE_TEST_SUITE_P(Sizes, Backward,
                         ::testing::Values(Sizes{32, 48, 48, 64, 64}, Sizes{9, 96, 48, 64, 64}, Sizes{70, 48, 96, 32, 32},
                                           Sizes{11, 16, 48, 64, 64, 7}, Sizes{67, 48, 48, 16, 16}, Sizes{51, 48, 48, 48, 16}));

using Weights = ConvolutionKernels;
TEST_P(Weights, AddUpTheGradientsOfSeveralBatches) {
  const Sizes& s = GetParam();
  const ops::ConvolutionStep step{1, s.side / 2};
  const Tensor w = images({s.out, s.in, s.side, s.side});
  ops::ConvolutionBatches batches;
  Tensor expected = at::zeros(w.sizes(), at::kDouble);
  for (int batch = 0; batch < 3; ++batch) {
    batches.x.push_back({images({s.images, s.in, s.height, s.width}), {}});
    batches.dy.push_back(images({s.images, s.out, s.height, s.width}));
    expected += ops::convolution_weight(exact(batches.dy.back()), {exact(batches.x.back().first), {}}, exact(w), step);
  }
  ASSERT_TRUE(kernels_->has_convolution_weights(batches.x[0], batches.dy[0], w));
  const Tensor sum = ops::add_weights(batches, s.side, {});
  EXPECT_EQ(sum.scalar_type(), at::kFloat);
  EXPECT_LT(relative_distance(sum, expected), 1e-5);
  EXPECT_LT(relative_distance(ops::add_weights(batches, s.side, sum), 2 * expected), 1e-5);
  EXPECT_TRUE(at::equal(sum, ops::add_weights(batches, s.side, {}))) << "the order of sums is fixed";
}
INSTANTIATE_TEST_SUITE_P(Sizes, Weights,
                         ::testing::Values(Sizes{32, 48, 48, 64, 64}, Sizes{3, 96, 48, 20, 40}, Sizes{5, 48, 144, 8, 8},
                                           Sizes{7, 192, 96, 3, 5}, Sizes{2, 64, 128, 32, 32}, Sizes{9, 256, 64, 8, 8},
                                           Sizes{1, 64, 64, 9, 17}, Sizes{20, 16, 16, 64, 64}, Sizes{5, 32, 48, 64, 64, 7},
                                           Sizes{3, 64, 48, 12, 20, 7}));

// Of 48 channels each, which lie apart.
using Pair = ConvolutionKernels;
TEST_P(Pair, IsConvolvedAsIfItWereJoined) {
  const Sizes& s = GetParam();
  const std::vector<int64_t> half = {s.images, s.in / 2, s.height, s.width};
  const ops::ImagePair x{images(half), images(half)}, more{images(half), images(half)};
  const Tensor w = images({s.out, s.in, s.side, s.side}), dy = images({s.images, s.out, s.height, s.width});
  const ops::ConvolutionStep step{1, s.side / 2};
  ASSERT_TRUE(ops::takes_pair(x, w, step));
  const Tensor both = exact(at::cat({x.first, x.second}, 1));
  EXPECT_LT(relative_distance(ops::convolution_forward(x, w, step, {}), at::conv2d(both, exact(w), {}, 1, step.padding)), rounding);
  const Tensor dx = at::conv_transpose2d(exact(dy), exact(w), {}, 1, step.padding);
  const ops::ImagePair found = ops::convolution_backward(dy, x, w, step, s.in / 2, s.in / 2, more);
  EXPECT_LT(relative_distance(found.first, dx.narrow(1, 0, s.in / 2) + exact(more.first)), rounding);
  EXPECT_LT(relative_distance(found.second, dx.narrow(1, s.in / 2, s.in / 2) + exact(more.second)), rounding);
  EXPECT_LT(relative_distance(ops::add_weights({{x}, {dy}}, s.side, {}), ops::convolution_weight(exact(dy), {both, {}}, exact(w), step)),
            1e-5);
}
INSTANTIATE_TEST_SUITE_P(Sizes, Pair, ::testing::Values(Sizes{32, 96, 48, 64, 64}, Sizes{17, 96, 48, 64, 64, 1}));

}  // namespace
}  // namespace df::test
