#ifndef WEIGHTD_DAEMON_MAIN_ADDRESS_SPACE_H_
#define WEIGHTD_DAEMON_MAIN_ADDRESS_SPACE_H_

#include <cstdint>
#include <optional>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

// RLIMIT_AS (setrlimit(2), `ulimit -v`): what this process may have of addresses, used or not.
// Libraries end the process when they get no memory, so that the daemon must not come near it.

namespace weightd {

// What the daemon may take beside models: 270 MiB when idle on two processors, a stack and a half
// for each of gRPC's threads, and what clients cause.
inline constexpr uint64_t kAddressSpaceMin = uint64_t{768} << 20;

// Where there is such a limit: has the allocator and threads reserve little, since by default a
// thread may take 72 MiB that it never uses. In any case the end for lack of memory gets a line on
// stderr, which names the limit. To be called before the first thread.
void PrepareForLittleAddressSpace();

// What all models in host memory may take of the addresses, whose limit is `limit_bytes`; a test
// has its own. RESOURCE_EXHAUSTED where they are too few even without models.
absl::StatusOr<uint64_t> AddressSpaceForModels(uint64_t limit_bytes);

// The limit of this process; nothing where there is none.
std::optional<uint64_t> AddressSpaceLimit();

// What to raise, for messages.
inline constexpr const char* kHowToRaiseAddressSpace =
    "raise RLIMIT_AS: LimitAS= of the systemd unit, or ulimit -v";

}  // namespace weightd

#endif  // WEIGHTD_DAEMON_MAIN_ADDRESS_SPACE_H_
