// SPDX-License-Identifier: MIT
#include "ops/image_layout.hpp"

#include <ATen/ATen.h>

#include "core/autocast.hpp"
#include "ops/kernels.hpp"

namespace df::ops {

bool fused(at::Device device) { return kernels(device).images != nullptr; }

Tensor channels_last(const Tensor& x) { return x.defined() ? x.contiguous(at::MemoryFormat::ChannelsLast) : x; }

Tensor arranged(const Tensor& x) { return fused(x.device()) ? channels_last(x) : x; }

Tensor arranged_weight(const Tensor& weight) { return weight.movedim(1, -1).contiguous().movedim(-1, 1); }

int64_t missing_channels(int64_t channels, at::Device device) { return fused(device) ? (8 - channels % 8) % 8 : 0; }

Tensor whole_vectors(const Tensor& x) {
  if (!fused(x.device())) return x;
  const Tensor cast = x.to(Autocast::type(x.device().type(), x.scalar_type()));
  const int64_t missing = missing_channels(x.size(1), x.device());
  return missing > 0 ? channels_last(at::constant_pad_nd(cast, {0, 0, 0, 0, 0, missing})) : cast;
}

Tensor stacked(std::vector<Tensor> images) {
  if (!fused(images.front().device())) return at::stack(images, 1);
  for (Tensor& image : images) image = image.movedim(1, -1);
  return at::stack(images, 1).movedim(-1, 2);
}

Tensor float_rows(const Tensor& vectors) {
  if (!vectors.defined()) return vectors;
  const Tensor rows = vectors.to(at::kFloat);
  return rows.stride(1) == 1 ? rows : rows.contiguous();
}

Tensor rows_of_pixels(const Tensor& images) { return channels_last(images).permute({0, 2, 3, 1}).flatten(0, 2); }

Tensor images_of(const Tensor& rows, const Tensor& like) {
  return rows.view({like.size(0), like.size(2), like.size(3), rows.size(1)}).permute({0, 3, 1, 2});
}

}  // namespace df::ops
