#ifndef WEIGHTD_DAEMON_STORAGE_VOLUME_WORK_H_
#define WEIGHTD_DAEMON_STORAGE_VOLUME_WORK_H_

#include <compare>
#include <cstdint>
#include <optional>
#include <set>
#include <string>
#include <utility>

namespace weightd {

// What waits for each other: calls of one lane do so, those of others go on.
struct VolumeLane {
  // The numbers (st_dev) of all volumes that a call touches, which are more than one below a root
  // with mounts in it. Empty: not known.
  std::set<uint64_t> volumes = {};
  // Whose it is, of what a user may ask for in any number; none for the daemon's own work.
  std::optional<uint32_t> uid = {};
  // clang-tidy 14 takes the operator for a 0.
  friend auto operator<=>(const VolumeLane&,
                          const VolumeLane&) = default;  // NOLINT(modernize-use-nullptr)
};

// What a call of a volume is about. Plain data: thread-compatible.
struct VolumeWork {
  // Text alone is a call that may touch anything below the root.
  VolumeWork(const char* text) : what(text) {}             // NOLINT(*-explicit-*)
  VolumeWork(std::string text) : what(std::move(text)) {}  // NOLINT(*-explicit-*)
  VolumeWork(std::string text, std::set<uint64_t> volume_numbers,
             std::optional<uint32_t> user = std::nullopt)
      : what(std::move(text)), lane{std::move(volume_numbers), user} {}

  std::string what;  // for messages, a verb and a path: "list models--a--b"
  VolumeLane lane = {};
};

}  // namespace weightd

#endif  // WEIGHTD_DAEMON_STORAGE_VOLUME_WORK_H_
