// SPDX-License-Identifier: MIT
// The fused kernels against their twins of plain operators in float64: values and gradients.
#include <ATen/ATen.h>
#include <gtest/gtest.h>
#include <torch/autograd.h>

#include <functional>
#include <utility>
#include <vector>

#include "cuda/on_device.hpp"
#include "diffusion_forcing/core/accelerator.hpp"
#include "diffusion_forcing/core/error.hpp"
#include "ops/attention.hpp"
#include "ops/image.hpp"
#include "ops/kernels.hpp"
#include "ops/pointwise.hpp"
#include "support/support.hpp"

namespace df::test {
namespace {

using Arguments = std::vector<Tensor>;
using Operator = std::function<Tensor(const Arguments&)>;

class Kernels : public KernelTest {
 protected:
  void SetUp() override {
    KernelTest::SetUp();
    if (IsSkipped()) return;
    generator_ = cuda_->make_generator(3);
  }
  Tensor normal(at::IntArrayRef sizes) { return at::randn(sizes, generator_, at::TensorOptions(at::kFloat).device(cuda_->device())); }

  // Values and gradients of `op` and of its twin on the same numbers; the twin sees them in float64 (images rounded to `type` first).
  void compare(const Operator& op, const Operator& twin, const Arguments& images, const Arguments& parameters, at::ScalarType type,
               double tolerance) {
    Arguments fast, exact;
    for (const auto& x : images) fast.push_back(x.to(type).contiguous(at::MemoryFormat::ChannelsLast).requires_grad_());
    for (const auto& p : parameters) fast.push_back(p.defined() ? p.clone().requires_grad_() : p);
    for (const auto& x : fast) exact.push_back(x.defined() ? x.detach().to(at::kDouble).contiguous().requires_grad_() : x);
    const Tensor y = op(fast), z = twin(exact);
    EXPECT_EQ(y.scalar_type(), type);
    EXPECT_LT(relative_distance(y, z), tolerance) << "value";
    const Tensor upstream = normal(y.sizes()).to(type);
    Arguments inputs, exact_inputs;
    for (size_t i = 0; i < fast.size(); ++i)
      if (fast[i].defined()) {
        inputs.push_back(fast[i]);
        exact_inputs.push_back(exact[i]);
      }
    const auto gradients = torch::autograd::grad({y}, inputs, {upstream});
    const auto expected = torch::autograd::grad({z}, exact_inputs, {upstream.to(at::kDouble)});
    for (size_t i = 0; i < gradients.size(); ++i)
      EXPECT_LT(relative_distance(gradients[i], expected[i]), 2 * tolerance) << "gradient " << i;
  }

  at::Generator generator_;
};

constexpr double fp32_tolerance = 2e-5, bf16_tolerance = 6e-3;
double tolerance(at::ScalarType type) { return type == at::kFloat ? fp32_tolerance : bf16_tolerance; }

class GroupNormKernels : public Kernels, public ::testing::WithParamInterface<Activation> {};
INSTANTIATE_TEST_SUITE_P(Kernels, GroupNormKernels, ::testing::Values(Activation::silu, Activation::mish),
                         [](const auto& info) { return info.param == Activation::silu ? "Silu" : "Mish"; });

TEST_P(GroupNormKernels, AreTheirTwin) {
  struct Case {
    int64_t n, c, h, w;
    bool bias, residual;
  };
  for (const Case& c : {Case{1, 48, 64, 64, true, false}, Case{32, 48, 16, 16, true, true}, Case{3, 96, 32, 32, true, true},
                        Case{2, 384, 8, 8, false, false}, Case{5, 192, 7, 9, false, true}, Case{256, 64, 4, 4, true, false},
                        Case{32, 64, 32, 32, true, true}, Case{2, 72, 31, 33, true, true}, Case{1, 248, 16, 16, true, true},
                        Case{3, 512, 24, 24, true, true}, Case{1, 64, 160, 160, true, true}, Case{4, 32, 256, 1, true, false},
                        Case{3, 256, 64, 1, true, true}, Case{256, 32, 1, 256, true, true}, Case{2, 16, 1, 20, true, true},
                        Case{100, 128, 1, 384, true, true}})
    for (const auto type : {at::kFloat, at::kBFloat16}) {
      SCOPED_TRACE(::testing::Message() << "N " << c.n << " C " << c.c << " H " << c.h << " W " << c.w << " " << toString(type));
      Arguments images = {normal({c.n, c.c, c.h, c.w}) * 2 + 0.5};
      if (c.residual) images.push_back(normal({c.n, c.c, c.h, c.w}));
      const auto vector = [&](bool present) { return present ? normal({c.n, c.c}) : Tensor(); };
      const auto run = [&](auto f) {
        return [f, c](const Arguments& a) {
          const size_t p = c.residual ? 2 : 1;
          return f(a[0], ops::NormVectors{a[p], a[p + 1], a[p + 2], a[p + 3]}, 8, GetParam(), c.residual ? a[1] : Tensor());
        };
      };
      compare(run(ops::group_norm), run(ops::plain::group_norm), images,
              {vector(true) + 1, vector(true), vector(c.bias), vector(c.bias && c.residual)}, type, tolerance(type));
    }
}

TEST_P(GroupNormKernels, InOneKernelAreThoseInTwo) {
  for (const auto type : {at::kFloat, at::kBFloat16})
    for (const int64_t images : {1, 2, 32, 100}) {
      SCOPED_TRACE(::testing::Message() << images << " images, " << toString(type));
      const auto image = [&] { return normal({images, 48, 32, 40}).to(type).contiguous(at::MemoryFormat::ChannelsLast); };
      const Tensor x = image(), residual = image(), dy = image(), vectors = normal({4, images, 48});
      ops::GroupNormInput in{x, vectors[0], vectors[1], vectors[2], residual, vectors[3], 8, 1e-5, GetParam()};
      const auto run = [&](bool at_once) {
        in.at_once = at_once;
        const auto& kernels = *ops::kernels(x.device()).images;
        const auto out = kernels.group_norm(in);
        const auto d = kernels.group_norm_backward(in, out.stats, dy);
        return Arguments{out.y, out.stats, d.x, d.gain, d.shift, d.x_bias, d.residual_bias};
      };
      const auto once = run(true), again = run(true), twice = run(false);
      for (size_t i = 0; i < once.size(); ++i) {
        EXPECT_TRUE(at::equal(once[i], again[i])) << i << " does not repeat";
        EXPECT_LT(relative_distance(once[i], twice[i]), 2 * tolerance(type)) << i;
      }
    }
}

// Numbers from one end to the other, each by itself: a gain of 0 leaves the shift alone for the activation to work on.
TEST_P(GroupNormKernels, AreExactAtBothEnds) {
  const Tensor x = normal({1, 512, 1, 4}).contiguous(at::MemoryFormat::ChannelsLast), dy = at::ones_like(x),
               gain = at::zeros({1, 512}, x.options());
  const Tensor u = at::linspace(-110, 110, 512, x.options()).view({1, 512});
  const ops::GroupNormInput in{x, gain, u, {}, {}, {}, 8, 1e-5, GetParam()};
  const auto& kernels = *ops::kernels(x.device()).images;
  const auto out = kernels.group_norm(in);
  const Tensor slope = kernels.group_norm_backward(in, out.stats, dy).shift / 4;  // the sum over four pixels
  const Tensor exact = u.to(at::kDouble).requires_grad_(), y = GetParam() == Activation::silu ? at::silu(exact) : at::mish(exact);
  const Tensor exact_slope = torch::autograd::grad({y.sum()}, {exact})[0];
  EXPECT_TRUE(at::allclose(out.y.select(3, 0).squeeze(2).to(at::kDouble), y, 2e-5, 1e-6));
  EXPECT_TRUE(at::allclose(slope.to(at::kDouble), exact_slope, 2e-5, 2e-6));
}

// Vectors that are parts of wider rows, and one that all images share: its gradient is a sum over them.
TEST_F(Kernels, GroupNormReadsStridedVectors) {
  const Tensor x = normal({4, 48, 8, 8}), sequence = normal({4, 3, 96}), shared = normal({48});
  const auto gradients = [&](auto f) {
    const Tensor leaf = shared.detach().requires_grad_(), rows = sequence.detach().requires_grad_();
    const auto parts = rows.select(1, 1).chunk(2, 1);
    const Tensor y = f(x, ops::NormVectors{parts[0], leaf.expand({4, 48}), parts[1], {}}, 8, Activation::silu, Tensor());
    auto all = torch::autograd::grad({y.square().sum()}, {leaf, rows});
    all.push_back(y);
    return all;
  };
  const auto fast = gradients(ops::group_norm), plain = gradients(ops::plain::group_norm);
  for (size_t i = 0; i < fast.size(); ++i) EXPECT_LT(relative_distance(fast[i], plain[i]), 2 * fp32_tolerance) << i;
}

TEST_F(Kernels, AddBias) {
  for (const int64_t channels : {8, 16, 24, 64, 96, 256})
    for (const int64_t size : {1, 9, 64})
      for (const bool more : {false, true})
        for (const auto type : {at::kFloat, at::kBFloat16}) {
          SCOPED_TRACE(::testing::Message() << "C " << channels << ", " << size << " pixels wide, " << toString(type));
          Arguments images(more ? 2 : 1);
          for (Tensor& image : images) image = normal({3, channels, 5, size});
          const auto run = [&](auto f) { return [f, more](const Arguments& a) { return f(a[0], a.back(), more ? a[1] : Tensor()); }; };
          compare(run(ops::add_bias), run(ops::plain::add_bias), images, {normal({3, channels})}, type, tolerance(type));
        }
}

TEST_F(Kernels, Upsample) {
  for (const int64_t channels : {8, 48, 256})
    for (const auto type : {at::kFloat, at::kBFloat16}) {
      const auto run = [](auto f) { return [f](const Arguments& a) { return f(a[0]); }; };
      compare(run(ops::upsample), run(ops::plain::upsample), {normal({3, channels, 7, 10})}, {}, type, tolerance(type));
    }
}

TEST_F(Kernels, GruCell) {
  for (const int64_t channels : {8, 16, 48})
    for (const auto type : {at::kFloat, at::kBFloat16}) {
      const auto run = [](auto f) { return [f](const Arguments& a) { return f(a[0], a[1], a[2]); }; };
      compare(run(ops::gru_cell), run(ops::plain::gru_cell),
              {normal({3, 3 * channels, 5, 7}), normal({3, 3 * channels, 5, 7}), normal({3, channels, 5, 7})}, {}, type, tolerance(type));
    }
}

TEST_F(Kernels, Concatenate) {
  for (const auto& [a, b] : {std::pair<int64_t, int64_t>{48, 48}, {8, 24}, {192, 384}})
    for (const auto& [height, width] : {std::pair<int64_t, int64_t>{1, 1}, {7, 9}, {32, 1}})
      for (const auto type : {at::kFloat, at::kBFloat16}) {
        const auto run = [](auto f) { return [f](const Arguments& x) { return f(x[0], x[1]); }; };
        compare(run(ops::concatenate), run(ops::plain::concatenate), {normal({3, a, height, width}), normal({3, b, height, width})}, {},
                type, tolerance(type));
      }
}

// A skip connection: the gradient of the part that is concatenated lies between others.
TEST_F(Kernels, Fork) {
  for (const int64_t images : {1, 3})
    for (const auto& [height, width] : {std::pair<int64_t, int64_t>{1, 1}, {7, 9}, {32, 1}, {1, 5}})
      for (const auto type : {at::kFloat, at::kBFloat16}) {
        SCOPED_TRACE(::testing::Message() << images << " images of " << height << " x " << width << " " << toString(type));
        const auto run = [](auto concatenate, auto fork) {
          return [=](const Arguments& x) {
            const auto [now, later] = fork(x[0]);
            return concatenate(now * x[1], later);
          };
        };
        compare(run(ops::concatenate, ops::fork),
                run(ops::plain::concatenate,
                    [](const Tensor& x) {
                      return std::pair{x, x};
                    }),
                {normal({images, 24, height, width}), normal({images, 24, height, width})}, {}, type, tolerance(type));
      }
}

TEST_F(Kernels, RmsNorm) {
  struct Case {
    int64_t n, c, h, w;
  };
  for (const Case& c :
       {Case{32, 48, 64, 64}, Case{1, 48, 64, 64}, Case{3, 96, 5, 7}, Case{32, 192, 16, 16}, Case{256, 384, 8, 8}, Case{2, 16, 1, 1},
        Case{5, 8, 31, 33}, Case{300, 32, 9, 15}, Case{130, 64, 33, 1}, Case{1, 512, 7, 40}, Case{3, 768, 6, 6}, Case{2, 1024, 24, 24}})
    for (const bool extras : {false, true})
      for (const auto type : {at::kFloat, at::kBFloat16}) {
        SCOPED_TRACE(::testing::Message() << "N " << c.n << " C " << c.c << " H " << c.h << " W " << c.w << " " << toString(type));
        Arguments images(extras ? 2 : 1);
        for (Tensor& image : images) image = normal({c.n, c.c, c.h, c.w});
        const auto run = [&](auto f) {
          return [f, extras](const Arguments& a) { return extras ? f(a[0], a[2], a[3], a[1]) : f(a[0], a[1], a[2], Tensor()); };
        };
        compare(run(ops::rms_norm), run(ops::plain::rms_norm), images, {extras ? normal({c.n, c.c}) : Tensor(), normal({c.n, c.c})}, type,
                tolerance(type));
        if (extras) continue;
        const auto with_images = [](const Arguments& a) {
          const auto [normed, kept] = ops::rms_norm_and_images(a[0], a[1]);
          return normed + kept;
        };
        const auto twin = [](const Arguments& a) { return ops::plain::rms_norm(a[0], {}, a[1], {}) + a[0]; };
        compare(with_images, twin, images, {normal({c.n, c.c})}, type, tolerance(type));
      }
}

// A bias that is a part of wider rows, and a gain that all images share.
TEST_F(Kernels, RmsNormReadsStridedVectorsAndRepeats) {
  for (const int64_t images : {1, 32, 100}) {
    SCOPED_TRACE(::testing::Message() << images << " images");
    const Tensor x = normal({images, 48, 31, 40}), sequence = normal({images, 3, 101}), shared = normal({48});
    const auto gradients = [&](auto f) {
      Arguments leaves = {x.detach().requires_grad_(), sequence.detach().requires_grad_(), shared.detach().requires_grad_()};
      const Tensor y = f(leaves[0], leaves[1].select(1, 1).narrow(1, 5, 48), leaves[2].expand({images, 48}), Tensor());
      auto all = torch::autograd::grad({y.sin().sum()}, leaves);
      all.push_back(y);
      return all;
    };
    const auto fast = gradients(ops::rms_norm), again = gradients(ops::rms_norm), plain = gradients(ops::plain::rms_norm);
    for (size_t i = 0; i < fast.size(); ++i) {
      EXPECT_TRUE(at::equal(fast[i], again[i])) << i << " does not repeat";
      EXPECT_LT(relative_distance(fast[i], plain[i]), 2 * fp32_tolerance) << i;
    }
  }
}

TEST_F(Kernels, LinearAttention) {
  struct Case {
    int64_t n, heads, h, w, memories = 4;
    double scale = 1.5;  // large keys overtake what the sums began with
  };
  for (const Case& c :
       {Case{1, 4, 64, 64}, Case{33, 4, 16, 16}, Case{2, 2, 9, 15}, Case{100, 4, 8, 8}, Case{3, 1, 1, 1}, Case{2, 3, 7, 9, 1},
        Case{1, 1, 96, 96, 40}, Case{1, 2, 48, 48, 4, 6}, Case{70, 4, 40, 40}, Case{2, 1, 1, 65, 5, 6}}) {
    SCOPED_TRACE(::testing::Message() << "N " << c.n << " heads " << c.heads << " H " << c.h << " W " << c.w);
    const auto run = [&](auto f) { return [f, c](const Arguments& a) { return f(a[0], a[1], c.heads); }; };
    compare(run(ops::linear_attention), run(ops::plain::linear_attention), {normal({c.n, c.heads * 96, c.h, c.w}) * c.scale},
            {normal({c.n, 2, c.heads, 32, c.memories})}, at::kBFloat16, 1.2e-2);
  }
}

TEST_F(Kernels, LinearAttentionRepeats) {
  const auto image = [&](int64_t channels) {
    return normal({5, channels, 33, 35}).to(at::kBFloat16).contiguous(at::MemoryFormat::ChannelsLast);
  };
  const ops::LinearAttentionInput in{image(4 * 96), normal({2, 4, 32, 4}).expand({5, -1, -1, -1, -1}), 4};
  const Tensor dout = image(4 * 32);
  const auto run = [&] {
    const auto& kernels = *ops::kernels(dout.device()).attention;
    const auto out = kernels.linear_attention(in);
    const auto d = kernels.linear_attention_backward(in, out, dout);
    return Arguments{out.out, out.context, out.keys, d.qkv, d.memory};
  };
  const auto once = run(), again = run();
  for (size_t i = 0; i < once.size(); ++i) EXPECT_TRUE(at::equal(once[i], again[i])) << i;
}

TEST_F(Kernels, FullAttention) {
  struct Case {
    int64_t n, heads, h, w, memories;
  };
  for (const Case& c : {Case{32, 4, 16, 16, 4}, Case{1, 2, 7, 9, 3}, Case{5, 1, 1, 1, 1}, Case{100, 4, 8, 8, 4}})
    for (const auto type : {at::kFloat, at::kBFloat16}) {
      SCOPED_TRACE(::testing::Message() << "N " << c.n << " H " << c.h << " W " << c.w << " " << toString(type));
      const auto run = [](auto f) { return [f](const Arguments& a) { return f(a[0], a[1]); }; };
      compare(run(ops::full_attention), run(ops::plain::full_attention), {normal({c.n, c.heads * 96, c.h, c.w})},
              {normal({c.n, 2, c.heads, c.memories, 32})}, type, type == at::kFloat ? 2e-3 : 2e-2);  // torch may multiply in TF32
    }
}

// Exact where only copies are made, of memories that are a part of wider rows too.
TEST_F(Kernels, MemoryTokensAreCopied) {
  const auto& kernels = *ops::kernels(cuda_->device()).attention;
  const Tensor wide = normal({3, 7 + 2 * 4 * 5 * 32}), memory = wide.narrow(1, 7, 2 * 4 * 5 * 32).unflatten(1, {2, 4, 5, 32});
  for (const auto type : {at::kFloat, at::kBFloat16}) {
    const Tensor qkv = normal({3, 63, 3, 4, 32}).to(type), kv = kernels.with_memory(qkv, memory);
    for (int64_t part = 0; part < 2; ++part) {
      EXPECT_TRUE(at::equal(kv[part].slice(1, 0, 5), memory.select(1, part).transpose(1, 2).to(type)));
      EXPECT_TRUE(at::equal(kv[part].slice(1, 5), qkv.select(2, 1 + part)));
    }
    const auto d = kernels.with_memory_backward(qkv.select(2, 0).contiguous(), kv[0], kv[1]);
    EXPECT_TRUE(at::equal(d.qkv, qkv));
    EXPECT_TRUE(at::equal(d.memory, memory.to(type).to(at::kFloat)));
  }
}

// The operators that write: matrices that are every second half of wider ones, so that their rows are strided.
class Pointwise : public Kernels {
 protected:
  Tensor matrix(int64_t rows, int64_t columns, at::ScalarType type) {
    return normal({rows, 2 * columns}).to(type).narrow(1, columns, columns);
  }
  static Tensor exact(const Tensor& x) { return x.defined() ? x.to(at::kDouble) : x; }
};

TEST_F(Pointwise, AddGeluAndItsGradient) {
  for (const auto type : {at::kFloat, at::kBFloat16})
    for (const int64_t rows : {1, 32, 1000})
      for (const int64_t columns : {8, 24, 1024, 2432})
        for (const bool more : {false, true}) {
          SCOPED_TRACE(::testing::Message() << rows << " x " << columns << " " << toString(type) << (more ? " more" : ""));
          const Tensor x = matrix(rows, columns, type), y = matrix(rows, columns, type), exact_x = exact(x), exact_y = exact(y);
          const Tensor bias = more ? normal({columns}).to(type) : Tensor(), residual = more ? matrix(rows, columns, type) : Tensor();
          ops::add_gelu(x, bias, residual, y);
          ops::plain::add_gelu(exact_x, exact(bias), exact(residual), exact_y);
          EXPECT_LT(relative_distance(x, exact_x), tolerance(type)) << "x";
          EXPECT_LT(relative_distance(y, exact_y), tolerance(type)) << "y";
          const Tensor dy = matrix(rows, columns, type), dx = matrix(rows, columns, type), exact_dx = exact(dx);
          ops::gelu_backward(dy, residual, x, dx);
          ops::plain::gelu_backward(exact(dy), exact(residual), exact(x), exact_dx);
          EXPECT_LT(relative_distance(dx, exact_dx), tolerance(type)) << "gradient";
        }
}

TEST_F(Pointwise, GruAndItsGradient) {
  for (const auto type : {at::kFloat, at::kBFloat16})
    for (const int64_t rows : {1, 33, 1000})
      for (const int64_t columns : {8, 64, 128}) {
        SCOPED_TRACE(::testing::Message() << rows << " x " << columns << " " << toString(type));
        const Tensor a = matrix(rows, 3 * columns, type), b = matrix(rows, 3 * columns, type), z = matrix(rows, columns, type);
        const Tensor y = matrix(rows, columns, type), exact_y = exact(y);
        ops::gru(a, b, z, y);
        ops::plain::gru(exact(a), exact(b), exact(z), exact_y);
        EXPECT_LT(relative_distance(y, exact_y), tolerance(type));
        const Tensor dy = matrix(rows, columns, type), da = matrix(rows, 3 * columns, type), db = matrix(rows, 3 * columns, type);
        const Tensor dz = matrix(rows, columns, type), exact_da = exact(da), exact_db = exact(db), exact_dz = exact(dz);
        ops::gru_backward(a, b, z, dy, da, db, dz);
        ops::plain::gru_backward(exact(a), exact(b), exact(z), exact(dy), exact_da, exact_db, exact_dz);
        EXPECT_LT(relative_distance(da, exact_da), tolerance(type));
        EXPECT_LT(relative_distance(db, exact_db), tolerance(type));
        EXPECT_LT(relative_distance(dz, exact_dz), tolerance(type));
      }
}

}  // namespace
}  // namespace df::test
