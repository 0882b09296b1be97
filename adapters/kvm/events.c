/* SPDX-License-Identifier: MIT */
#include <sys/ioctl.h>

#include "adapter.h"

void adapter_exception(struct adapter_vp *vp, uint8_t vector, bool has_error)
{
    struct kvm_vcpu_events events;

    tally_count(&vp->tally.faults, vector);
    if (ioctl(vp->fd, KVM_GET_VCPU_EVENTS, &events) != 0) {
        return;
    }
    events.flags = 0;
    events.exception.injected = 1;
    events.exception.nr = vector;
    events.exception.has_error_code = has_error;
    events.exception.error_code = 0;
    (void)ioctl(vp->fd, KVM_SET_VCPU_EVENTS, &events);
}
