// SPDX-License-Identifier: MIT
#include "training/step_recorder.hpp"

#include <ATen/ATen.h>
#include <ATen/Context.h>

#include <utility>

#include "core/upload.hpp"

namespace df {

namespace {

bool same_layout(const Batch& a, const Batch& b) {
  for (const auto& [name, field] : batch_fields) {
    const Tensor &left = a.*field, &right = b.*field;
    if (left.defined() != right.defined()) return false;
    if (left.defined() && (left.sizes() != right.sizes() || left.scalar_type() != right.scalar_type())) return false;
  }
  return true;
}

// Batches of a loader lie in page-locked memory already.
void upload(const Batch& from, const Batch& into) {
  for (const auto& [name, field] : batch_fields)
    if ((from.*field).defined()) df::upload(from.*field, into.*field);
}

Batch empty_like(const Batch& batch, at::Device device) {
  Batch made;
  for (const auto& [name, field] : batch_fields)
    if ((batch.*field).defined()) made.*field = at::empty((batch.*field).sizes(), (batch.*field).options().device(device));
  return made;
}

}  // namespace

StepRecorder::StepRecorder(const Accelerator& accelerator, Work work, std::string refusal)
    : accelerator_(accelerator),
      work_(std::move(work)),
      stream_(accelerator.use_stream()),
      cudnn_trials_(at::globalContext().benchmarkLimitCuDNN()),
      generator_(accelerator.make_generator(0)),
      refusal_{"training goes on without a recorded step", std::move(refusal)} {
  // What is found once serves for hours, so that all of cuDNN's algorithms are worth a trial, not only its first ten guesses.
  if (accelerator.device().is_cuda()) at::globalContext().setBenchmarkLimitCuDNN(0);
}

StepRecorder::~StepRecorder() {
  if (accelerator_.device().is_cuda()) at::globalContext().setBenchmarkLimitCuDNN(cudnn_trials_);
}

void StepRecorder::run(const Batch& batch, uint64_t seed) {
  if (accelerator_.device().is_cpu()) return work_(batch, accelerator_.make_generator(seed));
  const at::NoGradGuard no_grad;
  generator_.set_current_seed(seed);
  if (!held_.x.defined()) held_ = empty_like(batch, accelerator_.device());
  if (!same_layout(batch, held_)) return work_(batch.to(accelerator_.device()), generator_);
  upload(batch, held_);
  if (!recorded() && refusal_.reason.empty() && runs_ >= warm_up) {
    const auto work = [this] { work_(held_, generator_); };
    if (!call_.record(accelerator_, work, {.warm_up = 0, .generators = {generator_}}, refusal_))
      generator_ = accelerator_.make_generator(generator_.current_seed());  // the old one may still think that it is being recorded
  }
  if (recorded()) return call_.replay();
  work_(held_, generator_);
  ++runs_;
}

}  // namespace df
