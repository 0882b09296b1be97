/* SPDX-License-Identifier: MIT */
/*
 * What the spin-wait threshold and the directed yield bring: a simulation.
 *
 * It is a model and nothing else: no guest, no processor. More virtual processors than real ones
 * take turns in time slices; each computes, takes the one lock, holds it shortly, and starts again.
 * One that finds the lock taken spins, and after each N attempts it makes the hypercall. The host then
 *
 *     ignores it     as if the guest had been told never to notify
 *     yields         runs whoever is next
 *     directs        runs the VP that hvtlfs_yield_advice() names, if it names one
 *
 * What comes out is how many critical sections get done and where processor time goes. The sizes are
 * below; they are typical, not measured. docs/SPINWAIT.md shows the result and says what follows.
 */
#include <inttypes.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <hvtlfs/spinwait.h>

#define VPS 16u
#define CPUS 8u

/* Nanoseconds */
#define STEP 250u
#define SLICE 3000000u  /* a time slice of the host */
#define COMPUTE 60000u  /* outside the lock, on average */
#define HOLD 4000u      /* inside */
#define ATTEMPT 40u     /* one turn of the spin loop with its PAUSE */
#define HYPERCALL 1500u /* an exit and the way back */
#define SWITCH 2500u    /* another VP on the processor */
#define DURATION 2000000000u

enum activity { COMPUTES, SPINS, HOLDS };

enum response { IGNORES, YIELDS, DIRECTS };

struct vp {
    enum activity activity;
    uint32_t left;     /* of what it does, or of a cost that comes first */
    uint32_t cost;     /* hypercall or switch still to be paid for */
    uint64_t spun;     /* in this spin */
    uint64_t notified; /* multiple of the threshold reached last */
};

struct run {
    enum response response;
    uint32_t threshold; /* attempts */
    struct vp vps[VPS];
    uint32_t on_cpu[CPUS];
    uint32_t slice[CPUS];
    uint32_t queue[VPS]; /* those that wait for a processor, first to run first */
    uint32_t queued;
    uint32_t holder; /* VPS: nobody */
    uint32_t last;
    uint64_t random;
    uint64_t sections, spin_time, notifications;
};

static uint32_t random_around(struct run *run, uint32_t mean)
{
    run->random ^= run->random << 13;
    run->random ^= run->random >> 7;
    run->random ^= run->random << 17;
    return (uint32_t)(mean / 2 + run->random % mean);
}

/* ---- The host's scheduler ---- */

static uint32_t take_from_queue(struct run *run, uint32_t at)
{
    uint32_t vp = run->queue[at];

    memmove(&run->queue[at], &run->queue[at + 1], (run->queued - at - 1) * sizeof(run->queue[0]));
    run->queued--;
    return vp;
}

static void replace(struct run *run, uint32_t cpu, uint32_t at)
{
    uint32_t gone = run->on_cpu[cpu];

    run->on_cpu[cpu] = take_from_queue(run, at);
    run->queue[run->queued++] = gone;
    run->vps[run->on_cpu[cpu]].cost += SWITCH;
    run->slice[cpu] = SLICE;
}

static uint32_t advice(struct run *run, uint32_t caller)
{
    uint64_t preempted = 0, spinning = 0;
    struct hvtlfs_yield_view view = {.caller = caller,
                                     .spins = (uint32_t)(run->vps[caller].spun / ATTEMPT),
                                     .threshold = run->threshold,
                                     .last = run->last,
                                     .bank_count = 1,
                                     .preempted = &preempted,
                                     .spinning = &spinning};
    uint32_t i;

    for (i = 0; i < run->queued; i++) {
        preempted |= UINT64_C(1) << run->queue[i];
        spinning |= (uint64_t)(run->vps[run->queue[i]].activity == SPINS) << run->queue[i];
    }
    return hvtlfs_yield_advice(&view);
}

static void notify(struct run *run, uint32_t cpu)
{
    uint32_t caller = run->on_cpu[cpu];
    uint32_t named, i;

    run->notifications++;
    run->vps[caller].cost += HYPERCALL;
    if (run->response == YIELDS && run->queued) {
        replace(run, cpu, 0);
    }
    if (run->response != DIRECTS) {
        return;
    }
    named = advice(run, caller);
    for (i = 0; i < run->queued; i++) {
        if (run->queue[i] == named) {
            run->last = named;
            replace(run, cpu, i);
            return;
        }
    }
}

/* ---- The guest ---- */

static void want_lock(struct run *run, uint32_t index)
{
    struct vp *vp = &run->vps[index];

    if (run->holder == VPS) {
        run->holder = index;
        vp->activity = HOLDS;
        vp->left = random_around(run, HOLD);
    } else if (vp->activity != SPINS) {
        vp->activity = SPINS;
        vp->spun = vp->notified = 0;
    }
}

static void spin(struct run *run, uint32_t cpu)
{
    uint32_t index = run->on_cpu[cpu];
    struct vp *vp = &run->vps[index];

    run->spin_time += STEP;
    vp->spun += STEP;
    want_lock(run, index);
    if (vp->activity == SPINS && run->response != IGNORES &&
        vp->spun / ATTEMPT >= vp->notified + run->threshold) {
        vp->notified += run->threshold;
        notify(run, cpu);
    }
}

static void finish(struct run *run, uint32_t index)
{
    struct vp *vp = &run->vps[index];

    if (vp->activity == COMPUTES) {
        want_lock(run, index);
        return;
    }
    run->holder = VPS;
    run->sections++;
    vp->activity = COMPUTES;
    vp->left = random_around(run, COMPUTE);
}

static void step(struct run *run, uint32_t cpu)
{
    struct vp *vp = &run->vps[run->on_cpu[cpu]];

    if (vp->cost) {
        vp->cost -= vp->cost < STEP ? vp->cost : STEP;
    } else if (vp->activity == SPINS) {
        spin(run, cpu);
    } else if (vp->left > STEP) {
        vp->left -= STEP;
    } else {
        finish(run, run->on_cpu[cpu]);
    }
    run->slice[cpu] -= run->slice[cpu] < STEP ? run->slice[cpu] : STEP;
    if (!run->slice[cpu]) {
        if (run->queued) {
            replace(run, cpu, 0);
        }
        run->slice[cpu] = SLICE;
    }
}

static struct run simulate(enum response response, uint32_t threshold)
{
    struct run run = {.response = response,
                      .threshold = threshold,
                      .holder = VPS,
                      .last = HVTLFS_NO_VP,
                      .random = UINT64_C(0x2545F4914F6CDD1D)};
    uint32_t i;
    uint64_t time;

    for (i = 0; i < VPS; i++) {
        run.vps[i].left = random_around(&run, COMPUTE);
        if (i < CPUS) {
            run.on_cpu[i] = i;
            run.slice[i] = SLICE / CPUS * (i + 1);
        } else {
            run.queue[run.queued++] = i;
        }
    }
    for (time = 0; time < DURATION; time += STEP) {
        for (i = 0; i < CPUS; i++) {
            step(&run, i);
        }
    }
    return run;
}

static void print(const char *name, const struct run *run)
{
    double seconds = DURATION / 1e9;

    printf(" %s %8.0f /s %5.1f %% %9.0f /s |", name, (double)run->sections / seconds,
           100.0 * (double)run->spin_time / ((double)DURATION * CPUS),
           (double)run->notifications / seconds);
}

int main(void)
{
    struct run never = simulate(IGNORES, 1);
    uint32_t threshold;

    printf("%u VPs on %u processors; critical sections, time spent spinning, notifications\n", VPS,
           CPUS);
    printf("   never |");
    print("-", &never);
    printf("\n");
    for (threshold = 0x3F; threshold <= 0xFFFF; threshold = 2 * threshold + 1) {
        struct run yields = simulate(YIELDS, threshold);
        struct run directs = simulate(DIRECTS, threshold);

        printf("0x%06" PRIx32 " |", threshold);
        print("yield", &yields);
        print("directed", &directs);
        printf("\n");
    }
    return 0;
}
