// SPDX-License-Identifier: MIT
#include "procedures/resume_rules.hpp"

#include <filesystem>
#include <map>

namespace df {

ResumeRule resume_rule(const std::string& key) {
  static const std::map<std::string, ResumeRule> known = {
      {"name", ResumeRule::free},
      {"data.cache", ResumeRule::free},
      {"training.steps", ResumeRule::free},
      {"training.learning_rate", ResumeRule::free},
      {"training.warmup", ResumeRule::free},
      {"training.decay", ResumeRule::free},
      {"training.final_ratio", ResumeRule::free},
      {"training.recompute", ResumeRule::free},
      {"training.loader_workers", ResumeRule::free},
      {"training.log_every", ResumeRule::free},
      {"training.validate_every", ResumeRule::free},
      {"training.validation_batches", ResumeRule::free},
      {"training.sample_every", ResumeRule::free},
      {"training.checkpoint_every", ResumeRule::free},
      {"training.keep_checkpoints", ResumeRule::free},
      {"training.accumulate", ResumeRule::rounding},
      {"training.cpu_workers", ResumeRule::rounding},
  };
  if (const auto found = known.find(key); found != known.end()) return found->second;
  return key.rfind("sampling.", 0) == 0 || key.rfind("planning.", 0) == 0 ? ResumeRule::shown : ResumeRule::fixed;
}

bool same_value(const std::string& key, const std::string& there, const std::string& here) {
  if (there == here) return true;
  std::error_code failed;
  return key.rfind("data.", 0) == 0 && !there.empty() && !here.empty() && std::filesystem::equivalent(there, here, failed);
}

}  // namespace df
