// Two of the same lanes side by side, for two sub-blocks at a time.
//
// A sum in the reference's order is one long chain of additions; a second, independent chain fills the
// cycles in which the first one waits.
#pragma once

#include "lanes.h"

namespace ggufactory {
namespace {

template <class L>
struct PairLanes {
    static constexpr int kWidth = 2 * L::kWidth;

    struct M {
        using Half = typename L::M;
        Half a, b;
        friend GK_LANE M operator&(M p, M q) { return {Half(p.a & q.a), Half(p.b & q.b)}; }
        friend GK_LANE M operator|(M p, M q) { return {Half(p.a | q.a), Half(p.b | q.b)}; }
    };
    struct I {
        typename L::I a, b;
        friend GK_LANE I operator+(I p, I q) { return {p.a + q.a, p.b + q.b}; }
        friend GK_LANE I operator-(I p, I q) { return {p.a - q.a, p.b - q.b}; }
    };
    struct F {
        typename L::F a, b;
        friend GK_LANE F operator+(F p, F q) { return {p.a + q.a, p.b + q.b}; }
        friend GK_LANE F operator-(F p, F q) { return {p.a - q.a, p.b - q.b}; }
        friend GK_LANE F operator*(F p, F q) { return {p.a * q.a, p.b * q.b}; }
        friend GK_LANE F operator/(F p, F q) { return {p.a / q.a, p.b / q.b}; }
        friend GK_LANE M operator<(F p, F q) { return {p.a < q.a, p.b < q.b}; }
        friend GK_LANE M operator>(F p, F q) { return {p.a > q.a, p.b > q.b}; }
        friend GK_LANE M operator==(F p, F q) { return {p.a == q.a, p.b == q.b}; }
    };

    static GK_LANE F floats(float value) { return {L::floats(value), L::floats(value)}; }
    static GK_LANE F load_floats(const float* from) {
        return {L::load_floats(from), L::load_floats(from + L::kWidth)};
    }
    static GK_LANE F select(M m, F p, F q) { return {L::select(m.a, p.a, q.a), L::select(m.b, p.b, q.b)}; }
    static GK_LANE M negate(M m) { return {L::negate(m.a), L::negate(m.b)}; }
    static GK_LANE bool any(M m) { return L::any(m.a | m.b); }
    static GK_LANE F to_float(I i) { return {L::to_float(i.a), L::to_float(i.b)}; }
    static GK_LANE I nearest_int(F f) { return {L::nearest_int(f.a), L::nearest_int(f.b)}; }
    static GK_LANE I clamp(I i, int32_t lo, int32_t hi) { return {L::clamp(i.a, lo, hi), L::clamp(i.b, lo, hi)}; }
    static GK_LANE F sqrt(F f) { return {L::sqrt(f.a), L::sqrt(f.b)}; }
    static GK_LANE F abs(F f) { return {L::abs(f.a), L::abs(f.b)}; }
    static GK_LANE F round_at_least(F f, int32_t lo) {
        return {L::round_at_least(f.a, lo), L::round_at_least(f.b, lo)};
    }
    static GK_LANE F round_at_most(F f, int32_t hi) {
        return {L::round_at_most(f.a, hi), L::round_at_most(f.b, hi)};
    }
    static GK_LANE F round_near(F f) { return {L::round_near(f.a), L::round_near(f.b)}; }
    static GK_LANE F kept(F f) { return {L::kept(f.a), L::kept(f.b)}; }
    static GK_LANE F round_clamped(F f, int32_t lo, int32_t hi) {
        return {L::round_clamped(f.a, lo, hi), L::round_clamped(f.b, lo, hi)};
    }
};

}  // namespace
}  // namespace ggufactory
