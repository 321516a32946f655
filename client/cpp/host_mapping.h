#ifndef WEIGHTD_CLIENT_CPP_HOST_MAPPING_H_
#define WEIGHTD_CLIENT_CPP_HOST_MAPPING_H_

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "common/socket_paths.h"
#include "common/unique_fd.h"

namespace weightd::client {

// One memfd of the daemon, mapped read-only and shared. Move-only. Thread-compatible.
//
// The descriptor is closed once mapped: a process that attaches to many models does not run out of
// descriptors.
class HostMapping {
 public:
  // Maps `bytes` of `memory` without touching a page. INTERNAL when the descriptor is shorter than
  // that or is not sealed against writing and resizing: then another process could change or cut
  // memory that we read.
  static absl::StatusOr<HostMapping> Map(const UniqueFd& memory, uint64_t bytes);

  HostMapping(HostMapping&& other) noexcept;
  HostMapping& operator=(HostMapping&&) = delete;
  ~HostMapping();

  // Null for an allocation without bytes.
  const std::byte* base() const { return base_; }

 private:
  HostMapping(std::byte* base, uint64_t bytes) : base_(base), bytes_(bytes) {}

  std::byte* base_;
  uint64_t bytes_;
};

// Shows `ticket` on the handle socket and returns the grant's descriptors, `count` at most.
absl::StatusOr<std::vector<UniqueFd>> FetchDescriptors(const SocketDirectory& socket_dir,
                                                       absl::string_view ticket, size_t count,
                                                       absl::Time deadline);

// Closes descriptors that are not what they should be, on a thread that nobody waits for: that of a
// file whose volume hangs, or of a socket that lingers, may take for ever.
void CloseElsewhere(std::vector<UniqueFd> fds);

}  // namespace weightd::client

#endif  // WEIGHTD_CLIENT_CPP_HOST_MAPPING_H_
