// Pieces of 32 numbers of each thread's row, through shared memory: threads side by side read memory side by
// side, and then each takes its own row's.
//
// Numbers lie in the tile as they do in their rows, and are converted by the thread that takes them.
#pragma once

#include "cuda/source_numbers.h"

namespace ggufactory {
namespace {

constexpr int kPiece = 32;

// After each eight units one is left out, so that threads side by side are in different banks of the memory: the
// hardware serves eight units at a time. Eight threads that write fill eight units in a row. Eight that read unit k of
// their rows find it 9 units apart (rows of eight units), or 4 and 5 by turns (rows of four): modulo eight, which is
// where a unit lies in the banks, all are different.
struct RowTile {
    static constexpr int kSpaced = 8, kRowUnits = kPiece * 4 / 16;
    static constexpr int kUnits = kThreads * kRowUnits / kSpaced * (kSpaced + 1);

    const uint8_t* rows[kThreads];
    union {
        Unit units[kUnits];
        uint32_t words[kUnits * 4];
        uint16_t halves[kUnits * 8];
    };

    static GK_LANE int place_of_unit(int unit) { return unit + unit / kSpaced; }
};

// Numbers of kBytes: all threads' rows, from `offset` bytes after their beginning on, by units.
template <int kBytes>
GK_LANE void gather_units(RowTile& tile, int64_t offset, int thread) {
    constexpr int kRowUnits = kPiece * kBytes / 16;
    GK_UNROLL(8)
    for (int i = 0; i < kRowUnits; ++i) {
        const int unit = i * kThreads + thread, row = unit / kRowUnits, column = unit % kRowUnits;
        const uint8_t* const from = tile.rows[row] + offset + column * 16;
        tile.units[RowTile::place_of_unit(unit)] = *reinterpret_cast<const Unit*>(from);
    }
}

// The same of rows that begin anywhere.
template <int kBytes>
GK_LANE void gather_numbers(RowTile& tile, int64_t offset, int thread) {
    constexpr int kInUnit = 16 / kBytes;
    GK_GPU_UNROLL(8)
    for (int i = 0; i < kPiece; ++i) {
        const int at = i * kThreads + thread, row = at / kPiece, column = at % kPiece;
        const int place = RowTile::place_of_unit(at / kInUnit) * kInUnit + at % kInUnit;
        const uint8_t* const from = tile.rows[row] + offset + column * kBytes;
        if constexpr (kBytes == 4) {
            tile.words[place] = *reinterpret_cast<const uint32_t*>(from);
        } else {
            tile.halves[place] = *reinterpret_cast<const uint16_t*>(from);
        }
    }
}

template <int kBytes>
GK_LANE void gather(RowTile& tile, int64_t first, bool aligned, int thread) {
    if (aligned) {
        gather_units<kBytes>(tile, first * kBytes, thread);
    } else {
        gather_numbers<kBytes>(tile, first * kBytes, thread);
    }
}

// The piece of a thread's own row.
template <class Format>
GK_LANE void take_piece(const RowTile& tile, int thread, float (&numbers)[kPiece]) {
    constexpr int kRowUnits = kPiece * Format::kBytes / 16, kInUnit = kPiece / kRowUnits;
    const Unit* const units = tile.units + RowTile::place_of_unit(thread * kRowUnits);
    GK_UNROLL(8)
    for (int k = 0; k < kRowUnits; ++k) {
        const Unit unit = units[k];
        GK_UNROLL(8)
        for (int i = 0; i < kInUnit; ++i) numbers[k * kInUnit + i] = number_in<Format>(unit.words, i);
    }
}

// Numbers first ... first + kPiece - 1 of all `tile.rows`, whose beginnings are `aligned` to units or not;
// `take(thread, piece)` is then called in every thread.
template <class Take>
GK_LANE void pass_through(const ThreadBlock& block, RowTile& tile, SourceFormat format, bool aligned, int64_t first,
                          const Take& take) {
    block.phase([&](int thread) {
        if (format == SourceFormat::kF32) {
            gather<4>(tile, first, aligned, thread);
        } else {
            gather<2>(tile, first, aligned, thread);
        }
    });
    block.phase([&](int thread) {
        float numbers[kPiece];
        with_format(format, [&](auto known) { take_piece<decltype(known)>(tile, thread, numbers); });
        take(thread, numbers);
    });
}

}  // namespace
}  // namespace ggufactory
