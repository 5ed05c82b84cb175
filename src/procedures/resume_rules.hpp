// SPDX-License-Identifier: MIT
// Which keys of a run's configuration a resume may change.
#pragma once

#include <string>

namespace df {

enum class ResumeRule {
  free,      // changes neither weights nor data of the steps to come, or is a pure function of the step (learning rate)
  rounding,  // the same sums in another order: results differ by rounding from those of an uninterrupted run
  shown,     // `sampling` and `planning`: what the run shows of itself and how it is used later; never rewritten without --force
  fixed,     // changes what the run learns
};
ResumeRule resume_rule(const std::string& key);

// Whether two texts of a key's value mean the same: two spellings of one path of `data`.
bool same_value(const std::string& key, const std::string& there, const std::string& here);

}  // namespace df
