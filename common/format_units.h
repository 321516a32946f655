#ifndef WEIGHTD_COMMON_FORMAT_UNITS_H_
#define WEIGHTD_COMMON_FORMAT_UNITS_H_

#include <cstdint>
#include <string>

namespace weightd {

// "512 B", "4.2 kB", "16.1 GB": decimal units, as disks and GPUs are sold and as budgets are
// written. For people; machines get the integer.
std::string FormatBytes(uint64_t bytes);

}  // namespace weightd

#endif  // WEIGHTD_COMMON_FORMAT_UNITS_H_
