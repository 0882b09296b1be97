/* SPDX-License-Identifier: MIT */
/* TLFS 2.6 and 3.13: nothing works before the guest has said who it is. */
#include <hvtlfs/tlfs.h>

#include "guard.h"
#include "hypercall.h"
#include "memory.h"
#include "tests.h"

static uint8_t spare_page[PAGE_BYTES] __attribute__((aligned(PAGE_BYTES)));

static bool identity_reported(void)
{
    uint64_t identity = 0;

    return msr_read(HV_X64_MSR_GUEST_OS_ID, &identity) && identity != 0;
}

static void identity_starts_at_zero(void)
{
    uint64_t identity = 0;

    if (identity_reported()) {
        skip("something before this guest has reported an identity");
        return;
    }
    expect(msr_read(HV_X64_MSR_GUEST_OS_ID, &identity), "reading it faults");
}

static void page_stays_disabled_without_identity(void)
{
    uint64_t value = 0;

    if (identity_reported()) {
        skip("something before this guest has reported an identity");
        return;
    }
    spare_page[0] = 0x5A;
    expect(msr_write(HV_X64_MSR_HYPERCALL, gpa_of(spare_page) | HV_MSR_HYPERCALL_ENABLE),
           "the write faults");
    expect(msr_read(HV_X64_MSR_HYPERCALL, &value), "the read faults");
    expect((value & HV_MSR_HYPERCALL_ENABLE) == 0, "it reads back %lx", value);
    expect(*(volatile uint8_t *)spare_page == 0x5A, "the page is covered");
}

static void identity_reads_back(void)
{
    uint64_t value = 0;

    expect(msr_write(HV_X64_MSR_GUEST_OS_ID, hypercall_identity()), "the write faults");
    expect(msr_read(HV_X64_MSR_GUEST_OS_ID, &value), "the read faults");
    expect(value == hypercall_identity(), "it reads back %lx", value);
}

/* Reserved bits, identities of other systems: the hypervisor has no say in it (TLFS 2.6). */
static void any_identity_is_kept(void)
{
    static const uint64_t identities[] = {
        UINT64_C(0x0001040A00004A65), /* Windows NT 10.0 */
        UINT64_C(0x8100000600010000), /* Linux 6.0.1 */
        UINT64_C(0xFFFFFFFFFFFFFFFF),
        1,
    };

    for (unsigned i = 0; i < sizeof identities / sizeof identities[0]; i++) {
        uint64_t value = 0;

        expect(msr_write(HV_X64_MSR_GUEST_OS_ID, identities[i]), "writing %lx faults",
               identities[i]);
        expect(msr_read(HV_X64_MSR_GUEST_OS_ID, &value) && value == identities[i],
               "%lx reads back as %lx", identities[i], value);
    }
    expect(msr_write(HV_X64_MSR_GUEST_OS_ID, hypercall_identity()), "writing ours faults");
}

static void interface_is_established(void)
{
    const char *failed = hypercall_establish();

    expect(failed == NULL, "step %s", failed);
    note("hypercall page at %lx%s", hypercall_page_gpa(),
         hypercall_page_never_exits() ? ", which never exits" : "");
}

static const struct test tests[] = {
    {"guest_os_id_starts_at_zero", identity_starts_at_zero},
    {"hypercall_page_stays_disabled_without_guest_os_id", page_stays_disabled_without_identity},
    {"guest_os_id_reads_back", identity_reads_back},
    {"any_guest_os_id_is_kept", any_identity_is_kept},
    {"hypercall_interface_is_established_in_nine_steps", interface_is_established},
};

const struct topic topic_identity = TOPIC("identity and establishing (TLFS 2.6, 3.13)", tests);
