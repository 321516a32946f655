#include "daemon/service/outgoing_stream.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <atomic>
#include <deque>
#include <functional>
#include <mutex>
#include <random>
#include <thread>

#include "absl/synchronization/mutex.h"

namespace weightd {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;

// Runs what it is given on a thread of its own, in order.
class Elsewhere {
 public:
  Elsewhere() {
    grpc::run_elsewhere = [this](std::function<void()> task) {
      absl::MutexLock lock(&mu_);
      ++count_;
      tasks_.push_back(std::move(task));
    };
  }
  ~Elsewhere() {
    {
      absl::MutexLock lock(&mu_);
      stops_ = true;
    }
    thread_.join();
  }

  // Calls that were finished so far.
  int count() const {
    absl::MutexLock lock(&mu_);
    return count_;
  }

 private:
  void Run() {
    while (true) {
      std::function<void()> task;
      {
        absl::MutexLock lock(&mu_);
        const auto wakes = [this]() ABSL_SHARED_LOCKS_REQUIRED(mu_) {
          return stops_ || !tasks_.empty();
        };
        mu_.Await(absl::Condition(&wakes));
        if (tasks_.empty()) return;
        task = std::move(tasks_.front());
        tasks_.pop_front();
      }
      task();
    }
  }

  mutable absl::Mutex mu_;
  int count_ ABSL_GUARDED_BY(mu_) = 0;
  bool stops_ ABSL_GUARDED_BY(mu_) = false;
  std::deque<std::function<void()>> tasks_ ABSL_GUARDED_BY(mu_);
  std::thread thread_{[this] { Run(); }};
};

// Deletes itself, as gRPC wants it: `gone` counts.
class Stream final : public OutgoingStream<int> {
 public:
  explicit Stream(std::atomic<int>& gone) : gone_(gone) {}

  void Hold() { BeginWork(); }
  void Let() { EndWork(); }
  void WakeUp() { Wake(); }
  std::function<std::optional<int>()> produce;
  std::function<void()> on_gone;

 private:
  std::optional<int> Produce() override { return produce ? produce() : std::nullopt; }
  void OnGone() override {
    if (on_gone) on_gone();
    gone_.fetch_add(1);
  }

  std::atomic<int>& gone_;
};

// A stream whose end the test does not wait for: OnDone() is not called.
class OutgoingStreamTest : public ::testing::Test {
 protected:
  OutgoingStreamTest() {
    grpc::run_elsewhere = [](const std::function<void()>&) {};
  }
  ~OutgoingStreamTest() override { delete stream_; }

  std::atomic<int> gone_ = 0;
  Stream* const stream_ = new Stream(gone_);
};

TEST_F(OutgoingStreamTest, SendsInOrderOneAtATime) {
  stream_->Enqueue(1);
  EXPECT_THAT(stream_->written, IsEmpty());  // not before Start()
  stream_->Start();
  stream_->Enqueue(2);
  stream_->Enqueue(3);
  EXPECT_THAT(stream_->written, ElementsAre(1));
  stream_->WriteDone(true);
  stream_->WriteDone(true);
  stream_->Close(grpc::Status::OK);
  EXPECT_EQ(stream_->finish_count, 0);
  stream_->WriteDone(true);
  EXPECT_THAT(stream_->written, ElementsAre(1, 2, 3));
  EXPECT_EQ(stream_->finish_count, 1);
}

TEST_F(OutgoingStreamTest, ReplaceLeavesTheNewest) {
  stream_->Start();
  for (int i = 1; i <= 4; ++i) stream_->Replace(i);
  stream_->WriteDone(true);
  stream_->WriteDone(true);
  EXPECT_THAT(stream_->written, ElementsAre(1, 4));
}

TEST_F(OutgoingStreamTest, ProducesWhenThereIsRoom) {
  int next = 0;
  stream_->produce = [&]() -> std::optional<int> {
    if (next == 3) return std::nullopt;
    return ++next;
  };
  stream_->Start();
  EXPECT_EQ(next, 1);  // the next one when this one is written
  stream_->Enqueue(10);
  for (int i = 0; i < 4; ++i) stream_->WriteDone(true);
  EXPECT_THAT(stream_->written, ElementsAre(1, 10, 2, 3));
  next = 2;
  stream_->WakeUp();
  EXPECT_THAT(stream_->written, ElementsAre(1, 10, 2, 3, 3));
}

// No lock is held while it produces: it may queue, wake and close, and nothing of it is lost.
TEST_F(OutgoingStreamTest, ProduceMayCallBack) {
  int calls = 0;
  stream_->produce = [&]() -> std::optional<int> {
    switch (++calls) {
      case 1:
        stream_->WakeUp();
        return std::nullopt;
      case 2:
        stream_->Enqueue(8);
        return 7;  // it came first
      case 3:
        stream_->Close(grpc::Status::OK);
        return 9;
      default:
        return std::nullopt;
    }
  };
  stream_->Start();
  stream_->WriteDone(true);
  stream_->WriteDone(true);
  EXPECT_EQ(stream_->finish_count, 0);
  stream_->WriteDone(true);
  EXPECT_THAT(stream_->written, ElementsAre(7, 8, 9));
  EXPECT_EQ(stream_->finish_count, 1);
}

TEST_F(OutgoingStreamTest, NothingIsSentToAClientThatIsGone) {
  stream_->produce = []() -> std::optional<int> { return 5; };
  stream_->Start();
  stream_->Enqueue(1);
  stream_->Cancel();
  EXPECT_EQ(stream_->finish_count, 0);  // a write is on its way
  stream_->WriteDone(false);
  EXPECT_THAT(stream_->written, ElementsAre(5));
  EXPECT_EQ(stream_->finish_count, 1);
  EXPECT_EQ(stream_->finished.error_code(), grpc::StatusCode::CANCELLED);
  stream_->Enqueue(2);
  stream_->Cancel();
  EXPECT_EQ(stream_->finish_count, 1);
}

TEST_F(OutgoingStreamTest, WorkKeepsTheCallFromEnding) {
  stream_->Start();
  stream_->Hold();
  stream_->Hold();
  stream_->Close(grpc::Status::OK);
  stream_->Let();
  EXPECT_EQ(stream_->finish_count, 0);
  stream_->Let();
  EXPECT_EQ(stream_->finish_count, 1);
}

// What happens to each attach that waits for a stage which fails: one thread refuses it under a
// lock of its own, while its alarm, just cancelled, ends its work on another. Whoever is first must
// not touch the stream when the other has finished it. AddressSanitizer and ThreadSanitizer judge.
TEST(OutgoingStreamRaceTest, EndOfWorkAndCloseMayRace) {
  constexpr int kRounds = 20'000;
  const Elsewhere elsewhere;
  std::atomic<int> gone = 0;
  std::mutex job;
  std::atomic<Stream*> cancelled = nullptr;
  std::atomic<bool> stop = false;
  std::thread alarm([&] {
    while (!stop) {
      if (Stream* stream = cancelled.exchange(nullptr)) stream->Let();
    }
  });
  std::minstd_rand random(1);
  for (int round = 0; round < kRounds; ++round) {
    auto* stream = new Stream(gone);
    stream->on_gone = [&job] { const std::lock_guard<std::mutex> lock(job); };
    stream->Hold();
    stream->Start();
    {
      const std::lock_guard<std::mutex> lock(job);
      cancelled = stream;
      for (volatile uint32_t spin = random() % 512; spin > 0;) spin = spin - 1;
      stream->Close(grpc::Status::OK);
    }
    while (gone == round) std::this_thread::yield();
  }
  stop = true;
  alarm.join();
}

// Everything that may come at the same time: messages, writes, news, the client's end.
TEST(OutgoingStreamRaceTest, EverythingMayRace) {
  constexpr int kRounds = 300;
  const Elsewhere elsewhere;
  std::atomic<int> gone = 0;
  for (int round = 0; round < kRounds; ++round) {
    auto* stream = new Stream(gone);
    std::atomic<int> left = 50;
    stream->produce = [&]() -> std::optional<int> {
      if (left.fetch_sub(1) <= 0) return std::nullopt;
      return 1;
    };
    for (int i = 0; i < 3; ++i) stream->Hold();  // the threads below
    stream->Start();
    std::thread writer([&] {
      stream->Enqueue(1);
      stream->Replace(2);
      stream->Let();
    });
    std::thread waker([&] {
      for (int i = 0; i < 20; ++i) stream->WakeUp();
      stream->Let();
    });
    std::thread client([&] {
      stream->Cancel();
      stream->Let();
    });
    writer.join();
    waker.join();
    client.join();
    // What was begun, if it did not end by itself, is a write: it fails.
    if (elsewhere.count() == round) stream->WriteDone(false);
    while (gone == round) std::this_thread::yield();
  }
}

}  // namespace
}  // namespace weightd
