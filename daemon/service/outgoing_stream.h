#ifndef WEIGHTD_DAEMON_SERVICE_OUTGOING_STREAM_H_
#define WEIGHTD_DAEMON_SERVICE_OUTGOING_STREAM_H_

#include <grpcpp/support/server_callback.h>

#include <atomic>
#include <deque>
#include <optional>
#include <utility>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"

namespace weightd {

// A server stream that messages are queued on from any thread, sent one after another. It costs no
// thread while it is open.
//
// gRPC owns the object from the moment the handler returns it: it deletes itself when the call is
// done. Thread-safe; derived classes are told of the end by OnGone(), once, before deletion.
template <typename Response>
class OutgoingStream : public grpc::ServerWriteReactor<Response> {
 public:
  // Nothing is sent before this: call it when the derived object is complete.
  void Start() {
    {
      absl::MutexLock lock(&mu_);
      started_ = true;
    }
    Pump();
  }

  // Sends `response` after what is queued; nothing after Close() or the client's end.
  void Enqueue(Response response) {
    {
      absl::MutexLock lock(&mu_);
      if (final_status_.has_value()) return;
      queue_.push_back(std::move(response));
    }
    Pump();
  }

  // Sends `response` in place of what is queued and not yet on its way.
  void Replace(Response response) {
    {
      absl::MutexLock lock(&mu_);
      if (final_status_.has_value()) return;
      queue_.clear();
      queue_.push_back(std::move(response));
    }
    Pump();
  }

  // Ends the call with `status` after what is queued. The first status counts.
  void Close(grpc::Status status) {
    {
      absl::MutexLock lock(&mu_);
      if (final_status_.has_value()) return;
      final_status_ = std::move(status);
    }
    Pump();
  }

 protected:
  // The next message when the queue has run empty, or nullopt if there is none; then it is not
  // asked again before Wake(). For streams that make large messages when there is room, not all at
  // once. Never called in parallel, nor before Start().
  virtual std::optional<Response> Produce() { return std::nullopt; }
  // There is something to Produce() again.
  void Wake() {
    {
      absl::MutexLock lock(&mu_);
      if (final_status_.has_value()) return;
      produced_all_ = false;
    }
    Pump();
  }
  // The client is gone: what works for it may stop. Comes before OnGone(), or not at all.
  virtual void OnClientGone() {}
  // The call has ended; no further callback comes.
  virtual void OnGone() = 0;

  // Between the two the call does not end and the object is not deleted, whatever the client does:
  // around what runs elsewhere and uses it. BeginWork() may be called from Produce().
  void BeginWork() { work_count_.fetch_add(1); }
  void EndWork() {
    bool pump = false;
    {
      absl::MutexLock lock(&mu_);
      pump = work_count_.fetch_sub(1) == 1;
    }
    if (pump) Pump();
  }

  size_t queued() const {
    absl::MutexLock lock(&mu_);
    return queue_.size();
  }

 private:
  void OnWriteDone(bool ok) override {
    {
      absl::MutexLock lock(&mu_);
      writing_ = false;
      if (!ok) DropQueue();
    }
    Pump();
  }

  void OnCancel() override {
    BeginWork();
    {
      absl::MutexLock lock(&mu_);
      DropQueue();
    }
    OnClientGone();
    EndWork();
  }

  void OnDone() override {
    OnGone();
    delete this;
  }

  void DropQueue() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_) {
    queue_.clear();
    produced_all_ = true;
    if (!final_status_.has_value()) {
      final_status_ = grpc::Status(grpc::StatusCode::CANCELLED, "the client is gone");
    }
  }

  // Starts the next write, or finishes. gRPC is called without the lock: it may call back.
  void Pump() {
    std::optional<grpc::Status> finish;
    {
      absl::MutexLock lock(&mu_);
      if (!started_ || writing_ || finished_) return;
      if (queue_.empty() && !produced_all_) {
        std::optional<Response> made = Produce();
        produced_all_ = !made.has_value();
        if (made.has_value()) queue_.push_back(*std::move(made));
      }
      if (!queue_.empty()) {
        current_ = std::move(queue_.front());
        queue_.pop_front();
        writing_ = true;
      } else if (final_status_.has_value() && work_count_.load() == 0) {
        finished_ = true;
        finish = final_status_;
      } else {
        return;
      }
    }
    if (finish.has_value()) {
      this->Finish(*std::move(finish));
    } else {
      this->StartWrite(&current_);
    }
  }

  mutable absl::Mutex mu_;
  std::deque<Response> queue_ ABSL_GUARDED_BY(mu_);
  std::optional<grpc::Status> final_status_ ABSL_GUARDED_BY(mu_);
  bool started_ ABSL_GUARDED_BY(mu_) = false;
  bool writing_ ABSL_GUARDED_BY(mu_) = false;
  bool finished_ ABSL_GUARDED_BY(mu_) = false;
  bool produced_all_ ABSL_GUARDED_BY(mu_) = false;
  std::atomic<int> work_count_ = 0;
  Response current_;  // being written while writing_ is true
};

}  // namespace weightd

#endif  // WEIGHTD_DAEMON_SERVICE_OUTGOING_STREAM_H_
