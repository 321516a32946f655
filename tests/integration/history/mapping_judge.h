#ifndef WEIGHTD_TESTS_INTEGRATION_HISTORY_MAPPING_JUDGE_H_
#define WEIGHTD_TESTS_INTEGRATION_HISTORY_MAPPING_JUDGE_H_

#include <weightd/client.h>

#include <cstdint>
#include <optional>
#include <string>

#include "tests/integration/history/history_model.h"

namespace weightd::testing {

// The version that a mapping says it is; none where it says no version, or is of another model.
std::optional<uint64_t> VersionOf(const client::Mapping& mapping, const HistoryModel& model);

// Reads every byte of every tensor. None when all are those of that version of the model; else the
// first difference, and whose bytes those are where that is known.
std::optional<std::string> FindDifference(const client::Mapping& mapping, const HistoryModel& model,
                                          uint64_t version);

}  // namespace weightd::testing

#endif  // WEIGHTD_TESTS_INTEGRATION_HISTORY_MAPPING_JUDGE_H_
