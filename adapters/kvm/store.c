/* SPDX-License-Identifier: MIT */
/*
 * A store to the APIC's page, made by the VP itself. KVM carries out an EOI - the in-service bit, the I/O
 * APIC's pin, the exit to a VMM that has the I/O APIC, whatever waited - for a store of the guest and for
 * nothing else. So the guest makes one: for two instructions the VP runs a page of ours, without paging, so
 * that no page table and no mode of the guest's matters, with interrupts and NMIs held back, and then has
 * its own registers again. It is slow (0.3 ms on the machines this was written on) and exact.
 *
 * The page stands where no RAM can be, among the addresses of MSIs, in KVM's last slot; it is there from
 * the first time that it is needed. An INIT that another VP sends at this very moment wins, and a guest
 * whose debug registers stop at these addresses has itself to blame.
 */
#include <errno.h>
#include <string.h>

#include "helper.h"

enum {
    TRIES = 100, /* a signal each */
    SMALL_SLOTS = 32,
    IN_SMM_OR_NESTED = 1 << 0 | 1 << 2, /* kvm_run->flags: that is another address space */
};

#define STAGE_GPA UINT64_C(0xFEEFF000)
#define CR0_STAGE UINT64_C(0x11) /* PE, ET */
#define RFLAGS_STAGE UINT64_C(2)
#define APIC_BASE_ADDRESS (~UINT64_C(0xFFF))

/* mov [rbx], eax; out dx, al. The guest can read it, and does not need to. */
static const _Alignas(HVTLFS_PAGE_SIZE) uint8_t stage[HVTLFS_PAGE_SIZE] = {0x89, 0x03, 0xEE};

/* All of a VP that the store touches. */
struct scene {
    struct kvm_regs regs;
    struct kvm_sregs sregs;
    struct kvm_vcpu_events events;
};

static bool stage_build(struct hvtlfs_kvm *kvm)
{
    struct kvm_userspace_memory_region slot = {
        .flags = KVM_MEM_READONLY,
        .guest_phys_addr = STAGE_GPA,
        .memory_size = sizeof stage,
        .userspace_addr = (uint64_t)(uintptr_t)stage,
    };
    int slots = hvti_kvm_capability(&kvm->config, KVM_CAP_NR_MEMSLOTS);

    slot.slot = (uint32_t)(slots > SMALL_SLOTS ? slots : SMALL_SLOTS) - 1;
    return hvti_kvm_capability(&kvm->config, KVM_CAP_READONLY_MEM) > 0 &&
           hvti_kvm_vm_call(kvm, KVM_SET_USER_MEMORY_REGION, &slot) == 0;
}

static bool stage_there(struct hvtlfs_kvm *kvm)
{
    bool there;

    (void)pthread_mutex_lock(&kvm->memory.change);
    there = kvm->has_stage || stage_build(kvm);
    kvm->has_stage = there;
    (void)pthread_mutex_unlock(&kvm->memory.change);
    return there;
}

static bool scene_get(struct hvti_kvm_vp *vp, struct scene *scene)
{
    return hvti_kvm_vp_call(vp, KVM_GET_REGS, &scene->regs) == 0 &&
           hvti_kvm_vp_call(vp, KVM_GET_SREGS, &scene->sregs) == 0 &&
           hvti_kvm_vp_call(vp, KVM_GET_VCPU_EVENTS, &scene->events) == 0;
}

/* What came meanwhile stays: flags 0 leaves alone what is pending. */
static bool scene_set(struct hvti_kvm_vp *vp, const struct scene *scene)
{
    struct scene copy = *scene;

    copy.events.flags = 0;
    return hvti_kvm_vp_call(vp, KVM_SET_SREGS, &copy.sregs) == 0 &&
           hvti_kvm_vp_call(vp, KVM_SET_REGS, &copy.regs) == 0 &&
           hvti_kvm_vp_call(vp, KVM_SET_VCPU_EVENTS, &copy.events) == 0;
}

static struct kvm_segment flat(uint16_t selector, uint8_t type)
{
    return (struct kvm_segment){.limit = UINT32_MAX,
                                .selector = selector,
                                .type = type,
                                .present = 1,
                                .db = 1,
                                .s = 1,
                                .g = 1};
}

static struct scene scene_of_store(const struct hvti_kvm_vp *vp, const struct scene *own,
                                   uint64_t gpa, uint32_t value)
{
    struct scene scene = *own;

    scene.sregs.cs = flat(8, 11);
    scene.sregs.ds = scene.sregs.es = scene.sregs.ss = flat(16, 3);
    scene.sregs.cr0 = CR0_STAGE;
    scene.sregs.cr4 = 0;
    scene.sregs.efer = 0;
    scene.regs = (struct kvm_regs){.rip = STAGE_GPA,
                                   .rflags = RFLAGS_STAGE,
                                   .rax = value,
                                   .rbx = gpa,
                                   .rdx = vp->kvm->config.port};
    scene.events.nmi.masked = 1;
    return scene;
}

/* immediate_exit is set aside, whosever it is, and set again afterwards; the VMM's goes before ours. */
static uint8_t mark_take(struct hvti_kvm_vp *vp, uint8_t before)
{
    uint8_t mark = __atomic_exchange_n(&vp->run->immediate_exit, 0, __ATOMIC_SEQ_CST);

    return mark == 0 || (before != 0 && mark == HVTI_KVM_EXIT_OURS) ? before : mark;
}

static void mark_give(struct hvti_kvm_vp *vp, uint8_t mark)
{
    uint8_t now = 0;

    while (mark != 0 && (now == 0 || (now == HVTI_KVM_EXIT_OURS && mark != now)) &&
           !__atomic_compare_exchange_n(&vp->run->immediate_exit, &now, mark, false,
                                        __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST)) {
    }
}

/* Until the OUT behind the store; whoever debugs the guest by single steps sees none of it. */
static bool play(struct hvti_kvm_vp *vp)
{
    const struct kvm_run *run = vp->run;
    uint8_t mark = 0;
    bool done = false;
    bool again = true;

    for (unsigned i = 0; i < TRIES && again; i++) {
        int result;

        mark = mark_take(vp, mark);
        result = hvti_kvm_vp_call(vp, KVM_RUN, NULL);
        done =
            result == 0 && run->exit_reason == KVM_EXIT_IO && run->io.port == vp->kvm->config.port;
        again =
            result == 0 ? run->exit_reason == KVM_EXIT_DEBUG : errno == EINTR || errno == EAGAIN;
    }
    if (done) {
        (void)hvti_kvm_complete(vp);
    }
    mark_give(vp, mark);
    return done;
}

static bool runs(struct hvti_kvm_vp *vp)
{
    struct kvm_mp_state state;

    return hvti_kvm_vp_call(vp, KVM_GET_MP_STATE, &state) == 0 &&
           state.mp_state == KVM_MP_STATE_RUNNABLE;
}

bool hvti_kvm_apic_store(struct hvti_kvm_vp *vp, unsigned offset, uint32_t value)
{
    struct scene own, scene;
    uint64_t gpa;
    bool done;

    if ((vp->run->flags & IN_SMM_OR_NESTED) != 0 || !stage_there(vp->kvm) ||
        hvti_kvm_complete(vp) != 0 || !scene_get(vp, &own)) {
        return false;
    }
    gpa = (own.sregs.apic_base & APIC_BASE_ADDRESS) + offset;
    if (gpa > UINT32_MAX || hvti_kvm_event_waits(&own.events) || !runs(vp)) {
        return false;
    }
    scene = scene_of_store(vp, &own, gpa, value);
    done = scene_set(vp, &scene) && play(vp);
    if ((done || runs(vp)) && !scene_set(vp, &own)) {
        hvti_kvm_count(&vp->count.unserved);
    }
    return done;
}
