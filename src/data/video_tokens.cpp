// SPDX-License-Identifier: MIT
#include "diffusion_forcing/data/video_tokens.hpp"

#include <ATen/ATen.h>
#include <fmt/format.h>

#include "diffusion_forcing/core/error.hpp"
#include "diffusion_forcing/core/shape.hpp"

namespace df {

namespace {

std::string shape_of(const Tensor& tensor) { return tensor.defined() ? to_string(tensor.sizes().vec()) : "an undefined tensor"; }

void check_stack(int64_t frame_stack) {
  if (frame_stack < 1) throw Error(fmt::format("frame_stack: expected at least 1, got {}", frame_stack));
}

// Images [..., n, channels, H, W] with one or two leading dimensions.
void check_images(const Tensor& images, const char* name, const char* layout) {
  if (!images.defined() || (images.dim() != 4 && images.dim() != 5))
    throw Error(fmt::format("{}: expected {}, perhaps with a leading [B], got {}", name, layout, shape_of(images)));
}

// [..., n, channels, H, W] -> [..., n / factor, factor * channels, H, W], or back where `factor` divides the channels instead.
Tensor regroup(const Tensor& images, int64_t n, int64_t channels) {
  Shape sizes = images.sizes().vec();
  sizes[sizes.size() - 4] = n;
  sizes[sizes.size() - 3] = channels;
  return images.reshape(sizes);
}

}  // namespace

Tensor frames_to_tokens(const Tensor& frames, int64_t frame_stack, double mean, double std) {
  check_stack(frame_stack);
  check_images(frames, "frames", "[T * F, C, H, W]");
  const int64_t n = frames.size(-4), channels = frames.size(-3);
  if (n % frame_stack != 0) throw Error(fmt::format("frames: expected a multiple of frame_stack {}, got {}", frame_stack, n));
  const bool bytes = frames.scalar_type() == at::kByte;
  if (!bytes && !frames.is_floating_point())
    throw Error(fmt::format("frames: expected uint8 or floating point values, got {}", at::toString(frames.scalar_type())));
  const double scale = (bytes ? 1.0 / 255.0 : 1.0) / std;
  return regroup(frames, n / frame_stack, frame_stack * channels).to(at::kFloat).mul(scale).sub_(mean / std);
}

Tensor tokens_to_frames(const Tensor& tokens, int64_t frame_stack, double mean, double std) {
  check_stack(frame_stack);
  check_images(tokens, "tokens", "[T, F * C, H, W]");
  const int64_t n = tokens.size(-4), channels = tokens.size(-3);
  if (channels % frame_stack != 0)
    throw Error(fmt::format("tokens: expected a number of channels that is a multiple of frame_stack {}, got {}", frame_stack, channels));
  const Tensor raw = tokens.to(at::kFloat).mul(std).add_(mean).clamp_(0, 1).mul_(255).round_().to(at::kByte);
  return regroup(raw, n * frame_stack, channels / frame_stack);
}

Tensor actions_to_condition(const Tensor& actions, int64_t frame_stack) {
  check_stack(frame_stack);
  if (!actions.defined() || (actions.dim() != 2 && actions.dim() != 3))
    throw Error("actions: expected [T * F, A], perhaps with a leading [B], got " + shape_of(actions));
  const int64_t n = actions.size(-2), kinds = actions.size(-1);
  if (n % frame_stack != 0) throw Error(fmt::format("actions: expected a multiple of frame_stack {}, got {}", frame_stack, n));
  Tensor led_here = at::zeros(actions.sizes(), actions.options().dtype(at::kFloat));  // row f: the action taken at frame f - 1
  if (n > 1) led_here.narrow(-2, 1, n - 1).copy_(actions.narrow(-2, 0, n - 1));
  Shape sizes = actions.sizes().vec();
  sizes[sizes.size() - 2] = n / frame_stack;
  sizes[sizes.size() - 1] = frame_stack * kinds;
  return led_here.reshape(sizes);
}

}  // namespace df
