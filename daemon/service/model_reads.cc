#include "daemon/service/model_reads.h"

#include <algorithm>
#include <list>
#include <map>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/strings/str_cat.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/clock.h"
#include "common/errors.h"
#include "common/status_macros.h"
#include "common/thread.h"
#include "daemon/service/fair_queue.h"
#include "daemon/service/manifest_cache.h"
#include "daemon/service/model_listing.h"
#include "daemon/service/pages.h"

namespace weightd {
namespace {

absl::Status DrainingError() {
  return ErrorWithReason(absl::StatusCode::kUnavailable, Reason::kDraining,
                         "the daemon is shutting down");
}

// One call on its way.
struct Call {
  ModelReads::Caller caller;
};
using CallPtr = std::shared_ptr<Call>;

// What a step of a call gives: how it ends, or nothing where it goes on elsewhere.
using Step = std::function<std::optional<absl::Status>()>;

struct Job {
  CallPtr call;
  Step step;
};

using SortedPtr = std::shared_ptr<const SortedManifest>;

// A model that is not resident, and whose headers are being read for a user.
struct Opening {
  uint64_t id = 0;
  uint32_t uid = 0;
  Checkpoint checkpoint;
  std::string root;
  absl::Time deadline;
  std::vector<std::pair<CallPtr, std::function<std::optional<absl::Status>(SortedPtr)>>> waiting;
};

}  // namespace

// Outlives ModelReads while a volume hangs.
struct ModelReads::Shared : std::enable_shared_from_this<ModelReads::Shared> {
  Shared(const ModelReadsOptions& reads_options, const Catalog& the_catalog,
         CatalogWatcher& the_watcher, const Residency& the_residency)
      : options(reads_options),
        catalog(the_catalog),
        watcher(the_watcher),
        residency(the_residency) {}

  // Counts the call; null, and it was answered, when there are too many.
  CallPtr Admit(Caller caller) ABSL_LOCKS_EXCLUDED(mu);
  void Finish(const CallPtr& call, const absl::Status& status) ABSL_LOCKS_EXCLUDED(mu);
  // Runs `step` on the worker when it is the user's turn.
  void Enqueue(const CallPtr& call, Step step) ABSL_LOCKS_EXCLUDED(mu);
  void EnqueueAfterLook(const CallPtr& call, Step step);
  void Work() ABSL_LOCKS_EXCLUDED(mu);
  void Expire(absl::Time now) ABSL_LOCKS_EXCLUDED(mu);
  absl::Time NextExpiry() const ABSL_SHARED_LOCKS_REQUIRED(mu);

  // The worker's.
  std::shared_ptr<const CatalogRows> Rows();
  SortedPtr SortedOf(const CopyContent& content) ABSL_LOCKS_EXCLUDED(mu);
  std::optional<absl::Status> Describe(const CallPtr& call, const ModelRef& ref,
                                       const v1::GetModelRequest* request,
                                       v1::GetModelResponse* response, size_t begin, bool looked);
  std::optional<absl::Status> DescribeFiles(
      const CallPtr& call, const CatalogRows::Row& row,
      std::function<std::optional<absl::Status>(SortedPtr)> describe) ABSL_LOCKS_EXCLUDED(mu);
  // On any thread.
  void Opened(uint64_t id, absl::StatusOr<OpenedCheckpoint> opened) ABSL_LOCKS_EXCLUDED(mu);

  const ModelReadsOptions options;
  const Catalog& catalog;
  CatalogWatcher& watcher;
  const Residency& residency;

  std::shared_ptr<const CatalogRows> rows;  // the worker's
  Thread worker;

  absl::Mutex mu;
  bool stopped ABSL_GUARDED_BY(mu) = false;
  FairQueue<Job> queue ABSL_GUARDED_BY(mu);
  std::map<uint32_t, uint32_t> calls_of ABSL_GUARDED_BY(mu);  // by uid
  std::list<Opening> openings ABSL_GUARDED_BY(mu);
  uint64_t next_opening ABSL_GUARDED_BY(mu) = 0;
  ManifestCache kept ABSL_GUARDED_BY(mu);
};

CallPtr ModelReads::Shared::Admit(Caller caller) {
  absl::Status refusal;
  {
    absl::MutexLock lock(&mu);
    if (stopped) {
      refusal = DrainingError();
    } else if (uint32_t& count = calls_of[caller.uid]; count >= options.per_uid_max) {
      refusal = ErrorWithReason(absl::StatusCode::kResourceExhausted, Reason::kLimitExceeded,
                                absl::StrCat("uid ", caller.uid, " waits for ", count,
                                             " lists and descriptions of models already, at most "
                                             "limits.requests_waiting_per_uid_max may"));
    } else {
      ++count;
    }
  }
  if (refusal.ok()) return std::make_shared<Call>(Call{.caller = std::move(caller)});
  caller.done(refusal);
  return nullptr;
}

void ModelReads::Shared::Finish(const CallPtr& call, const absl::Status& status) {
  {
    absl::MutexLock lock(&mu);
    const auto found = calls_of.find(call->caller.uid);
    if (--found->second == 0) calls_of.erase(found);
  }
  call->caller.done(status);
}

void ModelReads::Shared::Enqueue(const CallPtr& call, Step step) {
  {
    absl::MutexLock lock(&mu);
    if (!stopped) return queue.Push(call->caller.uid, {.call = call, .step = std::move(step)});
  }
  Finish(call, DrainingError());
}

void ModelReads::Shared::EnqueueAfterLook(const CallPtr& call, Step step) {
  watcher.Refresh(options.refresh_wait, [shared = shared_from_this(), call,
                                         step = std::move(step)] { shared->Enqueue(call, step); });
}

absl::Time ModelReads::Shared::NextExpiry() const {
  absl::Time next = kept.next_old();
  for (const Opening& opening : openings) next = std::min(next, opening.deadline);
  return next;
}

void ModelReads::Shared::Work() {
  while (true) {
    std::optional<Job> job;
    {
      absl::MutexLock lock(&mu);
      const auto has_work = [this]() ABSL_SHARED_LOCKS_REQUIRED(mu) {
        return stopped || !queue.empty();
      };
      mu.AwaitWithTimeout(absl::Condition(&has_work), NextExpiry() - absl::Now());
      if (stopped) return;
      job = queue.Pop();
    }
    Expire(absl::Now());
    if (!job.has_value()) continue;
    if (job->call->caller.cancelled()) {
      Finish(job->call, ErrorWithReason(absl::StatusCode::kCancelled, Reason::kCancelled,
                                        "the caller has left"));
      continue;
    }
    const std::optional<absl::Status> ended = job->step();
    if (ended.has_value()) Finish(job->call, *ended);
  }
}

void ModelReads::Shared::Expire(absl::Time now) {
  std::list<Opening> late;
  std::vector<SortedPtr> forgotten;  // after the lock
  {
    absl::MutexLock lock(&mu);
    for (auto at = openings.begin(); at != openings.end();) {
      const auto next = std::next(at);
      if (at->deadline <= now) late.splice(late.end(), openings, at);
      at = next;
    }
    forgotten = kept.TakeOld(now);
  }
  for (const Opening& opening : late) {
    const absl::Status status = ErrorWithReason(
        absl::StatusCode::kDeadlineExceeded, Reason::kVolumeStuck,
        absl::StrCat("root ", opening.root, ": the headers of ", opening.checkpoint.model,
                     " did not come within storage.stall_timeout_ms; the volume hangs"));
    for (const auto& waiting : opening.waiting) Finish(waiting.first, status);
  }
}

std::shared_ptr<const CatalogRows> ModelReads::Shared::Rows() {
  std::vector<RootLook> looks = watcher.looks();
  const auto same = [](const RootLook& a, const RootLook& b) {
    return a.scan == b.scan && a.problem == b.problem;
  };
  if (rows == nullptr ||
      !std::equal(looks.begin(), looks.end(), rows->looks.begin(), rows->looks.end(), same)) {
    rows = MakeCatalogRows(std::move(looks));
  }
  return rows;
}

SortedPtr ModelReads::Shared::SortedOf(const CopyContent& content) {
  {
    absl::MutexLock lock(&mu);
    if (SortedPtr known = kept.Find(content.manifest, absl::Now())) return known;
  }
  SortedPtr sorted = SortByName(content.manifest);
  absl::MutexLock lock(&mu);
  kept.Keep(sorted, std::nullopt, absl::Now());
  return sorted;
}

std::optional<absl::Status> ModelReads::Shared::Describe(const CallPtr& call, const ModelRef& ref,
                                                         const v1::GetModelRequest* request,
                                                         v1::GetModelResponse* response,
                                                         size_t begin, bool looked) {
  const std::shared_ptr<const CatalogRows> now = Rows();
  const auto content = ContentToTell(residency, ref);
  if (content != nullptr) {
    DescribeModel(*now, residency, ref, content, *SortedOf(*content), begin, *request, *response);
    return absl::OkStatus();
  }
  // The first page is of what is there now; the others are of what the first one was of.
  if (!looked && begin == 0) {
    EnqueueAfterLook(call, [this, call, ref, request, response, begin] {
      return Describe(call, ref, request, response, begin, /*looked=*/true);
    });
    return std::nullopt;
  }
  const CatalogRows::Row* row = now->Find(ref.model);
  if (row == nullptr) return UnknownModel(*now, ref.model);
  if (absl::Status elsewhere = CheckOfVolume(*row, ref); !elsewhere.ok()) return elsewhere;
  return DescribeFiles(
      call, *row, [this, now, ref, request, response, begin](const SortedPtr& tensors) {
        DescribeModel(*now, residency, ref, nullptr, *tensors, begin, *request, *response);
        return std::optional<absl::Status>(absl::OkStatus());
      });
}

std::optional<absl::Status> ModelReads::Shared::DescribeFiles(
    const CallPtr& call, const CatalogRows::Row& row,
    std::function<std::optional<absl::Status>(SortedPtr)> describe) {
  const Checkpoint& checkpoint = *row.checkpoint;
  const uint32_t uid = call->caller.uid;
  SortedPtr known;
  uint64_t id = 0;
  const std::shared_ptr<Root>& root = catalog.roots()[row.root];
  {
    absl::MutexLock lock(&mu);
    known = kept.Find(checkpoint, absl::Now());
    if (known == nullptr) {
      for (Opening& opening : openings) {
        // Another user's may have its turn long after ours.
        if (opening.uid != uid || !IsSameCheckpoint(opening.checkpoint, checkpoint)) continue;
        opening.waiting.emplace_back(call, std::move(describe));
        return std::nullopt;
      }
      id = next_opening++;
      Opening& opening = openings.emplace_back();
      opening.id = id;
      opening.uid = uid;
      opening.checkpoint = checkpoint;
      opening.root = root->path();
      opening.deadline = root->threads() != nullptr ? absl::Now() + root->threads()->stall_timeout()
                                                    : absl::InfiniteFuture();
      opening.waiting.emplace_back(call, describe);
    }
  }
  if (known != nullptr) return describe(known);
  const auto open = [shared = shared_from_this(), id, checkpoint, limits = catalog.options()] {
    shared->Opened(id, OpenCheckpoint(checkpoint, limits));
  };
  absl::Status submitted;
  if (root->threads() == nullptr) {
    open();
  } else {
    submitted = root->threads()->Submit(OpenWork(checkpoint, uid), open);
  }
  if (!submitted.ok()) Opened(id, submitted);
  return std::nullopt;
}

void ModelReads::Shared::Opened(uint64_t id, absl::StatusOr<OpenedCheckpoint> opened) {
  SortedPtr sorted;
  if (opened.ok()) {
    sorted = SortByName(std::make_shared<const Manifest>(std::move(opened->manifest)));
  }
  Opening taken;
  {
    absl::MutexLock lock(&mu);
    const auto found = std::find_if(openings.begin(), openings.end(),
                                    [&](const Opening& opening) { return opening.id == id; });
    if (found == openings.end()) return;  // too late: all were told
    taken = std::move(*found);
    openings.erase(found);
    if (sorted != nullptr && !taken.checkpoint.identities.empty()) {
      kept.Keep(sorted, taken.checkpoint, absl::Now());
    }
  }
  // On the worker: a thread of a volume answers nobody.
  for (auto& [call, describe] : taken.waiting) {
    if (opened.ok()) {
      Enqueue(call, [describe = std::move(describe), sorted] { return describe(sorted); });
    } else {
      Enqueue(call, [status = opened.status()] { return status; });
    }
  }
}

ModelReads::ModelReads(std::shared_ptr<Shared> shared) : shared_(std::move(shared)) {}

absl::StatusOr<std::unique_ptr<ModelReads>> ModelReads::Create(const ModelReadsOptions& options,
                                                               const Catalog& catalog,
                                                               CatalogWatcher& watcher,
                                                               const Residency& residency) {
  const auto shared = std::make_shared<Shared>(options, catalog, watcher, residency);
  ASSIGN_OR_RETURN(shared->worker, Thread::Start("models", [raw = shared.get()] { raw->Work(); }));
  return std::unique_ptr<ModelReads>(new ModelReads(shared));
}

ModelReads::~ModelReads() { Stop(); }

void ModelReads::Stop() {
  std::vector<CallPtr> calls;
  {
    absl::MutexLock lock(&shared_->mu);
    shared_->stopped = true;
    while (std::optional<Job> job = shared_->queue.Pop()) calls.push_back(job->call);
    for (const Opening& opening : shared_->openings) {
      for (const auto& waiting : opening.waiting) calls.push_back(waiting.first);
    }
    shared_->openings.clear();
  }
  for (const CallPtr& call : calls) shared_->Finish(call, DrainingError());
  shared_->worker.Join();
}

void ModelReads::ListModels(Caller caller, const v1::ListModelsRequest* request,
                            v1::ListModelsResponse* response) {
  const CallPtr call = shared_->Admit(std::move(caller));
  if (call == nullptr) return;
  Shared* const shared = shared_.get();
  if (request->resident_only()) {
    shared->Enqueue(call, [shared, request, response] {
      ListResident(shared->residency, "", *response->mutable_models());
      return CutPage(*request, *response);
    });
    return;
  }
  const Step list = [shared, request, response] {
    weightd::ListModels(*shared->Rows(), shared->residency, *response);
    return CutPage(*request, *response);
  };
  // The first page is of what is there now; a look for each of many would take as long as they are.
  if (!request->page_token().empty()) return shared->Enqueue(call, list);
  shared->EnqueueAfterLook(call, list);
}

void ModelReads::GetModel(Caller caller, const v1::GetModelRequest* request,
                          v1::GetModelResponse* response) {
  const absl::StatusOr<ModelRef> ref = ParseModelRef(request->model());
  absl::Status valid = ref.status();
  const absl::StatusOr<size_t> begin = ParsePageToken(request->page_token());
  valid.Update(begin.status());
  if (!valid.ok()) return caller.done(valid);
  const CallPtr call = shared_->Admit(std::move(caller));
  if (call == nullptr) return;
  Shared* const shared = shared_.get();
  shared->Enqueue(call, [shared, call, ref = *ref, request, response, from = *begin] {
    return shared->Describe(call, ref, request, response, from, /*looked=*/false);
  });
}

}  // namespace weightd
