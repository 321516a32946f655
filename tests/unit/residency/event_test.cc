#include "daemon/residency/event.h"

#include <string>
#include <vector>

#include "common/errors.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace weightd::testing {
namespace {

using ::testing::ElementsAre;

const EventCopy kCopy = {
    .model = "m", .device = "GPU-0", .generation = GenerationId(7), .bytes = 12};
const EventJob kJob = {.model = "m", .device = "GPU-0", .job = JobId(3)};
const EventLease kLease = {.copy = kCopy, .lease_id = 5, .peer = {.pid = 100, .uid = 0}};
const absl::Status kRefusal =
    ErrorWithReason(absl::StatusCode::kUnavailable, Reason::kReadFailed, "no answer");

// The keys of its log line.
std::vector<std::string> Keys(const Event& event) {
  std::vector<std::string> keys;
  for (const LogField& field : EventFields(event)) keys.push_back(field.key);
  return keys;
}

TEST(EventTest, EachFactoryCarriesWhatItsTypeMeans) {
  const struct {
    Event event;
    std::string name;
    std::vector<std::string> keys;
  } kCases[] = {
      {Event::StageStarted(kJob), "stage_started", {"model", "device", "job"}},
      {Event::StageDone(kCopy, JobId(3), "how"),
       "stage_done",
       {"model", "device", "bytes", "generation", "job", "detail"}},
      {Event::AlreadyResident(kCopy, JobId(3)),
       "stage_done",
       {"model", "device", "generation", "job", "detail"}},
      {Event::StageFailed(kJob, kRefusal),
       "stage_failed",
       {"model", "device", "job", "reason", "detail"}},
      {Event::StageRefused(kJob, kRefusal),
       "stage_refused",
       {"model", "device", "job", "reason", "detail"}},
      {Event::StageRefused("m", "host", {.pid = 1, .uid = 0}, kRefusal),
       "stage_refused",
       {"model", "device", "pid", "uid", "reason", "detail"}},
      {Event::Evicted(kCopy, "ROOM", "why"),
       "evicted",
       {"model", "device", "bytes", "generation", "reason", "detail"}},
      {Event::Demoted(kCopy, "ROOM", "why"),
       "demoted",
       {"model", "device", "bytes", "generation", "reason", "detail"}},
      {Event::DemotionFailed(kCopy, kRefusal),
       "demotion_failed",
       {"model", "device", "bytes", "generation", "reason", "detail"}},
      {Event::Pinned(kCopy), "pinned", {"model", "device", "bytes", "generation"}},
      {Event::Pinned(kCopy, JobId(3)), "pinned", {"model", "device", "bytes", "generation", "job"}},
      {Event::Unpinned(kCopy), "unpinned", {"model", "device", "bytes", "generation"}},
      {Event::Superseded(kCopy, GenerationId(8), 2),
       "superseded",
       {"model", "device", "generation", "detail"}},
      {Event::Verified(kCopy, 9), "verified", {"model", "device", "bytes", "generation"}},
      {Event::Damaged(kCopy, 9, "one of two"),
       "damaged",
       {"model", "device", "bytes", "generation", "reason", "detail"}},
      {Event::LeaseGranted(kLease, "client", JobId(3), absl::Seconds(1)),
       "lease_granted",
       {"model", "device", "generation", "job", "lease", "pid", "uid", "duration_us", "detail"}},
      {Event::LeaseEnded(kLease, "STREAM_ENDED", "closed", absl::Seconds(1)),
       "lease_ended",
       {"model", "device", "generation", "lease", "pid", "uid", "duration_us", "reason", "detail"}},
      {Event::LeaseRevoked(kLease, "evicted by force", absl::Seconds(1)),
       "lease_revoked",
       {"model", "device", "generation", "lease", "pid", "uid", "duration_us", "reason", "detail"}},
      {Event::AttachRefused(kJob, {.pid = 1, .uid = 0}, kRefusal),
       "attach_refused",
       {"model", "device", "job", "pid", "uid", "reason", "detail"}},
      {Event::DrainStarted(2), "drain_started", {"detail"}},
      {Event::ModelAdded("m", 1, ""), "model_added", {"model", "bytes"}},
      {Event::ModelChanged("m", 1, "main"), "model_changed", {"model", "bytes", "detail"}},
      {Event::ModelRemoved("m", 1, ""), "model_removed", {"model", "bytes"}},
  };
  std::vector<bool> made(static_cast<size_t>(kLastEventType) + 1);
  for (const auto& one : kCases) {
    EXPECT_EQ(EventTypeName(one.event.type), one.name);
    EXPECT_EQ(Keys(one.event), one.keys) << one.name;
    made[static_cast<size_t>(one.event.type)] = true;
  }
  for (size_t i = 0; i < made.size(); ++i) EXPECT_TRUE(made[i]) << "type " << i;
}

TEST(EventTest, ErrorsAreTheirWordAndTheirText) {
  const Event failed = Event::DemotionFailed(kCopy, kRefusal);
  EXPECT_EQ(failed.reason, "READ_FAILED");
  EXPECT_EQ(failed.detail, "no answer");
  EXPECT_EQ(Event::StageFailed(kJob, absl::UnknownError("odd")).reason, kUnknownReason);
}

}  // namespace
}  // namespace weightd::testing
