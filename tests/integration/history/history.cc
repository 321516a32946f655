#include "tests/integration/history/history.h"

namespace weightd::testing {

absl::Time TimeOf(const v1::Event& event) {
  return absl::FromUnixSeconds(event.time().seconds()) + absl::Nanoseconds(event.time().nanos());
}

}  // namespace weightd::testing
