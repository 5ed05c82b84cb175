// SPDX-License-Identifier: MIT
// Private to libdiffusion_forcing_media.
#pragma once

#include <filesystem>
#include <memory>

#include "media/backend.hpp"

namespace df::media {

std::unique_ptr<FrameSource> open_source(const std::filesystem::path& path);

}  // namespace df::media
