// SPDX-License-Identifier: MIT
// What lies in a folder, as people keep data: linked folders are followed, each real one once; hidden ones are passed over (".trash",
// ".ipynb_checkpoints"), and so are those that may not be read.
#pragma once

#include <filesystem>
#include <functional>
#include <vector>

namespace df::data {

struct FoundFolder {
  std::filesystem::path path;
  std::vector<std::filesystem::path> files;  // regular ones and links to such, not hidden, sorted
};

// The folder and all below it, sorted by path. `unreadable` hears of those that may not be read. Throws df::Error where `root` is one.
std::vector<FoundFolder> find_files(const std::filesystem::path& root, const std::function<void(const std::filesystem::path&)>& unreadable);

}  // namespace df::data
