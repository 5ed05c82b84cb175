// SPDX-License-Identifier: MIT
#include "data/find_files.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <set>

#include "diffusion_forcing/core/error.hpp"
#include "diffusion_forcing/core/file.hpp"

namespace df::data {

std::vector<FoundFolder> find_files(const fs::path& root, const std::function<void(const fs::path&)>& unreadable) {
  std::vector<FoundFolder> found;
  std::set<fs::path> seen;  // real folders: links may lead in circles
  std::vector<fs::path> waiting{root};
  while (!waiting.empty()) {
    const fs::path folder = waiting.back();
    waiting.pop_back();
    std::error_code failed;
    const fs::path real = fs::canonical(folder, failed);
    fs::directory_iterator entry;
    if (!failed) entry = fs::directory_iterator(folder, failed);
    if (failed && folder == root) throw Error(fmt::format("data.path: {}: cannot be searched: {}", root.string(), failed.message()));
    if (failed) {
      unreadable(folder);
      continue;
    }
    if (!seen.insert(real).second) continue;
    FoundFolder& here = found.emplace_back();
    here.path = folder;
    for (const fs::directory_iterator end; !failed && entry != end; entry.increment(failed)) {
      const std::string name = entry->path().filename().string();
      std::error_code vanished;
      if (name.starts_with('.')) continue;
      if (entry->is_directory(vanished)) waiting.push_back(entry->path());
      if (entry->is_regular_file(vanished)) here.files.push_back(entry->path());
    }
    if (failed) unreadable(folder);
    std::sort(here.files.begin(), here.files.end());
  }
  std::sort(found.begin(), found.end(), [](const FoundFolder& a, const FoundFolder& b) { return a.path < b.path; });
  return found;
}

}  // namespace df::data
