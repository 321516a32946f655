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

  std::vector<Doomed> Publish(GenerationId id, const std::string& model, const std::string& device,
                              std::vector<FileIdentity> identities = {}, bool pin = false) {
    auto content = std::make_shared<GenerationContent>();
    content->id = id;
    content->model = model;
    content->device.id = device;
    content->identities = std::move(identities);
    return table_.Publish(id, std::move(content), std::make_shared<EmptyAllocation>(), pin, now());
  }
  // Admit, which must need no victims, Publish, and free what that superseded.
  GenerationId Stage(const std::string& model, const std::string& device, uint64_t bytes,
                     std::vector<FileIdentity> identities = {}) {
    const auto admission = table_.Admit(model, device, bytes);
    WEIGHTD_CHECK(admission.ok() && admission->id.valid());
    Free(Publish(admission->id, model, device, std::move(identities)));
    return admission->id;
  }
  // Frees, and says whose memory it was.
  std::vector<std::string> Free(std::vector<Doomed> doomed) {
    std::vector<std::string> models;
    for (Doomed& one : doomed) {
      models.push_back(one.info.model);
      one.allocation.reset();
      table_.Freed(one.info.id);
    }
    return models;
  }
  void Lease(const std::string& model, const std::string& device = "") {
    const auto held = table_.Acquire(model, device, "", now());
    WEIGHTD_CHECK(held.ok());
    leases_[{model, device}].push_back(held->content->id);
  }
  void EndLease(const std::string& model, const std::string& device = "") {
    auto& held = leases_[{model, device}];
    WEIGHTD_CHECK(!held.empty());
    Free(table_.Release(held.back(), now()));
    held.pop_back();
  }
  std::vector<std::string> Resident() const {
    std::vector<std::string> models;
    for (const GenerationInfo& info : table_.List()) {
      if (info.state == ResidencyState::kResident && !info.superseded) models.push_back(info.model);
    }
    return models;
  }

 private:
  ResidencyTable& table_;
  absl::Time now_ = absl::FromUnixSeconds(1'700'000'000);
  std::map<std::pair<std::string, std::string>, std::vector<GenerationId>> leases_;
};

}  // namespace weightd::testing

#endif  // WEIGHTD_TESTS_UNIT_RESIDENCY_TABLE_BOOKS_H_
