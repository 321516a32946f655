#include "daemon/residency/event_log.h"

#include <thread>

#include "tests/support/common/fake_clock.h"
#include "tests/support/common/status_matchers.h"

namespace weightd::testing {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;
using ::testing::SizeIs;

Event Named(const std::string& model) {
  Event event;
  event.model = model;
  return event;
}

EventLog::Watcher Into(std::vector<std::string>& models) {
  return [&models](const Event& event) { models.push_back(event.model); };
}

TEST(EventLogTest, NumbersAndTimesEachEvent) {
  FakeClock clock;
  std::vector<Event> written;
  EventLog log(clock, [&](const Event& event) { written.push_back(event); });
  log.Publish(Named("a"));
  clock.Advance(absl::Seconds(5));
  log.Publish(Named("b"));
  ASSERT_THAT(written, SizeIs(2));
  EXPECT_EQ(written[0].sequence, 1);
  EXPECT_EQ(written[1].sequence, 2);
  EXPECT_EQ(written[1].time - written[0].time, absl::Seconds(5));
}

TEST(EventLogTest, WatcherGetsTheLastOnesAndThenEachNewOne) {
  FakeClock clock;
  EventLog log(clock, nullptr);
  for (const char* model : {"a", "b", "c"}) log.Publish(Named(model));
  std::vector<std::string> two;
  std::vector<std::string> none;
  std::vector<std::string> all;
  log.Watch(2, Into(two));
  log.Watch(0, Into(none));
  log.Watch(1000, Into(all));
  log.Publish(Named("d"));
  EXPECT_THAT(two, ElementsAre("b", "c", "d"));
  EXPECT_THAT(none, ElementsAre("d"));
  EXPECT_THAT(all, ElementsAre("a", "b", "c", "d"));
}

TEST(EventLogTest, KeepsAtMostItsMaximum) {
  FakeClock clock;
  EventLog log(clock, nullptr, 2);
  for (const char* model : {"a", "b", "c"}) log.Publish(Named(model));
  std::vector<std::string> models;
  log.Watch(1000, Into(models));
  EXPECT_THAT(models, ElementsAre("b", "c"));
}

TEST(EventLogTest, UnwatchedIsNotCalled) {
  FakeClock clock;
  EventLog log(clock, nullptr);
  std::vector<std::string> first;
  std::vector<std::string> second;
  const uint64_t id = log.Watch(0, Into(first));
  log.Watch(0, Into(second));
  log.Unwatch(id);
  log.Unwatch(id);    // again, and
  log.Unwatch(4711);  // one that never was: nothing happens
  log.Publish(Named("a"));
  EXPECT_THAT(first, IsEmpty());
  EXPECT_THAT(second, ElementsAre("a"));
}

// Whoever starts to watch while others publish misses nothing and gets nothing twice.
TEST(EventLogTest, SequenceHasNoGapsForAWatcherThatComesLate) {
  FakeClock clock;
  EventLog log(clock, nullptr, 4096);
  std::vector<std::thread> publishers;
  publishers.reserve(3);
  for (int i = 0; i < 3; ++i) {
    publishers.emplace_back([&] {
      for (int n = 0; n < 500; ++n) log.Publish(Named("m"));
    });
  }
  std::vector<uint64_t> sequences;
  log.Watch(4096, [&](const Event& event) { sequences.push_back(event.sequence); });
  for (std::thread& publisher : publishers) publisher.join();
  ASSERT_THAT(sequences, SizeIs(1500));
  for (size_t i = 0; i < sequences.size(); ++i) ASSERT_EQ(sequences[i], i + 1);
}

TEST(EventLogTest, FieldsLeaveOutWhatIsEmpty) {
  Event event = Named("a");
  event.bytes = 12;
  std::vector<std::string> keys;
  for (const LogField& field : EventFields(event)) keys.push_back(field.key);
  EXPECT_THAT(keys, ElementsAre("model", "bytes"));
  event.lease_id = 3;
  event.duration = absl::Microseconds(5);
  event.reason = "ROOM";
  event.detail = "why";
  keys.clear();
  for (const LogField& field : EventFields(event)) keys.push_back(field.key);
  EXPECT_THAT(keys, ElementsAre("model", "bytes", "lease", "pid", "uid", "duration_us", "reason",
                                "detail"));
}

TEST(EventLogTest, EveryTypeHasAName) {
  for (int i = 0; i <= static_cast<int>(EventType::kModelRemoved); ++i) {
    EXPECT_NE(EventTypeName(static_cast<EventType>(i)), "unknown");
  }
}

}  // namespace
}  // namespace weightd::testing
