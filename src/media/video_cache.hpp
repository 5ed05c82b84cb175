// SPDX-License-Identifier: MIT
// Indices of video files, made once a file and kept among the user's caches: $XDG_CACHE_HOME/diffusion_forcing/videos, else
// ~/.cache/diffusion_forcing/videos. An entry belongs to a path, its size and its time of change, and to the version of FFmpeg. One that
// is damaged or of another file is made anew; where none can be kept, the index is made each time.
#pragma once

#include <filesystem>
#include <memory>
#include <optional>
#include <string>
#include <string_view>

#include "media/video_backend.hpp"

namespace df::media {

// Throws df::Error naming the file where it is no video.
std::shared_ptr<const VideoIndex> index_of(const std::filesystem::path& path);

// The entry of a file, whether it is there or not; empty where the user has no folder for caches.
std::filesystem::path cache_entry(const std::filesystem::path& path);

// `key`: what the index belongs to.
std::string pack_index(const VideoIndex& index, const std::string& key);
// Nothing where the bytes are damaged or belong to something else.
std::optional<VideoIndex> unpack_index(std::string_view bytes, const std::string& key);

}  // namespace df::media
