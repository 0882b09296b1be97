/* SPDX-License-Identifier: MIT */
/* That it is libhvtlfs which answers, and how often: nothing else of it is to be seen. */
#include <stdlib.h>

#include "preload.h"

static void add(struct hvtlfs_kvm_counters *sum, const struct hvtlfs_kvm_counters *one)
{
    sum->runs += one->runs;
    sum->msr_reads += one->msr_reads;
    sum->msr_writes += one->msr_writes;
    sum->hypercalls += one->hypercalls;
    sum->flushes += one->flushes;
    sum->interrupts += one->interrupts;
    sum->yours += one->yours;
    sum->unserved += one->unserved;
}

static void say(const struct hvtlfs_kvm_counters *sum)
{
    tell("a VM had Hyper-V: runs %llu, MSRs read %llu, MSRs written %llu, hypercalls %llu, TLB "
         "flushes %llu, "
         "interrupts %llu, exits for the program %llu, unserved %llu",
         (unsigned long long)sum->runs, (unsigned long long)sum->msr_reads,
         (unsigned long long)sum->msr_writes, (unsigned long long)sum->hypercalls,
         (unsigned long long)sum->flushes, (unsigned long long)sum->interrupts,
         (unsigned long long)sum->yours, (unsigned long long)sum->unserved);
}

void statistics_say(struct vm *vm)
{
    struct hvtlfs_kvm_counters sum = {0};
    struct hvtlfs_kvm_counters one = {.size = sizeof one};

    if (vm->hv == NULL || getenv("HVTLFS_KVM_STATISTICS") == NULL) {
        return;
    }
    for (uint32_t i = 0; i < HVTLFS_KVM_MAX_VPS; i++) {
        if (hvtlfs_kvm_read_counters(vm->hv, i, &one) == HVTLFS_OK) {
            add(&sum, &one);
        }
    }
    say(&sum);
}

static void visit(struct object *object)
{
    if (object->kind == KIND_VM) {
        statistics_say((struct vm *)(void *)object);
    }
}

/* Programs end without closing what they have. */
__attribute__((destructor)) static void end(void)
{
    objects_each(visit);
}
