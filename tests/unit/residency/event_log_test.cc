#include "daemon/residency/event_log.h"

#include <thread>

#include "absl/synchronization/notification.h"
#include "tests/support/common/fake_clock.h"
#include "tests/support/common/status_matchers.h"

namespace weightd::testing {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;
using ::testing::SizeIs;

Event Named(const std::string& model) { return Event::ModelAdded(model, 0, ""); }

EventLog::Watcher Into(std::vector<std::string>& models) {
  return [&models](const Event& event) { models.push_back(event.model); };
}

// The models of the kept events after `sequence`.
std::vector<std::string> ModelsAfter(const EventLog& log, uint64_t sequence) {
  std::vector<std::string> models;
  while (const std::shared_ptr<const Event> event = log.Next(sequence)) {
    models.push_back(event->model);
    sequence = event->sequence;
  }
  return models;
}

TEST(EventLogTest, NumbersAndTimesEachEvent) {
  FakeClock clock;
  std::vector<Event> written;
  EventLog log(clock, [&](const Event& event) { written.push_back(event); });
  log.Publish(Named("a"));
  clock.Advance(absl::Seconds(5));
  log.Publish(Named("b"));
  EXPECT_THAT(written, IsEmpty());  // publishing waits for nobody
  log.Deliver();
  ASSERT_THAT(written, SizeIs(2));
  EXPECT_EQ(written[0].sequence, 1);
  EXPECT_EQ(written[1].sequence, 2);
  EXPECT_EQ(written[1].time - written[0].time, absl::Seconds(5));
}

TEST(EventLogTest, WatcherGetsWhatIsPublishedFromThenOn) {
  FakeClock clock;
  EventLog log(clock, nullptr);
  log.Publish(Named("a"));  // not told yet when somebody watches
  std::vector<std::string> models;
  log.Watch(Into(models));
  log.Publish(Named("b"));
  log.Publish(Named("c"));
  log.Deliver();
  EXPECT_THAT(models, ElementsAre("b", "c"));
}

TEST(EventLogTest, FollowerTakesTheLastOnesAndThenEachNewOne) {
  FakeClock clock;
  EventLog log(clock, nullptr);
  for (const char* model : {"a", "b", "c"}) log.Publish(Named(model));
  EXPECT_THAT(ModelsAfter(log, log.SequenceBefore(2)), ElementsAre("b", "c"));
  EXPECT_THAT(ModelsAfter(log, log.SequenceBefore(1000)), ElementsAre("a", "b", "c"));
  const uint64_t now = log.SequenceBefore(0);
  EXPECT_EQ(log.Next(now), nullptr);
  int news = 0;
  log.Deliver();
  log.Follow([&] { ++news; });
  log.Publish(Named("d"));
  log.Publish(Named("e"));
  log.Deliver();
  EXPECT_EQ(news, 1);  // once for several
  EXPECT_THAT(ModelsAfter(log, now), ElementsAre("d", "e"));
}

TEST(EventLogTest, KeepsAtMostItsMaximum) {
  FakeClock clock;
  EventLog log(clock, nullptr, {.kept_max = 2});
  for (const char* model : {"a", "b", "c"}) log.Publish(Named(model));
  EXPECT_THAT(ModelsAfter(log, 0), ElementsAre("b", "c"));
  EXPECT_EQ(log.Next(0)->sequence, 2);  // the gap is what was forgotten
}

// Names come from clients: what is kept of them has a limit in bytes.
TEST(EventLogTest, KeepsAtMostItsBytes) {
  FakeClock clock;
  EventLog log(clock, nullptr, {.kept_bytes_max = 10'000});
  for (int i = 0; i < 5; ++i) log.Publish(Named(std::string(4'000, 'a')));
  EXPECT_THAT(ModelsAfter(log, 0), SizeIs(2));
}

// A slow log or watcher costs a bounded queue: what comes beyond is kept, and told to nobody.
TEST(EventLogTest, DropsWhatNobodyTakes) {
  FakeClock clock;
  std::vector<std::string> models;
  std::vector<uint64_t> dropped;
  EventLog log(clock, Into(models), {.waiting_max = 2},
               [&](uint64_t events) { dropped.push_back(events); });
  for (const char* model : {"a", "b", "c", "d"}) log.Publish(Named(model));
  Event drain = Event::DrainStarted(0);
  drain.model = "end";
  log.Publish(drain);  // always told
  log.Deliver();
  EXPECT_THAT(models, ElementsAre("a", "b", "end"));
  EXPECT_THAT(dropped, ElementsAre(2));
  EXPECT_THAT(ModelsAfter(log, 0), ElementsAre("a", "b", "c", "d", "end"));
  log.Publish(Named("e"));
  log.Deliver();
  EXPECT_THAT(models, ElementsAre("a", "b", "end", "e"));
}

TEST(EventLogTest, UnwatchedIsNotCalled) {
  FakeClock clock;
  EventLog log(clock, nullptr);
  std::vector<std::string> first;
  std::vector<std::string> second;
  const uint64_t id = log.Watch(Into(first));
  log.Watch(Into(second));
  log.Unwatch(id);
  log.Unwatch(id);    // again, and
  log.Unwatch(4711);  // one that never was: nothing happens
  log.Publish(Named("a"));
  log.Deliver();
  EXPECT_THAT(first, IsEmpty());
  EXPECT_THAT(second, ElementsAre("a"));
}

// No lock is held while a watcher runs: it may publish, and may leave.
TEST(EventLogTest, WatcherMayCallBack) {
  FakeClock clock;
  EventLog log(clock, nullptr);
  std::vector<std::string> models;
  uint64_t id = 0;
  id = log.Watch([&](const Event& event) {
    models.push_back(event.model);
    if (event.model == "a") log.Publish(Named("b"));
    if (event.model == "b") log.Unwatch(id);
  });
  log.Publish(Named("a"));
  log.Deliver();
  log.Publish(Named("c"));
  log.Deliver();
  EXPECT_THAT(models, ElementsAre("a", "b"));
}

// The publisher does not wait for a line that cannot be written.
TEST(EventLogTest, PublisherDoesNotWaitForTheLog) {
  FakeClock clock;
  absl::Notification writes;
  absl::Notification release;
  std::vector<std::string> models;
  {
    EventLog log(clock, [&](const Event& event) {
      models.push_back(event.model);
      if (event.model != "a") return;
      writes.Notify();
      release.WaitForNotification();
    });
    ASSERT_OK(log.Start());
    log.Publish(Named("a"));
    writes.WaitForNotification();
    for (int i = 0; i < 1000; ++i) log.Publish(Named("b"));
    EXPECT_FALSE(log.Settle(absl::ZeroDuration()));
    release.Notify();
    EXPECT_TRUE(log.Settle(absl::InfiniteDuration()));
    EXPECT_THAT(models, SizeIs(1001));
    log.Publish(Named("last"));
  }
  EXPECT_EQ(models.back(), "last");  // told before the end
}

// Whoever starts to watch while others publish misses nothing of what comes then, and gets nothing
// twice.
TEST(EventLogTest, SequenceHasNoGapsForAWatcherThatComesLate) {
  FakeClock clock;
  EventLog log(clock, nullptr);
  ASSERT_OK(log.Start());
  std::vector<std::thread> publishers;
  publishers.reserve(3);
  for (int i = 0; i < 3; ++i) {
    publishers.emplace_back([&] {
      for (int n = 0; n < 500; ++n) log.Publish(Named("m"));
    });
  }
  std::vector<uint64_t> sequences;
  log.Watch([&](const Event& event) { sequences.push_back(event.sequence); });
  log.Publish(Named("m"));
  for (std::thread& publisher : publishers) publisher.join();
  ASSERT_TRUE(log.Settle(absl::InfiniteDuration()));
  ASSERT_FALSE(sequences.empty());
  EXPECT_EQ(sequences.back(), 1501);
  for (size_t i = 1; i < sequences.size(); ++i) ASSERT_EQ(sequences[i], sequences[i - 1] + 1);
}

}  // namespace
}  // namespace weightd::testing
