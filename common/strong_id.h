#ifndef WEIGHTD_COMMON_STRONG_ID_H_
#define WEIGHTD_COMMON_STRONG_ID_H_

#include <cstdint>
#include <utility>

namespace weightd {

// A 64-bit id that is not interchangeable with ids of other kinds: `Tag` names the kind.
// Zero means "none"; ids are given out from 1 and never reused while the daemon runs.
template <typename Tag>
class StrongId {
 public:
  constexpr StrongId() = default;
  constexpr explicit StrongId(uint64_t value) : value_(value) {}
  constexpr uint64_t value() const { return value_; }
  constexpr bool valid() const { return value_ != 0; }

  friend constexpr bool operator==(StrongId a, StrongId b) = default;
  // clang-tidy 14 takes the default for a 0. NOLINTNEXTLINE(modernize-use-nullptr)
  friend constexpr auto operator<=>(StrongId a, StrongId b) = default;
  template <typename H>
  friend H AbslHashValue(H state, StrongId id) {
    return H::combine(std::move(state), id.value_);
  }

 private:
  uint64_t value_ = 0;
};

}  // namespace weightd

#endif  // WEIGHTD_COMMON_STRONG_ID_H_
