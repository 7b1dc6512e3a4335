#include "backends.h"

namespace ggufactory {

#if defined(__x86_64__)
extern const Backend backend_x86_64, backend_x86_64_v3, backend_x86_64_v4;
#elif defined(__aarch64__)
extern const Backend backend_aarch64;
#endif
extern const Backend backend_scalar;

const std::vector<AvailableBackend>& all_backends() {
    static const std::vector<AvailableBackend> backends = {
#if defined(__x86_64__)
        {&backend_x86_64_v4, __builtin_cpu_supports("x86-64-v4") != 0},
        {&backend_x86_64_v3, __builtin_cpu_supports("x86-64-v3") != 0},
        {&backend_x86_64, true},
#elif defined(__aarch64__)
        {&backend_aarch64, true},
#endif
        {&backend_scalar, true},
    };
    return backends;
}

}  // namespace ggufactory
