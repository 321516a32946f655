#ifndef WEIGHTD_DAEMON_RESIDENCY_NODE_FEATURES_H_
#define WEIGHTD_DAEMON_RESIDENCY_NODE_FEATURES_H_

#include <string>
#include <vector>

#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "daemon/residency/generation.h"

// Which models are resident, for schedulers: a feature file of Kubernetes' Node Feature Discovery,
// whose lines become labels of the node
// (https://kubernetes-sigs.github.io/node-feature-discovery/stable/usage/customization-guide.html,
// "Local feature source"). Pure functions.

namespace weightd {

// Below NFD's own namespace, which it lets anybody use without being told.
inline constexpr absl::string_view kNodeFeaturePrefix = "weightd.feature.node.kubernetes.io/";
// A node with more labels is a burden for the cluster; of more models those used last are told.
inline constexpr size_t kNodeFeaturesMax = 100;

// The name part of a label: at most 63 of [A-Za-z0-9._-], first and last a letter or a digit. `/`
// becomes `--`, as in a hub cache's directory names. A name that is too long, or has other
// characters, loses them and gets 8 hexadecimal digits of its XXH3-64, so that two models have two
// labels.
std::string NodeFeatureName(absl::string_view model);

// How long NFD believes the file: the daemon renews it well before, and what a killed one left
// ends.
inline constexpr absl::Duration kNodeFeaturesValid = absl::Minutes(5);

// `# +expiry-time=`, which NFD reads, kNodeFeaturesValid after `now`; then a line
// `<prefix><name>=device` or `=host` for each model that an attach finds resident: on a GPU, or in
// host memory only. Sorted, so that nothing changed looks like it.
std::string FormatNodeFeatures(const std::vector<CopyInfo>& copies, absl::Time now);

}  // namespace weightd

#endif  // WEIGHTD_DAEMON_RESIDENCY_NODE_FEATURES_H_
