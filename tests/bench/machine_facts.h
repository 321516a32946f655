#ifndef WEIGHTD_TESTS_BENCH_MACHINE_FACTS_H_
#define WEIGHTD_TESTS_BENCH_MACHINE_FACTS_H_

#include <nlohmann/json.hpp>
#include <string>

// On what a benchmark ran: what a figure is worth nothing without. Thread-safe.

namespace weightd::bench {

// Of the kernel, fio (empty without it), weightd, its compiler and its build type.
nlohmann::ordered_json VersionFacts();

// Cores, memory, load, settings of huge pages, and the file system that holds `folder`.
nlohmann::ordered_json MachineFacts(const std::string& folder);

}  // namespace weightd::bench

#endif  // WEIGHTD_TESTS_BENCH_MACHINE_FACTS_H_
