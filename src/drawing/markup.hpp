// SPDX-License-Identifier: MIT
#pragma once

#include <string>
#include <string_view>

namespace df::drawing {

// Text that means itself in HTML and in XML, between tags and in quoted attributes. Bytes that are not UTF-8 and characters that XML
// forbids become U+FFFD.
std::string escaped(std::string_view text);

// "mse_1_50" of "mse 1-50": good for an id and for the link to it.
std::string identifier(std::string_view text);

}  // namespace df::drawing
