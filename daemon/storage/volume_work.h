#ifndef WEIGHTD_DAEMON_STORAGE_VOLUME_WORK_H_
#define WEIGHTD_DAEMON_STORAGE_VOLUME_WORK_H_

#include <compare>
#include <cstdint>
#include <functional>
#include <optional>
#include <set>
#include <string>
#include <utility>
#include <vector>

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

// For whom a call is made: the daemon, or users. Others may join them while it waits to begin; then
// it waits in their lanes as well, and begins in the first that lets it.
class VolumeUsers {
 public:
  using Uids = std::set<std::optional<uint32_t>>;  // none: the daemon itself

  VolumeUsers() = default;                                   // the daemon
  VolumeUsers(uint32_t uid) : first_{uid} {}                 // NOLINT(*-explicit-*)
  VolumeUsers(std::optional<uint32_t> uid) : first_{uid} {}  // NOLINT(*-explicit-*)
  // `ask` tells who they are now. It is called by who waits, on his thread, without a lock.
  explicit VolumeUsers(std::function<Uids()> ask) : ask_(std::move(ask)) {}

  // At least one.
  Uids Now() const {
    Uids now = ask_ ? ask_() : first_;
    if (now.empty()) now.insert(std::nullopt);
    return now;
  }
  bool may_change() const { return ask_ != nullptr; }

 private:
  Uids first_;
  std::function<Uids()> ask_;
};

// What a call of a volume is about. Thread-compatible.
struct VolumeWork {
  // Text alone is a call that may touch anything below the root.
  VolumeWork(const char* text) : what(text) {}             // NOLINT(*-explicit-*)
  VolumeWork(std::string text) : what(std::move(text)) {}  // NOLINT(*-explicit-*)
  VolumeWork(std::string text, std::set<uint64_t> volume_numbers, VolumeUsers for_users = {})
      : what(std::move(text)), volumes(std::move(volume_numbers)), users(std::move(for_users)) {}

  // Where it waits now; at least one.
  std::vector<VolumeLane> lanes() const {
    std::vector<VolumeLane> lanes;
    for (const std::optional<uint32_t>& uid : users.Now()) lanes.push_back({volumes, uid});
    return lanes;
  }

  std::string what;  // for messages, a verb and a path: "list models--a--b"
  std::set<uint64_t> volumes = {};
  VolumeUsers users = {};
};

}  // namespace weightd

#endif  // WEIGHTD_DAEMON_STORAGE_VOLUME_WORK_H_
