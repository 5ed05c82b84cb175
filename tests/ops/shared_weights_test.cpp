// SPDX-License-Identifier: MIT
// Convolutions whose weights a sequence shares: outputs and gradients are those of at::conv2d.
#include "ops/shared_weights.hpp"

#include <ATen/ATen.h>
#include <gtest/gtest.h>
#include <torch/autograd.h>

#include <optional>
#include <vector>

#include "core/autocast.hpp"
#include "diffusion_forcing/core/seed.hpp"
#include "ops/convolution.hpp"
#include "support/support.hpp"

namespace df::ops {
namespace {

using Tensors = std::vector<Tensor>;

// A recurrence of three convolutions, of which the second has a bias and the third sees its weight as 2 x 2; the last weight is used once,
// and the one after it never.
struct Recurrence {
  Recurrence() {
    const auto parameter = [&](at::IntArrayRef sizes, bool channels_last) {
      const Tensor w = 0.2 * seeded_normal(sizes.vec(), weights.size());
      weights.push_back((channels_last ? w.movedim(1, -1).contiguous().movedim(-1, 1) : w.clone()).requires_grad_());
    };
    parameter({4, 4, 3, 3}, true);
    parameter({4, 4, 1, 1}, false);
    parameter({4, 16, 1, 1}, true);
    parameter({2, 4, 3, 3}, false);
    parameter({3, 3, 3, 3}, true);
    bias = seeded_normal({4}, 11).requires_grad_();
    x = seeded_normal({2, 4, 8, 8}, 12).requires_grad_();
  }
  Tensor operator()(int tokens, const SharedWeights* shared = nullptr) const {
    Tensor h = x;
    for (int t = 0; t < tokens; ++t) {
      h = at::tanh(convolution(h, {weights[0], shared}, {}, 1, 1));
      h = at::tanh(convolution(h, {weights[1], shared}, bias, 1, 0));
      h = at::tanh(at::upsample_nearest2d(convolution(h, {weights[2], shared}, {}, 2, 0, {4, 4, 2, 2}), {8, 8}) + x);
    }
    return convolution(h, {weights[3], shared}, {}, 1, 1);
  }
  Tensors inputs() const {
    Tensors all = weights;
    all.insert(all.end(), {bias, x});
    return all;
  }
  Tensors weights;
  Tensor bias, x;
};

struct Result {
  Tensor y;
  Tensors gradients;
};

Result run(const Recurrence& work, bool shared, int tokens, const Tensors& inputs) {
  std::optional<SharedWeights> of_sequence;
  if (shared) of_sequence.emplace(work.weights);
  const Tensor y = work(tokens, shared ? &*of_sequence : nullptr);
  return {y, torch::autograd::grad({y.to(at::kFloat).square().sum()}, inputs, {}, false, false, /*allow_unused=*/true)};
}

void expect_equal(const Result& found, const Result& expected, double tolerance) {
  EXPECT_TRUE(df::test::close(found.y.to(at::kFloat), expected.y.to(at::kFloat), tolerance));
  ASSERT_EQ(found.gradients.size(), expected.gradients.size());
  for (size_t i = 0; i < found.gradients.size(); ++i) {
    ASSERT_EQ(found.gradients[i].defined(), expected.gradients[i].defined()) << i;
    if (!found.gradients[i].defined()) continue;
    EXPECT_EQ(found.gradients[i].sizes(), expected.gradients[i].sizes()) << i;
    EXPECT_EQ(found.gradients[i].scalar_type(), at::kFloat) << i;
    EXPECT_TRUE(df::test::close(found.gradients[i], expected.gradients[i], tolerance)) << i;
  }
}

TEST(SharedWeights, GiveTheGradientsOfConv2d) {
  const Recurrence work;
  for (const int tokens : {1, 5}) expect_equal(run(work, true, tokens, work.inputs()), run(work, false, tokens, work.inputs()), 1e-5);
}

TEST(SharedWeights, KeepTheLayoutOfTheirParameters) {
  const Recurrence work;
  const auto found = run(work, true, 3, work.weights);
  for (size_t i = 0; i < 4; ++i) EXPECT_EQ(found.gradients[i].strides(), work.weights[i].strides()) << i;
}

TEST(SharedWeights, UnderAutocastAreCastOnceAndSummedInFloat32) {
  const Recurrence work;
  const Autocast autocast(at::kCPU, true, true);
  const auto found = run(work, true, 5, work.inputs());
  EXPECT_EQ(found.y.scalar_type(), at::kBFloat16);
  expect_equal(found, run(work, false, 5, work.inputs()), 3e-2);
}

TEST(SharedWeights, AskForSomeGradientsOnly) {
  const Recurrence work;
  expect_equal(run(work, true, 3, {work.x}), run(work, false, 3, {work.x}), 1e-5);
  expect_equal(run(work, true, 3, {work.weights[2]}), run(work, false, 3, {work.weights[2]}), 1e-5);
  Recurrence frozen;
  for (Tensor& weight : frozen.weights) weight.requires_grad_(false);
  expect_equal(run(frozen, true, 3, {frozen.x}), run(frozen, false, 3, {frozen.x}), 1e-5);
}

TEST(SharedWeights, ServeASecondBackwardPass) {
  const Recurrence work;
  const SharedWeights shared(work.weights);
  const Tensor loss = work(3, &shared).square().sum();
  const auto first = torch::autograd::grad({loss}, {work.weights[0]}, {}, /*retain_graph=*/true);
  const auto second = torch::autograd::grad({loss}, {work.weights[0]});
  EXPECT_TRUE(at::equal(first[0], second[0]));
}

// Nothing but the convolutions that are given them knows of them.
TEST(SharedWeights, ServeThoseThatAreGivenThem) {
  const Recurrence work;
  const SharedWeights outer(work.weights), inner({work.weights[0]});
  const Tensor inside = work(1, &outer);
  const auto name = [](const Tensor& y) { return y.grad_fn()->name(); };
  EXPECT_NE(name(inside), name(work(1)));
  EXPECT_EQ(name(work(1, &inner)), name(work(1))) << "the last weight is not among these";
}

// Sequences of two models whose tokens take turns, on one thread: what each leaves is its own.
TEST(SharedWeights, OfSequencesThatTakeTurnsStayApart) {
  const Recurrence a;
  Recurrence b;
  for (Tensor& weight : b.weights) weight = (weight.detach() * 1.5).requires_grad_();
  const auto gradients = [](const Recurrence& work, const Tensor& y) {
    return torch::autograd::grad({y.square().sum()}, work.inputs(), {}, false, false, /*allow_unused=*/true);
  };
  const auto alone = [&](const Recurrence& work) {
    const SharedWeights shared(work.weights);
    return gradients(work, work(3, &shared) + work(2, &shared));
  };
  const Tensors of_a = alone(a), of_b = alone(b);
  const SharedWeights with_a(a.weights), with_b(b.weights);
  const Tensor long_a = a(3, &with_a), long_b = b(3, &with_b), short_a = a(2, &with_a), short_b = b(2, &with_b);
  const Tensors found_b = gradients(b, long_b + short_b), found_a = gradients(a, long_a + short_a);
  for (size_t i = 0; i < of_a.size(); ++i) {
    ASSERT_EQ(found_a[i].defined(), of_a[i].defined()) << i;
    if (!of_a[i].defined()) continue;
    EXPECT_TRUE(df::test::close(found_a[i], of_a[i], 1e-5)) << i;  // the order of sums differs
    EXPECT_TRUE(df::test::close(found_b[i], of_b[i], 1e-5)) << i;
  }
}

}  // namespace
}  // namespace df::ops
