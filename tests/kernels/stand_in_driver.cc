// What driver.py asks of NVIDIA's libcuda, on a machine without a GPU: one context, modules that are looked at and not
// loaded, and launches that run the kernels' own source on the CPU (emulated_cuda.py). Calls are counted; each can be
// told to fail.
#include "cuda/launch.h"

#include <dlfcn.h>

#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <map>
#include <string>
#include <vector>

namespace {

enum Result { kSuccess = 0, kInvalidValue = 1, kInvalidContext = 201, kInvalidImage = 200, kNotFound = 500 };

constexpr uint16_t kCudaMachine = 190;
constexpr int kClockRate = 13;

struct Module {
    std::vector<char> image;
};
struct Function {
    void (*run)(const ggufactory::Launch*, int64_t, bool);
};
struct Launched {
    unsigned grid, block;
    void* stream;
};

std::map<std::string, int> calls, failures;
std::vector<Module*> modules;
Launched launched;
int version = 13000;
char the_context;
thread_local std::vector<void*> contexts;  // current ones of the thread, the last on top

// The call's own result where it shall fail, kSuccess where it goes on.
int called(const char* name) {
    ++calls[name];
    const auto found = failures.find(name);
    return found == failures.end() ? kSuccess : found->second;
}

uint64_t number(const char* image, size_t at, size_t size) {
    uint64_t found = 0;
    std::memcpy(&found, image + at, size);
    return found;
}

bool has(const std::vector<char>& image, const std::string& text) {
    return std::string(image.data(), image.size()).find(text) != std::string::npos;
}

}  // namespace

extern "C" {

// For the tests.

int stand_in_calls(const char* name) { return calls[name]; }
int stand_in_contexts() { return static_cast<int>(contexts.size()); }
unsigned stand_in_grid() { return launched.grid; }
unsigned stand_in_block() { return launched.block; }
void* stand_in_stream() { return launched.stream; }
size_t stand_in_launch_bytes() { return sizeof(ggufactory::Launch); }
void stand_in_version(int number) { version = number; }
// Of the module loaded last: the flags of its header, which name the architecture.
unsigned stand_in_flags() { return static_cast<unsigned>(number(modules.back()->image.data(), 48, 4)); }
void stand_in_fail(const char* name, int result) { failures[name] = result; }
void stand_in_recover() { failures.clear(); }

// As in cuda.h.

int cuInit(unsigned flags) { return flags ? kInvalidValue : called("cuInit"); }

int cuDriverGetVersion(int* found) {
    *found = version;
    return called("cuDriverGetVersion");
}

int cuDeviceGet(int* device, int ordinal) {
    *device = ordinal;
    return ordinal ? kInvalidValue : called("cuDeviceGet");
}

int cuDeviceGetAttribute(int* value, int attribute, int device) {
    *value = 1980000;
    return attribute != kClockRate || device ? kInvalidValue : called("cuDeviceGetAttribute");
}

int cuDevicePrimaryCtxRetain(void** context, int) {
    *context = &the_context;
    return called("cuDevicePrimaryCtxRetain");
}

int cuCtxPushCurrent_v2(void* context) {
    if (const int result = called("cuCtxPushCurrent")) return result;
    contexts.push_back(context);
    return kSuccess;
}

int cuCtxPopCurrent_v2(void** context) {
    if (contexts.empty()) return kInvalidContext;
    *context = contexts.back();
    contexts.pop_back();
    return called("cuCtxPopCurrent");
}

int cuModuleLoadData(Module** module, const char* image) {
    if (const int result = called("cuModuleLoadData")) return result;
    if (contexts.empty() || contexts.back() != &the_context) return kInvalidContext;
    if (std::memcmp(image, "\177ELF", 4) != 0 || number(image, 18, 2) != kCudaMachine) return kInvalidImage;
    // Nobody says how long it is: its table of sections ends it, or that of segments behind it.
    const size_t sections = number(image, 40, 8) + number(image, 58, 2) * number(image, 60, 2);
    const size_t segments = number(image, 32, 8) + number(image, 54, 2) * number(image, 56, 2);
    *module = new Module{{image, image + (sections > segments ? sections : segments)}};
    modules.push_back(*module);
    return kSuccess;
}

int cuModuleGetFunction(Function** function, Module* module, const char* name) {
    if (const int result = called("cuModuleGetFunction")) return result;
    if (!has(module->image, std::string(".text.") + name + '\0')) return kNotFound;
    static void* emulation = dlopen(std::getenv("EMULATED_CUDA_LIBRARY"), RTLD_NOW);
    *function = new Function{reinterpret_cast<decltype(Function::run)>(dlsym(emulation, name))};
    return kSuccess;
}

int cuLaunchKernel(Function* function, unsigned grid, unsigned grid_y, unsigned grid_z, unsigned block, unsigned block_y,
                   unsigned block_z, unsigned shared_bytes, void* stream, void** parameters, void** extra) {
    if (const int result = called("cuLaunchKernel")) return result;
    if (contexts.empty() || contexts.back() != &the_context) return kInvalidContext;
    if (grid_y != 1 || grid_z != 1 || block_y != 1 || block_z != 1 || shared_bytes || extra) return kInvalidValue;
    launched = {grid, block, stream};
    ggufactory::Launch launch;
    std::memcpy(&launch, parameters[0], sizeof launch);
    function->run(&launch, grid, false);
    return kSuccess;
}

int cuGetProcAddress_v2(const char* name, void** found, int, uint64_t, int* status) {
    static const std::map<std::string, void*> functions = {
        {"cuInit", reinterpret_cast<void*>(cuInit)},
        {"cuDriverGetVersion", reinterpret_cast<void*>(cuDriverGetVersion)},
        {"cuDeviceGet", reinterpret_cast<void*>(cuDeviceGet)},
        {"cuDeviceGetAttribute", reinterpret_cast<void*>(cuDeviceGetAttribute)},
        {"cuDevicePrimaryCtxRetain", reinterpret_cast<void*>(cuDevicePrimaryCtxRetain)},
        {"cuCtxPushCurrent", reinterpret_cast<void*>(cuCtxPushCurrent_v2)},
        {"cuCtxPopCurrent", reinterpret_cast<void*>(cuCtxPopCurrent_v2)},
        {"cuModuleLoadData", reinterpret_cast<void*>(cuModuleLoadData)},
        {"cuModuleGetFunction", reinterpret_cast<void*>(cuModuleGetFunction)},
        {"cuLaunchKernel", reinterpret_cast<void*>(cuLaunchKernel)},
    };
    const auto entry = functions.find(name);
    *found = entry == functions.end() ? nullptr : entry->second;
    if (status) *status = *found ? 0 : 1;
    return *found ? kSuccess : kNotFound;
}

// What is NVIDIA's own; NVRTC looks for it where it finds a driver, and goes on without.
int cuGetExportTable(const void** table, const void*) {
    *table = nullptr;
    return kNotFound;
}

int cuGetProcAddress(const char* name, void** found, int wanted, uint64_t flags) {
    return cuGetProcAddress_v2(name, found, wanted, flags, nullptr);
}

}  // extern "C"
