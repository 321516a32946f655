#include "common/detached_closer.h"

#include <sys/socket.h>

#include <deque>
#include <map>
#include <utility>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "common/thread.h"
#include "common/unix_socket.h"

namespace weightd {
namespace {

// Once nobody can send more to it. A look takes descriptors along, and gives them back at once: as
// the queue has them too, that closes nothing.
bool MayHoldDescriptors(int socket) {
  if (RefusesDescriptors(socket)) return false;
  (void)::shutdown(socket, SHUT_RDWR);
  char byte = 0;
  iovec part{.iov_base = &byte, .iov_len = sizeof(byte)};
  msghdr message{};
  message.msg_iov = &part;
  message.msg_iovlen = 1;
  const ssize_t count = ::recvmsg(socket, &message, MSG_PEEK | MSG_DONTWAIT);
  return count > 0 || (count == 0 && message.msg_flags != 0);
}

}  // namespace

struct DetachedCloser::State {
  struct User {
    std::deque<int> waiting;  // numbers: nobody closes them by going out of scope
    size_t threads = 0;
  };

  absl::Mutex mu;
  std::map<uint32_t, User> users ABSL_GUARDED_BY(mu);  // those with something
  uint32_t last_uid ABSL_GUARDED_BY(mu) = 0;
  size_t waiting ABSL_GUARDED_BY(mu) = 0;
  size_t threads ABSL_GUARDED_BY(mu) = 0;

  // The next user who has something to close and may have a thread; null without one.
  std::map<uint32_t, User>::iterator Next(size_t threads_per_uid_max)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu) {
    auto user = users.upper_bound(last_uid);
    for (size_t i = 0; i < users.size(); ++i, ++user) {
      if (user == users.end()) user = users.begin();
      if (user->second.waiting.empty() || user->second.threads >= threads_per_uid_max) continue;
      last_uid = user->first;
      return user;
    }
    return users.end();
  }

  // Closes what waits, until nothing may be.
  static void Work(const std::shared_ptr<State>& state, size_t threads_per_uid_max) {
    while (true) {
      UniqueFd next;
      uint32_t uid = 0;
      {
        absl::MutexLock lock(&state->mu);
        const auto user = state->Next(threads_per_uid_max);
        if (user == state->users.end()) {
          --state->threads;
          return;
        }
        uid = user->first;
        ++user->second.threads;
        next.reset(user->second.waiting.front());
        user->second.waiting.pop_front();
        --state->waiting;
      }
      next.reset();
      absl::MutexLock lock(&state->mu);
      const auto user = state->users.find(uid);
      if (--user->second.threads == 0 && user->second.waiting.empty()) state->users.erase(user);
    }
  }
};

DetachedCloser::DetachedCloser(const Options& options)
    : options_(options), state_(std::make_shared<State>()) {}

void DetachedCloser::CloseSocket(UniqueFd socket, uint32_t uid) {
  if (!MayHoldDescriptors(socket.get())) return;
  std::vector<UniqueFd> one;
  one.push_back(std::move(socket));
  Close(std::move(one), uid);
}

void DetachedCloser::Close(std::vector<UniqueFd> descriptors, uint32_t uid) {
  if (descriptors.empty()) return;
  {
    absl::MutexLock lock(&state_->mu);
    State::User& user = state_->users[uid];
    state_->waiting += descriptors.size();
    for (UniqueFd& descriptor : descriptors) user.waiting.push_back(descriptor.release());
    if (state_->threads >= options_.threads_max || user.threads >= options_.threads_per_uid_max) {
      return;
    }
    ++state_->threads;
  }
  // Where no thread is to be had they wait for the next call.
  if (Thread::StartDetached("close", [state = state_, max = options_.threads_per_uid_max] {
        State::Work(state, max);
      }).ok()) {
    return;
  }
  absl::MutexLock lock(&state_->mu);
  --state_->threads;
}

bool DetachedCloser::full() const { return waiting() >= options_.waiting_max; }

bool DetachedCloser::full(uint32_t uid) const {
  absl::MutexLock lock(&state_->mu);
  if (state_->waiting >= options_.waiting_max) return true;
  const auto user = state_->users.find(uid);
  return user != state_->users.end() && user->second.waiting.size() >= options_.waiting_per_uid_max;
}

size_t DetachedCloser::waiting() const {
  absl::MutexLock lock(&state_->mu);
  return state_->waiting;
}

}  // namespace weightd
