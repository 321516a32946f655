#ifndef WEIGHTD_TESTS_INTEGRATION_HISTORY_HISTORY_H_
#define WEIGHTD_TESTS_INTEGRATION_HISTORY_HISTORY_H_

#include <sys/types.h>

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "absl/time/time.h"
#include "weightd/v1/weight_cache.pb.h"

// What was seen of one run: by its clients, by those who changed things, by those who watched. The
// judge reads nothing else.

namespace weightd::testing {

// One client process.
struct ClientStory {
  struct Grant {
    uint64_t lease_id = 0;
    uint64_t generation_id = 0;
    std::string device;
    uint64_t version = 0;
  };
  int id = 0;
  pid_t pid = 0;
  std::string model;
  absl::Time start_time;
  std::vector<std::string> refusals;  // "CODE/REASON: message"
  std::optional<Grant> grant;
  uint64_t same_count = 0;              // times that it read everything, and all was right
  uint64_t same_after_lost_count = 0;   // of them, after its lease was lost
  std::vector<std::string> complaints;  // what was not
  std::optional<std::string> lost;      // "CODE/REASON: message"
  bool superseded = false;              // it was told so
  bool killed = false;                  // by us
  std::optional<int> exit_status;       // minus the signal
  absl::Time end_time;                  // when waitpid told its end
};

// A version of a model on the volume. It can be found from somewhere after `published_after` to
// somewhere before `retired_before`.
struct VolumeVersion {
  std::string model;
  uint64_t version = 0;
  absl::Time published_after;
  absl::Time retired_before = absl::InfiniteFuture();
};

// What a device was said to use, at one time.
struct UsageSample {
  std::string device;
  uint64_t used_bytes = 0;
  uint64_t budget_bytes = 0;
};

// A lease that was listed by a call that was made at `asked_time`.
struct LeaseSample {
  absl::Time asked_time;
  uint64_t lease_id = 0;
  pid_t pid = 0;
};

// A generation that was listed.
struct GenerationSample {
  uint64_t generation_id = 0;
  std::string model;
  bool operator<(const GenerationSample& other) const {
    return generation_id != other.generation_id ? generation_id < other.generation_id
                                                : model < other.model;
  }
};

// What an operator's call came to: "OK" or "CODE/REASON: message".
struct Answer {
  std::string call;  // "stage", "evict", "evict by force", "pin", "unpin"
  std::string model;
  std::string result;
};

struct History {
  std::vector<ClientStory> clients;
  std::vector<VolumeVersion> versions;
  std::vector<Answer> answers;
  std::vector<v1::Event> events;  // in the order in which they came
  std::vector<UsageSample> usage;
  std::vector<LeaseSample> leases;
  std::vector<GenerationSample> generations;  // each once
};

absl::Time TimeOf(const v1::Event& event);

}  // namespace weightd::testing

#endif  // WEIGHTD_TESTS_INTEGRATION_HISTORY_HISTORY_H_
