// SPDX-License-Identifier: MIT
#include "evaluation/metric_words.hpp"

#include <algorithm>

namespace df {

namespace {

using drawing::Better;

constexpr const char *truth = "Against the true future", *drift = "Drift: do the frames still look real?",
                     *coherence = "Coherence: do the frames follow each other as real ones do?", *by_level = "Error by noise level",
                     *bound = "Bound on the likelihood";
constexpr const char* squared = "squared, of normalised tokens";

std::vector<MetricWords> make_words() {
  std::vector<MetricWords> all{
      {"mse", "Error of the pixels", "mean square, values in 0..1", Better::lower, truth,
       "Mean squared difference between a generated frame and the true one, over channels and pixels. Without actions the future is not "
       "determined, and even a perfect model differs from it as two unrelated clips do."},
      {"psnr", "Peak signal-to-noise ratio", "dB", Better::higher, truth,
       "10 log10(1 / squared error) of each frame, at most 100, averaged over frames and sequences."},
      {"ssim", "Structural similarity", "1: equal", Better::higher, truth,
       "SSIM of Wang et al. 2004, with a Gaussian window of 11 x 11 pixels and sigma 1.5: agreement of brightness, contrast and "
       "structure."},
      {"frechet", "Distance from real frames", "Frechet, filter-bank features", Better::lower, drift,
       "Frechet distance between the features of generated frames and of other held-out clips. The features are 48 numbers of colour "
       "layout "
       "and 48 of texture and need no trained network. It is neither FID nor FVD, and it depends on the number of frames: read it beside "
       "the "
       "column real, which is what true video gets."},
      {"histogram", "Distance of the colours", "0: equal, 2: nothing in common", Better::lower, drift,
       "Sum of absolute differences between the colour histograms (8 x 8 x 8 cells) of generated frames and of other held-out clips."},
      {"sharpness", "Sharpness", "ratio to real frames", Better::one, drift,
       "Variance of the Laplacian of luma, divided by that of other held-out clips. Below 1 is blurred, above 1 is noisy."},
      {"change", "Change from frame to frame", "ratio to real video", Better::one, coherence,
       "Mean absolute difference between neighbouring frames, divided by that of other held-out clips. Below 1 the video freezes, above 1 "
       "it "
       "flickers."}};
  for (const char* lag : {"1", "4", "16"})
    all.push_back(
        {std::string("step_") + lag, std::string("Step of the features over ") + lag + (*lag == '1' && !lag[1] ? " frame" : " frames"),
         "ratio to real video", Better::one, coherence,
         std::string("Mean distance between the features of frames t - ") + lag +
             " and t, divided by that of other held-out clips. A model can have the right frames in the wrong order; then this is "
             "not 1."});
  const std::vector<MetricWords> rest{
      {"x0_error_by_level", "Error of the clean token", squared, Better::lower, by_level,
       "A held-out token is noised to this level and denoised once, after a history of true tokens: the mean squared error of the clean "
       "token."},
      {"eps_error_by_level", "Error of the noise", "squared, noise has variance 1", Better::lower, by_level,
       "The same call's mean squared error of the noise that was added."},
      {"kl_by_level", "Share of the bound", "nats an element", Better::lower, by_level,
       "The term of the evidence lower bound that this level adds: it shows where the bound is lost."},
      {"elbo nats/element", "Negative log-likelihood, at most", "nats an element", Better::lower, bound,
       "The sum of the three terms below: an upper bound on the negative log-likelihood of the normalised tokens. It can be below 0, as "
       "densities are. Compare it only at the same number of steps and the same noise schedule."},
      {"elbo prior (k = K)", "Term of the noisiest level", "nats an element", Better::none, bound,
       "What is lost because the last level is not quite pure noise. Nothing of the model is in it."},
      {"elbo posterior (k = 0)", "Term of the last step", "nats an element", Better::lower, bound,
       "The step from the lowest level to the clean token."},
      {"elbo diffusion", "Terms of the steps between", "nats an element", Better::lower, bound,
       "The sum of the KL divergences of all other steps."},
      {"elbo bits/element", "Bits for a raw value, at most", "bits an element", Better::lower, bound,
       "The same bound as the cost of storing a raw value in steps of 1/255."}};
  all.insert(all.end(), rest.begin(), rest.end());
  return all;
}

const std::vector<MetricWords>& all_words() {
  static const auto words = make_words();
  return words;
}

// Place among the known ones; their number where it is not.
size_t place_of(const std::string& name) {
  const std::string frames = frames_of_number(name), own = frames.empty() ? name : name.substr(0, name.size() - frames.size() - 1);
  const auto& all = all_words();
  return static_cast<size_t>(std::find_if(all.begin(), all.end(), [&](const MetricWords& words) { return words.name == own; }) -
                             all.begin());
}

}  // namespace

void sort_for_reading(std::vector<std::string>& names) {
  std::stable_sort(names.begin(), names.end(), [](const auto& a, const auto& b) { return place_of(a) < place_of(b); });
}

std::string frames_of_number(const std::string& name) {
  const auto space = name.rfind(' ');
  const std::string last = space == std::string::npos ? "" : name.substr(space + 1);
  const bool frames = last.find('-') != std::string::npos && last.find_first_not_of("0123456789-") == std::string::npos;
  return frames ? last : "";
}

MetricWords metric_words(const std::string& name) {
  const size_t place = place_of(name);
  if (place < all_words().size()) return all_words()[place];
  const std::string frames = frames_of_number(name), own = frames.empty() ? name : name.substr(0, name.size() - frames.size() - 1);
  return {own, own, "", Better::none, "Other numbers", ""};
}

}  // namespace df
