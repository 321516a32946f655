#ifndef WEIGHTD_CLIENT_CLI_TABLE_H_
#define WEIGHTD_CLIENT_CLI_TABLE_H_

#include <cstddef>
#include <ostream>
#include <string>
#include <vector>

namespace weightd::cli {

struct Column {
  std::string title;
  bool right = false;  // numbers stand to the right
};

// Rows under titles, as wide as they need, two spaces between columns. Thread-compatible.
class Table {
 public:
  explicit Table(std::vector<Column> columns) : columns_(std::move(columns)) {}

  // As many cells as there are columns; control characters are made visible, an empty cell is "-".
  void AddRow(const std::vector<std::string>& cells);
  // `color`: titles in bold.
  void Print(std::ostream& out, bool color) const;

 private:
  const std::vector<Column> columns_;
  std::vector<std::vector<std::string>> rows_;
};

}  // namespace weightd::cli

#endif  // WEIGHTD_CLIENT_CLI_TABLE_H_
