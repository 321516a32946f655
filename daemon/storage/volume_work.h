#ifndef WEIGHTD_DAEMON_STORAGE_VOLUME_WORK_H_
#define WEIGHTD_DAEMON_STORAGE_VOLUME_WORK_H_

#include <cstdint>
#include <set>
#include <string>
#include <utility>

namespace weightd {

// What a call of a volume is about. Plain data: thread-compatible.
struct VolumeWork {
  // Text alone is a call that may touch anything below the root.
  VolumeWork(const char* text) : what(text) {}             // NOLINT(*-explicit-*)
  VolumeWork(std::string text) : what(std::move(text)) {}  // NOLINT(*-explicit-*)
  VolumeWork(std::string text, std::set<uint64_t> volume_numbers)
      : what(std::move(text)), volumes(std::move(volume_numbers)) {}

  std::string what;  // for messages, a verb and a path: "list models--a--b"
  // The numbers (st_dev) of all volumes that it touches, which are more than one below a root with
  // mounts in it. Empty: not known.
  std::set<uint64_t> volumes;
};

}  // namespace weightd

#endif  // WEIGHTD_DAEMON_STORAGE_VOLUME_WORK_H_
