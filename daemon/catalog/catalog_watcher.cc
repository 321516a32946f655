#include "daemon/catalog/catalog_watcher.h"

#include <poll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <utility>

#include "absl/strings/str_cat.h"
#include "common/errors.h"
#include "common/status_macros.h"
#include "common/steady_time.h"
#include "daemon/catalog/root_look.h"
#include "daemon/storage/tree_watch.h"

namespace weightd {
namespace {

// Hints come by the hundred while somebody copies, and wishes while somebody asks: not one look for
// each.
constexpr absl::Duration kGapMin = absl::Milliseconds(100);
constexpr int kNotifiedScanFactor = 10;

}  // namespace

absl::Status CatalogWatchOptions::Validate() const {
  if (scan_interval < absl::Seconds(1) || scan_interval > absl::Hours(24)) {
    return absl::InvalidArgumentError(absl::StrCat("catalog.scan_interval_ms is ",
                                                   absl::ToInt64Milliseconds(scan_interval),
                                                   ", wanted 1000 to 86400000"));
  }
  if (settle < absl::ZeroDuration() || settle > absl::Minutes(10)) {
    return absl::InvalidArgumentError(absl::StrCat(
        "catalog.settle_ms is ", absl::ToInt64Milliseconds(settle), ", wanted at most 600000"));
  }
  return absl::OkStatus();
}

// One root, between the watcher's thread and the looks.
struct CatalogWatcher::Entry {
  std::shared_ptr<Root> root;
  bool looking = false;
  bool hinted = false;  // the kernel told of a change
  bool wanted = false;  // somebody waits for a look
  uint64_t full_begun = 0;
  uint64_t full_ended = 0;
  absl::Time last_full = absl::InfinitePast();  // SteadyNow()'s, when it began
  absl::Time last_any = absl::InfinitePast();
  absl::Time last_end = absl::InfinitePast();
  std::unique_ptr<TreeWatch> watch;  // of the look while there is one
  bool notified = false;
  std::string reason;
  std::shared_ptr<Volume> watched;  // that `watch` is of
  std::shared_ptr<const RootScan> scan;
  absl::Status problem;
  std::shared_ptr<RootLookWork> ended;  // to be taken
};

struct CatalogWatcher::Waiter {
  std::vector<uint64_t> needed;  // full looks of each root that must have ended
  absl::Time deadline;
  std::function<void()> done;
};

// Outlives the watcher while a look hangs.
struct CatalogWatcher::Shared {
  void Wake() const {
    const uint64_t one = 1;
    while (::write(wake.get(), &one, sizeof(one)) < 0 && errno == EINTR) {
    }
  }

  UniqueFd wake;  // an eventfd(2)
  absl::Mutex mu;
  bool stopped ABSL_GUARDED_BY(mu) = false;
  std::vector<Entry> entries ABSL_GUARDED_BY(mu);
  std::vector<Waiter> waiters ABSL_GUARDED_BY(mu);
};

CatalogWatcher::CatalogWatcher(const CatalogWatchOptions& options, const Catalog& catalog,
                               const Clock& clock, Listener listener)
    : options_(options),
      catalog_(catalog),
      clock_(clock),
      listener_(std::move(listener)),
      shared_(std::make_shared<Shared>()) {
  for (const std::shared_ptr<Root>& root : catalog.roots()) {
    Entry& entry = shared_->entries.emplace_back();
    entry.root = root;
    entry.reason = "not looked at yet";
    entry.problem = absl::UnavailableError("it was not looked through yet");
    following_.emplace_back(options.settle);
  }
}

absl::StatusOr<std::unique_ptr<CatalogWatcher>> CatalogWatcher::Start(
    const CatalogWatchOptions& options, Catalog& catalog, const Clock& clock, Listener listener) {
  std::unique_ptr<CatalogWatcher> watcher(
      new CatalogWatcher(options, catalog, clock, std::move(listener)));
  watcher->shared_->wake = UniqueFd(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
  if (!watcher->shared_->wake.valid())
    return PosixError(errno, "eventfd for the catalog's watcher");
  catalog.set_last_scans([shared = watcher->shared_](size_t root) {
    absl::MutexLock lock(&shared->mu);
    return shared->entries[root].scan;
  });
  ASSIGN_OR_RETURN(watcher->thread_,
                   Thread::Start("catalog", [raw = watcher.get()] { raw->Run(); }));
  return watcher;
}

void CatalogWatcher::Stop() {
  if (!thread_.joinable()) return;
  {
    absl::MutexLock lock(&shared_->mu);
    shared_->stopped = true;
  }
  shared_->Wake();
  thread_.Join();
  AnswerWaiters(absl::InfiniteFuture());
}

std::vector<RootLook> CatalogWatcher::looks() const {
  std::vector<RootLook> looks;
  absl::MutexLock lock(&shared_->mu);
  for (const Entry& entry : shared_->entries) {
    RootLook& look = looks.emplace_back();
    look.root = entry.root->path();
    look.notified = entry.notified;
    look.reason = entry.reason;
    if (const auto volume = entry.root->volume(); volume.ok()) look.kind = (*volume)->file_system();
    look.scan = entry.scan;
    look.problem = entry.problem;
    if (entry.root->threads() == nullptr) continue;
    look.threads = entry.root->threads()->state();
    if (look.threads.stuck == 0 || (look.scan != nullptr && !look.problem.ok())) continue;
    look.problem = ErrorWithReason(
        absl::StatusCode::kUnavailable, Reason::kVolumeStuck,
        absl::StrCat("the volume does not answer: ", look.threads.stuck,
                     " calls hang, the first for ",
                     absl::FormatDuration(absl::Trunc(look.threads.stuck_for, absl::Seconds(1))),
                     " (", look.threads.stuck_what, ")"));
  }
  return looks;
}

std::shared_ptr<const RootScan> CatalogWatcher::last_scan(size_t root) const {
  absl::MutexLock lock(&shared_->mu);
  return shared_->entries[root].scan;
}

void CatalogWatcher::Refresh(absl::Duration timeout, std::function<void()> done) {
  Waiter waiter;
  waiter.deadline = SteadyNow() + timeout;
  bool stopped = false;
  {
    absl::MutexLock lock(&shared_->mu);
    stopped = shared_->stopped;
    if (!stopped) {
      waiter.done = std::move(done);
      for (Entry& entry : shared_->entries) {
        entry.wanted = true;
        waiter.needed.push_back(entry.full_begun + 1);
      }
      shared_->waiters.push_back(std::move(waiter));
    }
  }
  if (stopped) return done();
  shared_->Wake();
}

void CatalogWatcher::AnswerWaiters(absl::Time now) {
  std::vector<std::function<void()>> done;
  {
    absl::MutexLock lock(&shared_->mu);
    std::vector<uint64_t> ended;  // looks, like the entries
    std::vector<bool> stuck;
    for (const Entry& entry : shared_->entries) {
      ended.push_back(entry.full_ended);
      stuck.push_back(entry.root->threads() != nullptr && entry.root->threads()->state().stuck > 0);
    }
    std::erase_if(shared_->waiters, [&](Waiter& waiter) {
      bool answered = true;
      for (size_t i = 0; i < waiter.needed.size() && answered; ++i) {
        answered = ended[i] >= waiter.needed[i] || stuck[i];
      }
      answered = answered || now >= waiter.deadline;
      if (answered) done.push_back(std::move(waiter.done));
      return answered;
    });
  }
  for (const auto& one : done) one();
}

absl::Time CatalogWatcher::FullDue(size_t root, absl::Time now) const {
  shared_->mu.AssertHeld();
  const Entry& entry = shared_->entries[root];
  const absl::Duration interval =
      entry.notified ? options_.scan_interval * kNotifiedScanFactor : options_.scan_interval;
  absl::Time due = entry.last_full == absl::InfinitePast() ? now : entry.last_full + interval;
  if (const auto settled = following_[root].diff.next_look(); settled.has_value()) {
    // One look at that time or after it will do.
    if (entry.last_full < *settled) due = std::min(due, *settled);
  }
  if (entry.hinted || entry.wanted) due = std::min(due, entry.last_end + kGapMin);
  return due;
}

absl::Time CatalogWatcher::NextDue(absl::Time now) const {
  absl::Time due = absl::InfiniteFuture();
  absl::MutexLock lock(&shared_->mu);
  for (size_t i = 0; i < shared_->entries.size(); ++i) {
    const Entry& entry = shared_->entries[i];
    if (!entry.looking) {
      due = std::min({due, FullDue(i, now), entry.last_any + options_.scan_interval});
    } else if (!following_[i].failing && entry.root->threads() != nullptr) {
      // To tell that it hangs.
      due = std::min(due, std::max(entry.last_any + entry.root->threads()->stall_timeout(),
                                   now + options_.scan_interval));
    }
  }
  for (const Waiter& waiter : shared_->waiters) due = std::min(due, waiter.deadline);
  return due;
}

void CatalogWatcher::StartLooks(absl::Time now) {
  for (size_t i = 0; i < following_.size(); ++i) {
    bool full = false;
    {
      absl::MutexLock lock(&shared_->mu);
      const Entry& entry = shared_->entries[i];
      if (entry.looking) continue;
      full = FullDue(i, now) <= now;
      if (!full && entry.last_any + options_.scan_interval > now) continue;
    }
    StartLook(i, full, now);
  }
}

void CatalogWatcher::StartLook(size_t root, bool full, absl::Time now) {
  const auto work = std::make_shared<RootLookWork>();
  {
    absl::MutexLock lock(&shared_->mu);
    Entry& entry = shared_->entries[root];
    entry.looking = true;
    entry.last_any = now;
    if (full) {
      entry.last_full = now;
      entry.hinted = entry.wanted = false;
      ++entry.full_begun;
    }
    work->root = entry.root;
    work->watched = entry.watched;
    work->watch = std::move(entry.watch);
    work->not_notified = entry.reason;
  }
  work->options = catalog_.options();
  work->full = full;
  work->start = now;
  const auto end = [work, shared = shared_, root] {
    {
      absl::MutexLock lock(&shared->mu);
      shared->entries[root].ended = work;
    }
    shared->Wake();
  };
  const auto look = [work, end] {
    LookAtRoot(*work);
    end();
  };
  VolumeThreads* const threads = work->root->threads();
  if (threads == nullptr) return look();
  absl::Status submitted = threads->Submit("look through the root", look);
  if (submitted.ok()) return;
  work->volume = work->watched;
  work->problem = std::move(submitted);
  end();
}

void CatalogWatcher::TellStuck() {
  const std::vector<RootLook> all = looks();
  for (size_t i = 0; i < all.size(); ++i) {
    if (!following_[i].TakeStuck(all[i].threads.stuck > 0)) continue;
    listener_.on_failure(Annotate(all[i].problem, absl::StrCat("root ", all[i].root)));
  }
}

RootScans CatalogWatcher::Scans() const {
  RootScans scans;
  for (const Following& one : following_) scans.push_back(one.scan);
  return scans;
}

void CatalogWatcher::TakeLooks() {
  for (size_t i = 0; i < following_.size(); ++i) {
    std::shared_ptr<RootLookWork> look;
    {
      absl::MutexLock lock(&shared_->mu);
      look = std::exchange(shared_->entries[i].ended, nullptr);
    }
    if (look != nullptr) TakeLook(i, *look);
  }
}

void CatalogWatcher::TakeLook(size_t root, RootLookWork& look) {
  Following& following = following_[root];
  const std::string path = catalog_.roots()[root]->path();
  const bool is_missing = look.volume == nullptr;
  // Of a root that is not there nothing is.
  if (is_missing) look.scan = std::make_shared<RootScan>();
  if (look.scan != nullptr) look.scan->time = clock_.Now();
  const std::shared_ptr<const RootScan> scan = look.scan;
  {
    absl::MutexLock lock(&shared_->mu);
    Entry& entry = shared_->entries[root];
    entry.looking = false;
    entry.last_end = SteadyNow();
    entry.watch = std::move(look.watch);
    entry.notified = entry.watch != nullptr;
    entry.reason = entry.notified ? "" : look.not_notified;
    entry.watched = look.volume;
    entry.problem = look.problem;
    // A look that was to be short and became a full one serves only who asks later.
    if (look.full) entry.full_ended = std::max(entry.full_ended, entry.full_begun);
    if (scan != nullptr) entry.scan = scan;
  }
  if (!is_missing && following.volume != nullptr && following.volume != look.volume) {
    listener_.on_reopened(path, "it leads to another directory than before");
  } else if (!is_missing && following.was_missing) {
    listener_.on_reopened(path, "it is there now");
  }
  following.was_missing = is_missing;
  following.volume = look.volume;
  if (look.problem.ok()) following.failing = false;
  const bool is_told = following.stuck_told && GetReason(look.problem) == Reason::kVolumeStuck;
  if (!look.problem.ok() && !std::exchange(following.failing, true) && !is_told) {
    listener_.on_failure(Annotate(look.problem, absl::StrCat("root ", path)));
  }
  if (scan == nullptr) return;
  following.scan = scan;
  std::vector<CatalogChange> changes =
      VisibleChanges(root, Scans(), following.diff.Look(scan->checkpoints, look.start));
  if (!std::exchange(following.looked, true)) {
    std::vector<Checkpoint> visible;
    const RootScans scans = Scans();
    for (const Checkpoint& checkpoint : scan->checkpoints) {
      if (FindIn(absl::MakeSpan(scans).first(root), checkpoint.model) == nullptr) {
        visible.push_back(checkpoint);
      }
    }
    listener_.on_first_look(visible);
  }
  if (!changes.empty()) listener_.on_changes(changes);
}

void CatalogWatcher::Run() {
  while (true) {
    TakeLooks();
    const absl::Time now = SteadyNow();
    StartLooks(now);
    TakeLooks();  // those that were refused, and of roots without threads
    AnswerWaiters(SteadyNow());
    TellStuck();
    Wait(NextDue(SteadyNow()));
    absl::MutexLock lock(&shared_->mu);
    if (shared_->stopped) return;
  }
}

void CatalogWatcher::Wait(absl::Time due) {
  std::vector<pollfd> fds = {{.fd = shared_->wake.get(), .events = POLLIN, .revents = 0}};
  std::vector<size_t> roots;
  {
    absl::MutexLock lock(&shared_->mu);
    for (size_t i = 0; i < shared_->entries.size(); ++i) {
      const Entry& entry = shared_->entries[i];
      // What was told is taken by the look that follows.
      if (entry.looking || entry.hinted || entry.watch == nullptr) continue;
      fds.push_back({.fd = entry.watch->descriptor(), .events = POLLIN, .revents = 0});
      roots.push_back(i);
    }
  }
  const absl::Duration timeout =
      std::clamp(due - SteadyNow(), absl::ZeroDuration(), absl::Hours(1));
  // Rounded up: a wait of 0 ms would spin until the time has come.
  const int64_t timeout_ms = absl::ToInt64Milliseconds(absl::Ceil(timeout, absl::Milliseconds(1)));
  (void)::poll(fds.data(), fds.size(), static_cast<int>(timeout_ms));
  if (fds.front().revents != 0) {
    uint64_t count = 0;
    (void)!::read(shared_->wake.get(), &count, sizeof(count));
  }
  absl::MutexLock lock(&shared_->mu);
  for (size_t i = 0; i < roots.size(); ++i) {
    if (fds[i + 1].revents != 0) shared_->entries[roots[i]].hinted = true;
  }
}

}  // namespace weightd
