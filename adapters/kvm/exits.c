/* SPDX-License-Identifier: MIT */
/* Whose exit it is. */
#include <errno.h>

#include "helper.h"

enum { VECTOR_GP = 13, MOST_PARTS = 64 };

/* The other parts of a store of which one is refused: it faults as a whole, so no device gets them. More than
 * a few there cannot be of one instruction. */
static void drop_parts(struct hvti_kvm_vp *vp)
{
    int more = hvti_kvm_complete(vp);

    for (unsigned i = 0; more > 0 && i < MOST_PARTS; i++) {
        more = hvti_kvm_complete(vp);
    }
    if (more != 0) {
        hvti_kvm_count(&vp->count.unserved);
    }
}

/* A store to a page that is not the guest's to write. KVM has gone past the instruction by then and
 * does not say how long it was: the fault comes, but behind it. */
static enum hvtlfs_kvm_result mmio(struct hvti_kvm_vp *vp)
{
    if (!vp->run->mmio.is_write || !hvti_kvm_memory_refuses(vp->kvm, vp->run->mmio.phys_addr)) {
        return HVTLFS_KVM_YOURS;
    }
    hvti_kvm_count(&vp->count.refused_stores);
    drop_parts(vp);
    hvti_kvm_exception(vp, VECTOR_GP, true);
    return HVTLFS_KVM_HANDLED;
}

static enum hvtlfs_kvm_result serve(struct hvti_kvm_vp *vp)
{
    switch (vp->run->exit_reason) {
    case KVM_EXIT_X86_RDMSR:
        return hvti_kvm_rdmsr(vp);
    case KVM_EXIT_X86_WRMSR:
        return hvti_kvm_wrmsr(vp);
    case KVM_EXIT_IO:
        return hvti_kvm_out(vp);
    case KVM_EXIT_XEN:
        return hvti_kvm_xen(vp);
    case KVM_EXIT_MMIO:
        return mmio(vp);
    default:
        return HVTLFS_KVM_YOURS;
    }
}

/* KVM takes a store across pages, or a long one, to its devices in parts, an exit each. */
static bool may_have_more(const struct hvti_kvm_vp *vp)
{
    return vp->run->exit_reason == KVM_EXIT_MMIO || vp->run->exit_reason == KVM_EXIT_IO;
}

enum hvtlfs_kvm_result hvtlfs_kvm_exit(struct hvtlfs_kvm *kvm, uint32_t vp_index, int result)
{
    int error = errno;
    struct hvti_kvm_vp *vp = hvti_kvm_usable(kvm, vp_index);
    enum hvtlfs_kvm_result answer = HVTLFS_KVM_YOURS;

    if (vp != NULL) {
        hvti_kvm_leave(vp);
        answer = result == 0 ? serve(vp) : HVTLFS_KVM_YOURS;
        if (result != 0 && error == EINTR) { /* its thread is back */
            atomic_store(&vp->called, false);
        }
        vp->in_parts = result == 0 && answer == HVTLFS_KVM_YOURS && may_have_more(vp);
        if (result == 0 && answer == HVTLFS_KVM_YOURS) {
            hvti_kvm_count(&vp->count.yours);
        }
    }
    errno = error;
    return answer;
}
