// SPDX-License-Identifier: MIT
#include "training/step_statistics.hpp"

#include <ATen/ATen.h>

namespace df {

StepStatistics::StepStatistics(at::Device device)
    : sums_(at::zeros({2}, at::TensorOptions(at::kDouble).device(device))),
      last_(at::zeros_like(sums_)),
      alive_(at::ones({}, at::TensorOptions(at::kBool).device(device))),
      finite_(at::zeros({}, at::TensorOptions(at::kLong).device(device))) {}

void StepStatistics::add(const Tensor& loss, const Tensor& norm) {
  const at::NoGradGuard no_grad;
  const auto values = at::stack({loss.detach().to(at::kDouble), norm.detach().to(at::kDouble)});  // [2]
  sums_.add_(values);
  last_.copy_(at::where(alive_, values, last_));
  alive_.logical_and_(at::isfinite(values).all());
  finite_.add_(alive_);
}

StepStatistics::Summary StepStatistics::read() const {
  // One transfer for all six numbers.
  const auto all = at::cat({sums_, last_, finite_.to(at::kDouble).view({1})}).to(at::kCPU);
  const double* values = all.const_data_ptr<double>();
  const auto count = static_cast<double>(steps_ > 0 ? steps_ : 1);
  return {steps_, static_cast<int64_t>(values[4]), values[0] / count, values[1] / count, values[2], values[3]};
}

void StepStatistics::reset() {
  steps_ = 0;
  sums_.zero_();
  last_.zero_();
  alive_.fill_(true);
  finite_.zero_();
}

}  // namespace df
