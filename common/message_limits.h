#ifndef WEIGHTD_COMMON_MESSAGE_LIMITS_H_
#define WEIGHTD_COMMON_MESSAGE_LIMITS_H_

#include <cstddef>

// How large the messages of weightd.v1 are, for who sends and who receives them.

namespace weightd {

// What every client takes, since gRPC's clients do by default: no message of the daemon is larger.
inline constexpr size_t kMessageBytesMax = size_t{4} << 20;

// Where the daemon cuts what is longer. With the one item that comes after it and the rest of the
// message it stays below 1 MiB: a tensor's name has 65,535 bytes at most, a model's 512.
inline constexpr size_t kMessageBytesGoal = size_t{768} << 10;

}  // namespace weightd

#endif  // WEIGHTD_COMMON_MESSAGE_LIMITS_H_
