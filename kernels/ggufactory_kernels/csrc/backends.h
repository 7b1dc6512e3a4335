// The instruction sets of this build, best first, and which of them the machine has.
#pragma once

#include <vector>

#include "backend.h"

namespace ggufactory {

struct AvailableBackend {
    const Backend* backend;
    bool supported;  // by this machine and its operating system
};

const std::vector<AvailableBackend>& all_backends();

}  // namespace ggufactory
