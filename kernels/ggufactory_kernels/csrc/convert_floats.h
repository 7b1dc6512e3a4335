// Plain numbers from plain numbers, on the CPU.
#pragma once

#include "plain_numbers.h"
#include "quantize_blocks.h"

namespace ggufactory {
namespace {

template <class L, class To>
GK_LANE void store_numbers(typename L::F a, typename L::F b, uint8_t* to) {
    if constexpr (To::kBytes == 4) {
        L::store_ints(to, To::template bits<L>(a));
        L::store_ints(to + L::kWidth * To::kBytes, To::template bits<L>(b));
    } else {
        L::store_halves(to, To::template bits<L>(a), To::template bits<L>(b));
    }
}

// 2 * kWidth * kSteps numbers. True when all are finite and fit.
template <class L, class To, SourceFormat kFormat, int kSteps>
GK_LANE bool convert_steps(const uint8_t* from, uint8_t* to) {
    constexpr int kWidth = L::kWidth, kIn = kSourceBytes<kFormat>;
    const typename L::F limit = L::floats(To::limit());
    typename L::M fit = limit == limit;
    GK_UNROLL(4)
    for (int step = 0; step < kSteps; ++step, from += 2 * kWidth * kIn, to += 2 * kWidth * To::kBytes) {
        const typename L::F a = load_weights<L, kFormat>(from);
        const typename L::F b = load_weights<L, kFormat>(from + kWidth * kIn);
        fit = fit & (L::abs(a) < limit) & (L::abs(b) < limit);
        store_numbers<L, To>(a, b, to);
    }
    return !L::any(L::negate(fit));
}

// Which of `count` numbers from `first` on is the one that was reported.
template <class To, SourceFormat kFormat>
Fault find_misfit(const Rows& rows, int64_t first, int64_t count) {
    for (int64_t i = first; i < first + count; ++i) {
        const float f = load_weights<ScalarLanes, kFormat>(rows.source + i * kSourceBytes<kFormat>);
        if (ScalarLanes::abs(f) < To::limit()) continue;
        return {f - f == 0 ? FaultKind::kScaleOverflow : FaultKind::kNonFinite, i};
    }
    return {};
}

template <class L, class To, SourceFormat kFormat>
Fault convert_from(const Rows& rows, int64_t first, int64_t last) {
    constexpr int kSteps = 16, kIn = kSourceBytes<kFormat>, kOut = To::kBytes;
    constexpr int kAtOnce = 2 * L::kWidth * kSteps;
    for (int64_t i = first; i < last; i += kAtOnce) {
        const uint8_t* from = rows.source + i * kIn;
        uint8_t* to = rows.out + i * kOut;
        if (last - i >= kAtOnce) {
            if (!convert_steps<L, To, kFormat, kSteps>(from, to)) {
                return find_misfit<To, kFormat>(rows, i, kAtOnce);
            }
            continue;
        }
        const size_t count = static_cast<size_t>(last - i);
        uint8_t in[kAtOnce * kIn] = {}, out[kAtOnce * kOut];
        std::memcpy(in, from, count * kIn);
        if (!convert_steps<L, To, kFormat, kSteps>(in, out)) {
            return find_misfit<To, kFormat>(rows, i, last - i);
        }
        std::memcpy(to, out, count * kOut);
    }
    return {};
}

template <class L, class To>
Fault convert_floats(const Rows& rows, int64_t first, int64_t last) {
    switch (rows.format) {
        case SourceFormat::kF32: return convert_from<L, To, SourceFormat::kF32>(rows, first, last);
        case SourceFormat::kF16: return convert_from<L, To, SourceFormat::kF16>(rows, first, last);
        default: return convert_from<L, To, SourceFormat::kBF16>(rows, first, last);
    }
}

}  // namespace
}  // namespace ggufactory
