#include "tests/support/fake_cuda/faults.h"

#include <utility>

#include "tests/support/fake_cuda/errors.h"
#include "tests/support/fake_cuda/report.h"
#include "tests/support/fake_cuda/text.h"

namespace fake_cuda {

std::optional<Faults::Rule> Faults::Parse(std::string_view text) {
  const std::vector<std::string_view> parts = Split(text, ':');
  if (parts.size() < 3 || parts.size() > 4) return std::nullopt;
  Rule rule;
  rule.function = parts[0];
  std::string_view number = parts[1];
  if (!number.empty() && number.back() == '+') {
    rule.and_later_calls = true;
    number.remove_suffix(1);
  }
  const std::optional<uint64_t> nth = ParseNumber(number);
  const std::optional<CUresult> result = ErrorFromName(parts[2]);
  if (!nth.has_value() || *nth == 0 || !result.has_value()) return std::nullopt;
  rule.nth = *nth;
  rule.failure.result = *result;
  if (parts.size() == 4 && parts[3] != "later") return std::nullopt;
  rule.failure.later = parts.size() == 4;
  return rule;
}

void Faults::Set(std::string_view plan) {
  const std::lock_guard lock(mu_);
  rules_.clear();
  calls_.clear();
  for (const std::string_view text : Split(plan, ',')) {
    if (std::optional<Rule> rule = Parse(text); rule.has_value()) {
      rules_.push_back(*std::move(rule));
    } else {
      Report("WEIGHTD_FAKE_CUDA_FAIL: cannot read \"" + std::string(text) + "\"");
    }
  }
}

std::optional<Faults::Failure> Faults::Count(const std::string& function) {
  const std::lock_guard lock(mu_);
  if (rules_.empty()) return std::nullopt;
  const uint64_t call = ++calls_[function];
  for (const Rule& rule : rules_) {
    if (rule.function != function) continue;
    if (call == rule.nth || (rule.and_later_calls && call > rule.nth)) return rule.failure;
  }
  return std::nullopt;
}

}  // namespace fake_cuda
