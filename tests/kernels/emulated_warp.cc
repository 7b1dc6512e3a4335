// The threads of a warp on a machine without a GPU: each has a stack of its own, and runs until it comes to a
// meeting (cuda/warp.h); then the next one does. After one turn of all 32 what each brought is there for all.
#include "cuda/warp.h"

#include <csetjmp>
#include <cstdio>
#include <cstdlib>
#include <ucontext.h>

namespace ggufactory {
namespace emulated_warp {
namespace {

enum class Meeting { kNone, kMeet, kBallot, kShuffle, kEnd };

struct Thread {
    static constexpr size_t kStack = size_t{1} << 18;
    alignas(64) char stack[kStack];
    ucontext_t begin;
    jmp_buf here;
    bool has_begun;
    Meeting meeting;
    uint32_t brought[2];  // to this meeting and to the one before, which others may still be reading
    unsigned meetings;
};

Thread threads[kWarp];
ucontext_t main_context;
jmp_buf main_here;
int current;
void (*run_thread)(const void* phase, int thread);
const void* current_phase;
int first_thread;

[[noreturn]] void fail(const char* what) {
    std::fprintf(stderr, "emulated warp: %s\n", what);
    std::abort();
}

void come_to(Meeting meeting, uint32_t word) {
    Thread& self = threads[current];
    self.meeting = meeting;
    self.brought[++self.meetings % 2] = word;
    // Only signal masks would make switching with swapcontext() slow.
    if (_setjmp(self.here) == 0) _longjmp(main_here, 1);
}

void run_to_its_end() {
    run_thread(current_phase, first_thread + current);
    come_to(Meeting::kEnd, 0);
    fail("a thread runs on after its end");
}

void turn_to(int thread) {
    current = thread;
    if (_setjmp(main_here) != 0) return;
    if (threads[thread].has_begun) _longjmp(threads[thread].here, 1);
    threads[thread].has_begun = true;
    swapcontext(&main_context, &threads[thread].begin);
}

// All that threads bring is read at their next turn, when everyone has had this one.
uint32_t brought_by(int thread) { return threads[thread].brought[threads[current].meetings % 2]; }

}  // namespace

int lane() { return current; }

void meet() { come_to(Meeting::kMeet, 0); }

uint32_t ballot(bool vote) {
    come_to(Meeting::kBallot, vote);
    uint32_t votes = 0;
    for (int i = 0; i < kWarp; ++i) votes |= brought_by(i) << i;
    return votes;
}

uint32_t shuffle(uint32_t word, int source) {
    come_to(Meeting::kShuffle, word);
    if (source < 0 || source >= kWarp) fail("a shuffle from a thread that is not there");
    return brought_by(source);
}

void run(void (*run)(const void* phase, int thread), const void* phase, int first, bool backwards) {
    run_thread = run, current_phase = phase, first_thread = first;
    for (Thread& thread : threads) {
        thread.has_begun = false, thread.meetings = 0;
        getcontext(&thread.begin);
        thread.begin.uc_stack.ss_sp = thread.stack;
        thread.begin.uc_stack.ss_size = Thread::kStack;
        thread.begin.uc_link = nullptr;
        makecontext(&thread.begin, run_to_its_end, 0);
    }
    Meeting meeting = Meeting::kNone;
    while (meeting != Meeting::kEnd) {
        for (int i = 0; i < kWarp; ++i) turn_to(backwards ? kWarp - 1 - i : i);
        meeting = threads[0].meeting;
        for (const Thread& thread : threads) {
            if (thread.meeting != meeting) fail("threads of a warp come to different meetings");
        }
    }
}

}  // namespace emulated_warp
}  // namespace ggufactory
