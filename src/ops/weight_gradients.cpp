// SPDX-License-Identifier: MIT
#include "ops/weight_gradients.hpp"

#include <ATen/ATen.h>

#include <map>
#include <utility>

namespace df::ops {

namespace {

// Axes of a weight, or of what has its sizes, in the order in which the weight's lie in memory; and back.
bool lies_channels_last(const Tensor& weight) { return !weight.is_contiguous(); }
Tensor as_it_lies(const Tensor& x, const Tensor& weight) { return lies_channels_last(weight) ? x.movedim(1, -1) : x; }
Tensor as_weight(const Tensor& x, const Tensor& weight) { return lies_channels_last(weight) ? x.movedim(-1, 1) : x; }
// Of a gradient the part that the weight has channels for.
Tensor without_padding(const Tensor& dw, const Tensor& weight) {
  return dw.numel() > weight.numel() ? dw.narrow(0, 0, weight.size(0)).narrow(1, 0, weight.size(1)) : dw;
}

}  // namespace

WeightGradients::WeightGradients(const std::vector<Tensor>& weights) : side_(weights.front().device()), places_(weights.size()) {
  for (size_t i = 0; i < weights.size(); ++i) places_[i].weight = weights[i].detach();
}

void WeightGradients::leave(size_t i, const Tensor& dy, const ImagePair& x, const Tensor& w, ConvolutionStep step) {
  Place& place = places_[i];
  if (adds_weights(dy, x, w, step)) {
    auto& [images, gradients] = place.to_add;
    const bool like = gradients.empty() || (dy.sizes() == gradients[0].sizes() && x.first.sizes() == images[0].first.sizes());
    if (!like) add(place);
    gradients.push_back(dy);
    images.push_back(x);
    if (gradients.size() == most_batches) add(place);
    return;
  }
  const auto flat = [&] {
    const Tensor dw = without_padding(convolution_weight(dy, x, w, step), place.weight);
    return as_it_lies(dw.reshape(place.weight.sizes()), place.weight).reshape(-1);
  };
  place.left.push_back(side_.run(flat, {x.first, x.second, dy}));
}

std::vector<Tensor> WeightGradients::sums() {
  for (Place& place : places_) add(place);
  side_.join();
  std::map<size_t, std::vector<size_t>> by_tokens;
  for (size_t i = 0; i < places_.size(); ++i) by_tokens[places_[i].left.size()].push_back(i);
  std::vector<Tensor> all(places_.size());
  for (const auto& [tokens, places] : by_tokens) {
    if (tokens == 0) continue;
    std::vector<Tensor> parts;
    std::vector<int64_t> lengths;
    for (const size_t i : places) lengths.push_back(places_[i].weight.numel());
    for (size_t t = 0; t < tokens; ++t)
      for (const size_t i : places) parts.push_back(places_[i].left[t]);
    const Tensor sum = at::cat(parts).view({static_cast<int64_t>(tokens), -1}).sum(0, /*keepdim=*/false, at::kFloat);
    const auto sums = sum.split_with_sizes(lengths);
    for (size_t i = 0; i < places.size(); ++i) {
      const Tensor& weight = places_[places[i]].weight;
      all[places[i]] = as_weight(sums[i].view(as_it_lies(weight, weight).sizes()), weight);
    }
  }
  for (size_t i = 0; i < places_.size(); ++i) {
    if (places_[i].sum.defined()) {
      const Tensor sum = without_padding(places_[i].sum, places_[i].weight);
      all[i] = all[i].defined() ? all[i] + sum : sum;
    }
    Place emptied;
    emptied.weight = places_[i].weight;
    places_[i] = std::move(emptied);
  }
  return all;
}

void WeightGradients::add(Place& place) {
  if (place.to_add.dy.empty()) return;
  std::vector<Tensor> reads = place.to_add.dy;
  for (const ImagePair& x : place.to_add.x) reads.insert(reads.end(), {x.first, x.second});
  if (place.sum.defined()) reads.push_back(place.sum);
  place.sum = side_.run([&] { return add_weights(place.to_add, place.weight.size(2), place.sum); }, std::move(reads));
  place.to_add = {};
}

c10::intrusive_ptr<WeightGradients> gradients_of(const torch::autograd::AutogradContext* context, const std::string& name) {
  return c10::static_intrusive_pointer_cast<WeightGradients>(context->saved_data.at(name).toCapsule());
}

}  // namespace df::ops
