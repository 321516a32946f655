#include "client/cli/table.h"

#include <algorithm>
#include <cassert>

#include "client/cli/text.h"

namespace weightd::cli {
namespace {

constexpr const char* kBold = "\x1b[1m";
constexpr const char* kPlain = "\x1b[0m";
constexpr const char* kGap = "  ";

std::string Aligned(const std::string& cell, size_t width, bool right, bool last) {
  const std::string padding(width - std::min(width, DisplayWidth(cell)), ' ');
  if (right) return padding + cell;
  return last ? cell : cell + padding;
}

}  // namespace

void Table::AddRow(const std::vector<std::string>& cells) {
  assert(cells.size() == columns_.size());
  std::vector<std::string>& row = rows_.emplace_back();
  for (const std::string& cell : cells) row.push_back(cell.empty() ? "-" : Printable(cell));
}

void Table::Print(std::ostream& out, bool color) const {
  std::vector<std::string> titles;
  std::vector<size_t> widths;
  for (size_t i = 0; i < columns_.size(); ++i) {
    titles.push_back(columns_[i].title);
    size_t width = columns_[i].title.size();
    for (const auto& row : rows_) width = std::max(width, DisplayWidth(row[i]));
    widths.push_back(width);
  }
  const auto line = [&](const std::vector<std::string>& cells) {
    std::string text;
    for (size_t i = 0; i < cells.size(); ++i) {
      if (i > 0) text += kGap;
      text += Aligned(cells[i], widths[i], columns_[i].right, i + 1 == cells.size());
    }
    return text;
  };
  out << (color ? kBold : "") << line(titles) << (color ? kPlain : "") << '\n';
  for (const auto& row : rows_) out << line(row) << '\n';
}

}  // namespace weightd::cli
