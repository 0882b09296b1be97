/* SPDX-License-Identifier: MIT */
/*
 * The conformance guest: does with a hypervisor what an operating system does, checks every answer
 * against the TLFS and reports in TAP. It takes nothing from the library but the numbers of the
 * specification, so it can judge any hypervisor.
 */
#include <stddef.h>

#include "discovery.h"
#include "tap.h"
#include "tests.h"
#include "text.h"
#include "vp.h"

/* In this order: identity needs a guest that has not reported any, lock lasts until reset. */
static const struct topic *const topics[] = {
    &topic_discovery, &topic_identity, &topic_page,  &topic_msr,   &topic_hypercall,
    &topic_calls,     &topic_vps,      &topic_vapic, &topic_requests, &topic_time,
    &topic_synic,     &topic_stimer,   &topic_lock,
};

/* start.S comes here on every VP. */
void guest_entry(const void *told, unsigned number) __attribute__((noreturn));

static void wait_for_all(void)
{
    for (unsigned n = 1; n < vp_count(); n++) {
        while (!vp_number(n)->present) {
            cpu_pause();
        }
    }
}

static unsigned judge(void)
{
    print("TAP version 13\n");
    if (!hypervisor_present() || !hv_find()) {
        print("Bail out! CPUID shows no hypervisor with the interface Hv#1\n");
        return 2;
    }
    if ((boot_info()->flags & BOOT_SURVEY) != 0) {
        tap_run(&topic_survey);
        return tap_end() ? 0 : 1;
    }
    if ((boot_info()->flags & BOOT_BENCH) != 0) {
        tap_run(&topic_bench);
        return tap_end() ? 0 : 1;
    }
    for (size_t i = 0; i < sizeof topics / sizeof topics[0]; i++) {
        tap_run(topics[i]);
    }
    return tap_end() ? 0 : 1;
}

void guest_entry(const void *told, unsigned number)
{
    if (number == 0) {
        vp_open(told);
    }
    vp_enter(number);
    if (number != 0) {
        vp_serve();
    }
    wait_for_all();
    finish(judge());
}
