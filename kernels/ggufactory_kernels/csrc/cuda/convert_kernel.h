// Plain numbers from plain numbers.
#pragma once

#include "cuda/source_numbers.h"
#include "plain_numbers.h"

namespace ggufactory {
namespace {

constexpr int kNumbersOfThread = 16;

// A block of threads converts kThreads * kNumbersOfThread numbers of one row, or those that are left of it; where all
// rows are aligned a thread takes four side by side at a time, else one.
template <class To>
struct ConvertKernel {
    struct Shared {};

    static GK_LANE void run(const Launch& launch, const ThreadBlock& block, Shared&) {
        with_format(static_cast<SourceFormat>(launch.format), [&](auto known) {
            using Format = decltype(known);
            constexpr int kGroup = 4;
            // Groups of what is written begin wherever those of what is read do.
            const bool grouped = are_aligned<kGroup * Format::kBytes>(launch.source, launch.row_stride) &&
                                 launch.blocks_per_row % kGroup == 0;
            block.phase([&](int thread) {
                if (grouped) {
                    convert_groups<Format, kGroup>(launch, block, thread);
                } else {
                    convert_groups<Format, 1>(launch, block, thread);
                }
            });
        });
    }

private:
    // `kGroup` divides the columns.
    template <class Format, int kGroup>
    static GK_LANE void convert_groups(const Launch& launch, const ThreadBlock& block, int thread) {
        constexpr int64_t kAtOnce = kThreads * kNumbersOfThread;
        const int64_t columns = launch.blocks_per_row, pieces = (columns + kAtOnce - 1) / kAtOnce;
        const int64_t row = block.number / pieces, first = block.number % pieces * kAtOnce + thread * kGroup;
        const uint8_t* const from = launch.source + row * launch.row_stride;
        GK_UNROLL(16)
        for (int i = 0; i < kNumbersOfThread; i += kGroup) {
            const int64_t column = first + i * kThreads;
            if (column >= columns) return;
            float numbers[kGroup];
            load<Format, kGroup>(from + column * Format::kBytes, numbers);
            store<kGroup>(launch, row * columns + column, numbers);
        }
    }

    template <class Format, int kGroup>
    static GK_LANE void load(const uint8_t* from, float (&numbers)[kGroup]) {
        if constexpr (kGroup == 1) {
            numbers[0] = number_at<Format>(from, 0);
        } else {
            const auto chunk = *reinterpret_cast<const Chunk<kGroup * Format::kBytes>*>(from);
            for (int i = 0; i < kGroup; ++i) numbers[i] = number_in<Format>(chunk.words, i);
        }
    }

    template <int kGroup>
    static GK_LANE void store(const Launch& launch, int64_t place, const float (&numbers)[kGroup]) {
        bool fit = true;
        for (float f : numbers) fit &= magnitude_of(f) < To::limit();
        if (!fit && launch.fault) report_misfits(launch, place, numbers);
        uint8_t* const to = launch.out + place * To::kBytes;
        uint32_t bits[kGroup];
        for (int i = 0; i < kGroup; ++i) bits[i] = static_cast<uint32_t>(To::template bits<ThreadLanes>(numbers[i]));
        if constexpr (kGroup > 1) {
            constexpr int kInWord = 4 / To::kBytes;
            Chunk<kGroup * To::kBytes> chunk;
            for (int i = 0; i < kGroup; i += kInWord) {
                chunk.words[i / kInWord] = kInWord == 1 ? bits[i] : (bits[i] & 0xffff) | bits[i + kInWord - 1] << 16;
            }
            *reinterpret_cast<Chunk<kGroup * To::kBytes>*>(to) = chunk;
        } else if constexpr (To::kBytes == 4) {
            *reinterpret_cast<uint32_t*>(to) = bits[0];
        } else {
            *reinterpret_cast<uint16_t*>(to) = static_cast<uint16_t>(bits[0]);
        }
    }

    template <int kGroup>
    static GK_LANE void report_misfits(const Launch& launch, int64_t place, const float (&numbers)[kGroup]) {
        for (int i = 0; i < kGroup; ++i) {
            const float f = numbers[i];
            if (magnitude_of(f) < To::limit()) continue;
            report(launch, f - f == 0 ? FaultKind::kScaleOverflow : FaultKind::kNonFinite, place + i);
        }
    }
};

}  // namespace
}  // namespace ggufactory
