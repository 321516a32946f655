#ifndef WEIGHTD_TESTS_UNIT_RESIDENCY_TABLE_BOOKS_H_
#define WEIGHTD_TESTS_UNIT_RESIDENCY_TABLE_BOOKS_H_

#include <map>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "common/check.h"
#include "daemon/residency/residency_table.h"

namespace weightd::testing {

// An allocation of nothing.
class EmptyAllocation final : public Allocation {
 public:
  uint64_t bytes() const override { return 0; }
  absl::Span<std::byte> host_memory() override { return {}; }
  absl::Status Seal() override { return absl::OkStatus(); }
  absl::StatusOr<Export> CreateExport() const override { return Export{}; }
  absl::Status CopyOut(uint64_t, absl::Span<std::byte>) const override { return absl::OkStatus(); }
};

// Drives a ResidencyTable as Residency does, on a time that moves by a second per call.
// Thread-compatible.
class TableBooks {
 public:
  explicit TableBooks(ResidencyTable& table) : table_(table) {}

  absl::Time now() { return now_ += absl::Seconds(1); }

  static StageClaim Claim(const std::string& model, const std::string& device, uint64_t bytes) {
    StageClaim claim;
    claim.model = model;
    claim.places = {{.device = device, .bytes = bytes}};
    return claim;
  }
  absl::StatusOr<Admission> Admit(const std::string& model, const std::string& device,
                                  uint64_t bytes) {
    return table_.Admit(Claim(model, device, bytes));
  }
  static std::shared_ptr<CopyContent> Content(const Admission& admission, size_t index,
                                              const std::string& model, const std::string& device,
                                              std::vector<FileIdentity> identities = {}) {
    auto content = std::make_shared<CopyContent>();
    content->id = admission.generation;
    content->copy = admission.copies[index];
    content->model = model;
    content->device.id = device;
    content->identities = std::move(identities);
    return content;
  }
  // Publishes the admission's only copy and gives its hold back.
  std::vector<Doomed> Publish(const Admission& admission, const std::string& model,
                              const std::string& device, std::vector<FileIdentity> identities = {},
                              bool pin = false) {
    const CopyId id = admission.copies.front();
    PublishResult result =
        table_.Publish({{.id = id,
                         .content = Content(admission, 0, model, device, std::move(identities)),
                         .allocation = std::make_shared<EmptyAllocation>()}},
                       pin, now());
    for (Doomed& one : table_.Unhold(id)) result.doomed.push_back(std::move(one));
    return std::move(result.doomed);
  }
  // Admits, which must need no victims, publishes, and frees what that superseded.
  Admission Stage(const StageClaim& claim, std::vector<FileIdentity> identities = {}) {
    auto admission = table_.Admit(claim);
    WEIGHTD_CHECK(admission.ok() && admission->admitted);
    Free(Publish(*admission, claim.model, claim.places.front().device, std::move(identities)));
    return *std::move(admission);
  }
  CopyId Stage(const std::string& model, const std::string& device, uint64_t bytes,
               std::vector<FileIdentity> identities = {}) {
    return Stage(Claim(model, device, bytes), std::move(identities)).copies.front();
  }
  // Frees, and says whose memory it was.
  std::vector<std::string> Free(std::vector<Doomed> doomed) {
    std::vector<std::string> models;
    for (Doomed& one : doomed) {
      models.push_back(one.info.model);
      one.allocation.reset();
      if (one.may_demote) table_.DemotionEnded(one.info.copy);
      table_.Freed(one.info.copy);
    }
    return models;
  }
  void Lease(const std::string& model, const std::string& device = "") {
    const auto held = table_.Acquire({.model = model}, device, now());
    WEIGHTD_CHECK(held.ok());
    leases_[{model, device}].push_back(held->content->copy);
  }
  void EndLease(const std::string& model, const std::string& device = "") {
    auto& held = leases_[{model, device}];
    WEIGHTD_CHECK(!held.empty());
    Free(table_.Release(held.back(), now()));
    held.pop_back();
  }
  std::vector<std::string> Resident() const {
    std::vector<std::string> models;
    for (const CopyInfo& info : table_.List()) {
      if (info.state == ResidencyState::kResident && !info.superseded) models.push_back(info.model);
    }
    return models;
  }

 private:
  ResidencyTable& table_;
  absl::Time now_ = absl::FromUnixSeconds(1'700'000'000);
  std::map<std::pair<std::string, std::string>, std::vector<CopyId>> leases_;
};

}  // namespace weightd::testing

#endif  // WEIGHTD_TESTS_UNIT_RESIDENCY_TABLE_BOOKS_H_
