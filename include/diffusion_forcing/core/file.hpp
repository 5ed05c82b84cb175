// SPDX-License-Identifier: MIT
// Files that are whole or absent: written under a temporary name, flushed, renamed.
#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <string>
#include <string_view>

namespace df {

namespace fs = std::filesystem;

// Whole content. Throws df::Error naming the path.
std::string read_file(const fs::path& path);

// Calls `write(temporary_path)`, then renames it to `path`; parents are created. If `write` throws, `path` is as before.
void write_atomically(const fs::path& path, const std::function<void(const fs::path& temporary)>& write);
// The same, with the content as text.
void write_atomically(const fs::path& path, std::string_view content);

// CRC-32 (IEEE 802.3, as zlib) of a file, and of bytes, for manifests of run folders.
uint32_t crc32(std::string_view bytes, uint32_t start = 0);
// CRC-32 of a file's bytes. Throws df::Error where it cannot be read.
uint32_t crc32_of_file(const fs::path& path);

// Where installed read-only files (configs, assets) are searched: beside the source tree, then <prefix>/share/diffusion_forcing,
// found relative to the running program. Returns an existing path or throws df::Error listing the places looked at.
fs::path find_installed(const fs::path& name, const std::string& folder);

}  // namespace df
