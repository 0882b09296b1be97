/* SPDX-License-Identifier: MIT */
/* TLFS 3.13: Locked holds until the system is reset, so this comes last. */
#include <hvtlfs/tlfs.h>

#include "discovery.h"
#include "guard.h"
#include "hypercall.h"
#include "tests.h"
#include "vp.h"

static void locked_page_stays(void)
{
    uint64_t locked = hypercall_page_gpa() | HV_MSR_HYPERCALL_ENABLE | HV_MSR_HYPERCALL_LOCKED;
    uint64_t value = 0;
    bool written;

    if (!hv_has_edx(HV_CPUID_FEATURES_EDX_HYPERCALL_MSR_LOCK_AVAILABLE)) {
        skip("leaf 3 EDX[18] does not announce the lock");
        return;
    }
    expect(msr_write(HV_X64_MSR_HYPERCALL, locked), "locking faults");
    written = msr_write(HV_X64_MSR_HYPERCALL, 0);
    note("writing the locked MSR %s", written ? "is ignored" : "faults");
    expect(written || this_vp()->fault.vector == VECTOR_GP, "vector %lx", this_vp()->fault.vector);
    expect(msr_read(HV_X64_MSR_HYPERCALL, &value) && value == locked, "%lx became %lx", locked,
           value);
    expect(hypercall(HvCallNotifyLongSpinWait | HV_HYPERCALL_INPUT_FAST, 1, 0).returned,
           "the page is gone");
}

static const struct test tests[] = {
    {"locked_hypercall_page_stays", locked_page_stays},
};

const struct topic topic_lock = TOPIC("lock (TLFS 3.13)", tests);
