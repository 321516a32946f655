#ifndef WEIGHTD_DAEMON_SERVICE_OUTGOING_STREAM_H_
#define WEIGHTD_DAEMON_SERVICE_OUTGOING_STREAM_H_

#include <grpcpp/support/server_callback.h>

#include <deque>
#include <optional>
#include <utility>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"

namespace weightd {

// A server stream that messages are queued on from any thread, sent one after another. It costs no
// thread while it is open.
//
// What comes next is decided under the lock, by whoever changes something, and done without it: to
// produce a message, to write one, or to finish. Only one thread does so at a time, and who decided
// on nothing does not touch the object any more.
//
// gRPC owns the object from the moment the handler returns it: it deletes itself when the call is
// done. Thread-safe; derived classes are told of the end by OnGone(), once, before deletion.
template <typename Response>
class OutgoingStream : public grpc::ServerWriteReactor<Response> {
 public:
  // Nothing is sent before this: call it when the derived object is complete.
  void Start() {
    Step step = Step::kNothing;
    {
      absl::MutexLock lock(&mu_);
      started_ = true;
      step = NextStep();
    }
    Do(step);
  }

  // Sends `response` after what is queued; nothing after Close() or the client's end.
  void Enqueue(Response response) {
    Step step = Step::kNothing;
    {
      absl::MutexLock lock(&mu_);
      if (final_status_.has_value()) return;
      queue_.push_back(std::move(response));
      step = NextStep();
    }
    Do(step);
  }

  // Sends `response` in place of what is queued and not yet on its way.
  void Replace(Response response) {
    std::deque<Response> replaced;  // goes after the lock
    Step step = Step::kNothing;
    {
      absl::MutexLock lock(&mu_);
      if (final_status_.has_value()) return;
      replaced.swap(queue_);
      queue_.push_back(std::move(response));
      step = NextStep();
    }
    Do(step);
  }

  // Ends the call with `status` after what is queued and produced. The first status counts.
  void Close(grpc::Status status) {
    Step step = Step::kNothing;
    {
      absl::MutexLock lock(&mu_);
      if (final_status_.has_value()) return;
      final_status_ = std::move(status);
      step = NextStep();
    }
    Do(step);
  }

 protected:
  // The next message when the queue has run empty, or nullopt if there is none; then it is not
  // asked again before Wake(). For streams that make large messages when there is room, not all at
  // once. Called without locks, never in parallel, nor before Start(); the call does not end
  // meanwhile.
  virtual std::optional<Response> Produce() { return std::nullopt; }
  // There is something to Produce() again.
  void Wake() {
    Step step = Step::kNothing;
    {
      absl::MutexLock lock(&mu_);
      if (final_status_.has_value()) return;
      produced_all_ = false;
      woken_ = true;
      step = NextStep();
    }
    Do(step);
  }
  // `response` is about to wait until the client reads it, and does so no more after OnRead(). A
  // status ends the call with it instead. Called without locks, never in parallel.
  virtual std::optional<grpc::Status> OnWrite(const Response& /*response*/) { return std::nullopt; }
  virtual void OnRead() {}
  // The client is gone: what works for it may stop. Comes before OnGone(), or not at all.
  virtual void OnClientGone() {}
  // The call has ended; no further callback comes.
  virtual void OnGone() = 0;

  // Between the two the call does not end and the object is not deleted, whatever the client does:
  // around what runs elsewhere and uses it.
  void BeginWork() {
    absl::MutexLock lock(&mu_);
    ++work_count_;
  }
  void EndWork() {
    Step step = Step::kNothing;
    {
      absl::MutexLock lock(&mu_);
      --work_count_;
      step = NextStep();
    }
    Do(step);
  }

 private:
  enum class Step { kNothing, kProduce, kWrite, kFinish };

  void OnWriteDone(bool ok) override {
    OnRead();
    std::deque<Response> dropped;  // goes after the lock
    Step step = Step::kNothing;
    {
      absl::MutexLock lock(&mu_);
      writing_ = false;
      if (!ok) Drop(dropped);
      step = NextStep();
    }
    Do(step);
  }

  void OnCancel() override {
    std::deque<Response> dropped;  // goes after the lock
    {
      absl::MutexLock lock(&mu_);
      ++work_count_;
      Drop(dropped);
    }
    OnClientGone();
    EndWork();
  }

  void OnDone() override {
    OnGone();
    delete this;
  }

  void Drop(std::deque<Response>& dropped) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_) {
    dropped.swap(queue_);
    gone_ = true;
    produced_all_ = true;
    if (!final_status_.has_value()) {
      final_status_ = grpc::Status(grpc::StatusCode::CANCELLED, "the client is gone");
    }
  }

  // Takes the right to the next step: while one is being done, everybody else does nothing.
  Step NextStep() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_) {
    if (!started_ || producing_ || writing_ || finished_) return Step::kNothing;
    if (!queue_.empty()) {
      current_ = std::move(queue_.front());
      queue_.pop_front();
      writing_ = true;
      return Step::kWrite;
    }
    if (!produced_all_) {
      producing_ = true;
      woken_ = false;
      return Step::kProduce;
    }
    if (!final_status_.has_value() || work_count_ > 0) return Step::kNothing;
    finished_ = true;
    last_status_ = *final_status_;
    return Step::kFinish;
  }

  // Writes current_, or ends the call.
  void Write() {
    std::optional<grpc::Status> refused = OnWrite(current_);
    if (!refused.has_value()) {
      this->StartWrite(&current_);
      return;
    }
    std::deque<Response> dropped;  // goes after the lock
    Step step = Step::kNothing;
    {
      absl::MutexLock lock(&mu_);
      writing_ = false;
      if (!final_status_.has_value()) final_status_ = *std::move(refused);
      Drop(dropped);
      step = NextStep();
    }
    Do(step);
  }

  // gRPC and Produce() may call back.
  void Do(Step step) {
    while (step == Step::kProduce) {
      std::optional<Response> made = Produce();
      absl::MutexLock lock(&mu_);
      producing_ = false;
      if (!made.has_value()) {
        produced_all_ = gone_ || !woken_;
      } else if (!gone_) {
        queue_.push_front(*std::move(made));
      }
      step = NextStep();
    }
    if (step == Step::kWrite) Write();
    if (step == Step::kFinish) this->Finish(std::move(last_status_));
  }

  mutable absl::Mutex mu_;  // never held while anything is called
  std::deque<Response> queue_ ABSL_GUARDED_BY(mu_);
  std::optional<grpc::Status> final_status_ ABSL_GUARDED_BY(mu_);
  int work_count_ ABSL_GUARDED_BY(mu_) = 0;
  bool started_ ABSL_GUARDED_BY(mu_) = false;
  bool producing_ ABSL_GUARDED_BY(mu_) = false;
  bool writing_ ABSL_GUARDED_BY(mu_) = false;
  bool finished_ ABSL_GUARDED_BY(mu_) = false;
  bool gone_ ABSL_GUARDED_BY(mu_) = false;
  bool produced_all_ ABSL_GUARDED_BY(mu_) = false;
  bool woken_ ABSL_GUARDED_BY(mu_) = false;  // while Produce() ran
  Response current_ = {};                    // being written while writing_ is true
  grpc::Status last_status_;                 // fixed once finished_ is true
};

}  // namespace weightd

#endif  // WEIGHTD_DAEMON_SERVICE_OUTGOING_STREAM_H_
