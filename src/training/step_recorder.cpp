// SPDX-License-Identifier: MIT
#include "training/step_recorder.hpp"

#include <ATen/ATen.h>
#include <ATen/Context.h>
#include <spdlog/spdlog.h>

#include <array>
#include <exception>
#include <utility>

#include "core/upload.hpp"

namespace df {

namespace {

constexpr std::array fields = {&Batch::x, &Batch::c, &Batch::mask, &Batch::init};

bool same_layout(const Batch& a, const Batch& b) {
  for (const auto field : fields) {
    const Tensor &left = a.*field, &right = b.*field;
    if (left.defined() != right.defined()) return false;
    if (left.defined() && (left.sizes() != right.sizes() || left.scalar_type() != right.scalar_type())) return false;
  }
  return true;
}

// Batches of a loader lie in page-locked memory already.
void upload(const Batch& from, const Batch& into) {
  for (const auto field : fields)
    if ((from.*field).defined()) df::upload(from.*field, into.*field);
}

Batch empty_like(const Batch& batch, at::Device device) {
  Batch made;
  for (const auto field : fields)
    if ((batch.*field).defined()) made.*field = at::empty((batch.*field).sizes(), (batch.*field).options().device(device));
  return made;
}

}  // namespace

StepRecorder::StepRecorder(const Accelerator& accelerator, Work work)
    : accelerator_(accelerator), work_(std::move(work)), stream_(accelerator.use_stream()), generator_(accelerator.make_generator(0)) {
  // What is found once serves for hours, so that all of cuDNN's algorithms are worth a trial, not only its first ten guesses.
  if (accelerator.device().is_cuda()) at::globalContext().setBenchmarkLimitCuDNN(0);
}

void StepRecorder::run(const Batch& batch, uint64_t seed) {
  if (accelerator_.device().is_cpu()) return work_(batch, accelerator_.make_generator(seed));
  const at::NoGradGuard no_grad;
  generator_.set_current_seed(seed);
  if (!held_.x.defined()) held_ = empty_like(batch, accelerator_.device());
  if (!same_layout(batch, held_)) return work_(batch.to(accelerator_.device()), generator_);
  upload(batch, held_);
  if (!graph_ && refusal_.empty() && runs_ >= warm_up) record();
  if (graph_) return graph_->replay();
  work_(held_, generator_);
  ++runs_;
}

void StepRecorder::record() {
  try {
    graph_ = accelerator_.capture([this] { work_(held_, generator_); }, {.warm_up = 0, .generators = {generator_}});
    if (!graph_) refusal_ = "the device does not record";
  } catch (const std::exception& error) {
    refusal_ = error.what();
    generator_ = accelerator_.make_generator(generator_.current_seed());  // the old one may still think that it is being recorded
    spdlog::warn("training goes on without a recorded step: {}", refusal_.substr(0, refusal_.find('\n')));
  }
}

}  // namespace df
