// The types that store plain numbers: F32, F16 and BF16, rounded as ggml_quantize_chunk does.
#pragma once

#include "blocks.h"
#include "half.h"

namespace ggufactory {
namespace {

// `limit()`: the least magnitude that does not fit. `bits()`: how a number that does is stored.
struct ToF32 : F32Layout {
    static GK_LANE float limit() { return infinity(); }
    template <class L>
    static GK_LANE typename L::I bits(typename L::F f) {
        return L::bits(f);
    }
};

struct ToF16 : F16Layout {
    static GK_LANE float limit() { return 65520.f; }  // rounds up to infinity
    template <class L>
    static GK_LANE typename L::I bits(typename L::F f) {
        return float_to_half<L>(f);
    }
};

struct ToBF16 : BF16Layout {
    static GK_LANE float limit() { return 0x1.ffp127f; }  // rounds up to infinity
    template <class L>
    static GK_LANE typename L::I bits(typename L::F f) {
        return float_to_bfloat16<L>(f);
    }
};

}  // namespace
}  // namespace ggufactory
