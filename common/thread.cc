#include "common/thread.h"

#include <pthread.h>

#include <algorithm>
#include <system_error>
#include <utility>

#include "absl/strings/str_cat.h"
#include "common/thread_limits.h"

namespace weightd {
namespace {

constexpr size_t kNameBytesMax = 15;  // pthread_setname_np(3)

absl::StatusOr<std::thread> StartNamed(std::string name, std::function<void()> body) {
  name.resize(std::min(name.size(), kNameBytesMax));
  try {  // std::thread has no other way to say that the limit of threads is reached
    return std::thread([name, body = std::move(body)] {
      // A name is for people: without it the thread works all the same.
      (void)::pthread_setname_np(::pthread_self(), name.c_str());
      body();
    });
  } catch (const std::system_error& error) {
    return absl::ResourceExhaustedError(absl::StrCat(
        "start thread ", name, ": ", error.code().message(), "; ", HowToRaiseThreadLimits()));
  }
}

}  // namespace

absl::StatusOr<Thread> Thread::Start(std::string name, std::function<void()> body) {
  absl::StatusOr<std::thread> thread = StartNamed(std::move(name), std::move(body));
  if (!thread.ok()) return thread.status();
  return Thread(*std::move(thread));
}

absl::Status Thread::StartDetached(std::string name, std::function<void()> body) {
  absl::StatusOr<std::thread> thread = StartNamed(std::move(name), std::move(body));
  if (!thread.ok()) return thread.status();
  thread->detach();
  return absl::OkStatus();
}

}  // namespace weightd
