// SPDX-License-Identifier: MIT
#include <ATen/ATen.h>
#include <fmt/format.h>

#include <algorithm>

#include "diffusion_forcing/core/error.hpp"
#include "diffusion_forcing/core/shape.hpp"
#include "diffusion_forcing/evaluation/report.hpp"
#include "diffusion_forcing/media/media.hpp"
#include "media/canvas.hpp"

namespace df {

Tensor contact_sheet(const std::vector<FrameRow>& rows, const std::vector<int64_t>& numbers, int64_t scale) {
  constexpr int64_t gap = 4, header = 18;
  constexpr double size = 12;
  const auto columns = static_cast<int64_t>(numbers.size());
  if (rows.empty() || columns == 0) throw Error("contact sheet: expected at least one row and one frame number");
  double widest = 0;
  for (const FrameRow& row : rows) {
    check_shape(row.frames, "contact sheet: " + row.name, {columns, 3, -1, -1});
    widest = std::max(widest, text_width(row.name, size));
  }
  const int64_t height = rows[0].frames.size(2) * scale, width = rows[0].frames.size(3) * scale,
                left = static_cast<int64_t>(widest) + 2 * gap;
  Canvas canvas(header + (height + gap) * static_cast<int64_t>(rows.size()), left + (width + gap) * columns);
  const auto x_of = [&](int64_t column) { return left + column * (width + gap); };
  for (int64_t i = 0; i < columns; ++i)
    canvas.text(std::to_string(numbers[static_cast<size_t>(i)]), {static_cast<double>(x_of(i)), header - 5.0}, size);
  for (size_t r = 0; r < rows.size(); ++r) {
    check_shape(rows[r].frames, "contact sheet: " + rows[r].name, rows[0].frames.sizes().vec());
    const int64_t y = header + static_cast<int64_t>(r) * (height + gap);
    canvas.text(rows[r].name, {gap, static_cast<double>(y + height / 2)}, size);
    for (int64_t i = 0; i < columns; ++i) canvas.picture(enlarge(rows[r].frames[i], scale), x_of(i), y);
  }
  return canvas.image();
}

}  // namespace df
