/* SPDX-License-Identifier: MIT */
/*
 * The partition behind a VM. It is made when the first vCPU runs that has Hyper-V's leaves: only then is it
 * known what the program wants the guest to have, and which vCPUs there are.
 */
#include <errno.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <hvtlfs/features.h>
#include <hvtlfs/time.h>
#include <hvtlfs/tlfs.h>

#include "preload.h"

static int pass(void *context, int fd, unsigned long request, void *argument)
{
    (void)context;
    return real_ioctl(fd, request, argument);
}

/* ---- What the guest asks of the machine: noted, and told to the program behind the exit ---- */

static struct vcpu *vcpu_of(void *context, uint32_t vp_index)
{
    struct vm *vm = hvtlfs_kvm_context(context);

    for (uint32_t i = 0; i < MOST_VCPUS; i++) {
        if (vm->vcpus[i] != NULL && vm->vcpus[i]->vp_index == vp_index) {
            return vm->vcpus[i];
        }
    }
    return NULL;
}

static void crashed(void *context, uint32_t vp_index, const struct hvtlfs_crash *crash)
{
    struct vcpu *vcpu = vcpu_of(context, vp_index);

    (void)crash;
    if (vcpu != NULL) {
        vcpu->crashed = true;
    }
}

static void asks_for_reset(void *context, uint32_t vp_index)
{
    struct vcpu *vcpu = vcpu_of(context, vp_index);

    if (vcpu != NULL) {
        vcpu->reset = true;
    }
}

/* ---- Features: those whose bits the program shows ---- */

static uint32_t reg_of(const struct hvtlfs_cpuid_regs *regs, uint32_t reg)
{
    const uint32_t all[4] = {regs->eax, regs->ebx, regs->ecx, regs->edx};

    return all[reg];
}

/* A row's first bit is the privilege, where it has one; the others are hints to use it. */
static bool shown(const struct vcpu *vcpu, enum hvtlfs_feature feature)
{
    struct hvtlfs_cpuid_bit bit;
    uint32_t leaf;

    if (!hvtlfs_feature_cpuid_bit(feature, 0, &bit)) {
        return false;
    }
    leaf = bit.leaf - MSR_FIRST;
    return leaf < LEAVES && (reg_of(&vcpu->leaves[leaf], bit.reg) >> bit.bit & 1) != 0;
}

/* Without KVM_CAP_HYPERV_ENFORCE_CPUID, KVM refuses the guest nothing that it has. */
static struct hvtlfs_features features_of(const struct vcpu *vcpu)
{
    struct hvtlfs_features features = all_offered();
    uint32_t spins = vcpu->leaves[4].ebx;

    for (unsigned f = 0; vcpu->enforce && f < HVTLFS_FEATURE_COUNT; f++) {
        if (!shown(vcpu, (enum hvtlfs_feature)f)) {
            hvtlfs_features_remove(&features, (enum hvtlfs_feature)f);
        }
    }
    if (offers(HVTLFS_FEATURE_SPINLOCKS) && spins != 0 && spins != HVTLFS_SPINLOCKS_NEVER) {
        hvtlfs_features_add(&features, HVTLFS_FEATURE_SPINLOCKS);
    }
    hvtlfs_features_complete(&features);
    return features;
}

/* ---- VPs: those there are, and room for more ---- */

static bool taken(const struct hvtlfs_vp_config *vps, uint32_t count, uint32_t index, uint32_t apic)
{
    for (uint32_t i = 0; i < count; i++) {
        if (vps[i].vp_index == index || vps[i].apic_id == apic) {
            return true;
        }
    }
    return false;
}

static uint32_t vps_fill(const struct vm *vm, struct hvtlfs_vp_config *vps)
{
    uint32_t count = 0;

    for (uint32_t i = 0; i < MOST_VCPUS; i++) {
        if (vm->vcpus[i] != NULL) {
            vps[count++] = (struct hvtlfs_vp_config){vm->vcpus[i]->vp_index, vm->vcpus[i]->id};
        }
    }
    for (uint32_t n = 0; n < MOST_VCPUS && count < SPARE_VPS; n++) {
        if (!taken(vps, count, n, n)) {
            vps[count++] = (struct hvtlfs_vp_config){n, n};
        }
    }
    return count;
}

/* ---- Connections ---- */

/* With the lock: the program may be taking the connection away, and its descriptor become another file's. */
static uint16_t signalled(void *context, uint32_t vp_index, uint32_t connection_id, uint32_t flag)
{
    struct vm *vm = context;
    const struct connection *connection;
    uint64_t one = 1;

    (void)vp_index;
    (void)flag;
    (void)pthread_mutex_lock(&vm->lock);
    connection = vm_connection(vm, connection_id);
    if (connection != NULL) {
        (void)!write(connection->event, &one, sizeof one);
    }
    (void)pthread_mutex_unlock(&vm->lock);
    return connection != NULL ? HV_STATUS_SUCCESS : HV_STATUS_INVALID_CONNECTION_ID;
}

/* Flag 0 is all that an eventfd can tell. */
bool hyperv_connect(struct vm *vm, const struct connection *connection)
{
    struct hvtlfs_connection told = {
        .size = sizeof told,
        .connection_id = connection->id,
        .type = HVTLFS_CONNECTION_EVENT,
        .signal = signalled,
        .context = vm,
        .flag_count = 1,
    };

    return vm->hv == NULL ||
           hvtlfs_connection_add(hvtlfs_kvm_partition(vm->hv), &told) == HVTLFS_OK;
}

/* ---- Making it ---- */

static void attach(struct vm *vm, struct vcpu *vcpu)
{
    struct hvtlfs_kvm_error error;

    if (hvtlfs_kvm_vp_attach(vm->hv, vcpu->vp_index, vcpu->object.fd, vcpu->run, &error) !=
        HVTLFS_OK) {
        tell("vCPU %u has no Hyper-V: %s", vcpu->id, error.text);
        return;
    }
    __atomic_store_n(&vcpu->replays, true, __ATOMIC_SEQ_CST);
    __atomic_store_n(&vcpu->attached, true, __ATOMIC_SEQ_CST);
}

/* What a program has set comes before anything that the first VP does to the others. One whose lock is
 * taken is in a call of another thread, which sees to it before it goes on. */
static void replay_others(struct vm *vm, const struct vcpu *first)
{
    for (uint32_t i = 0; i < MOST_VCPUS; i++) {
        struct vcpu *vcpu = vm->vcpus[i];

        if (vcpu != NULL && vcpu != first && pthread_mutex_trylock(&vcpu->lock) == 0) {
            (void)vcpu_ready(vcpu);
            (void)pthread_mutex_unlock(&vcpu->lock);
        }
    }
}

static void populate(struct vm *vm)
{
    struct hvtlfs_kvm_error error;

    for (size_t i = 0; i < vm->region_count; i++) {
        if (vm->regions[i].memory_size != 0 &&
            hvtlfs_kvm_memory_note(vm->hv, &vm->regions[i], &error) != HVTLFS_OK) {
            tell("a memory slot is unknown to Hyper-V: %s", error.text);
        }
    }
    for (size_t i = 0; i < MOST_CONNECTIONS; i++) {
        if (vm->connections[i].used) {
            (void)hyperv_connect(vm, &vm->connections[i]);
        }
    }
    for (uint32_t i = 0; i < MOST_VCPUS; i++) {
        if (vm->vcpus[i] != NULL) {
            attach(vm, vm->vcpus[i]);
        }
    }
}

/* A trapped VMCALL is a hypercall of ours whatever it was meant for: a guest that may make KVM's, for an IPI or
 * to wake another, has the page's OUT instead. */
static void configure(struct hvtlfs_kvm_config *config, struct vm *vm, const struct vcpu *vcpu,
                      struct hvtlfs_vp_config *vps)
{
    hvtlfs_kvm_config_init(config);
    config->kvm_fd = own_kvm();
    config->vm_fd = vm->object.fd;
    config->vcpu_fd = vcpu->object.fd;
    config->context = vm;
    config->ioctl = pass;
    config->trap = vcpu->shows_kvm ? HVTLFS_KVM_TRAP_OUT : own_trap();
    config->msr_exits = vm->msr_exits;
    config->msr_filter = vm->filter;
    config->partition.features = features_of(vcpu);
    config->partition.spin_count = vcpu->leaves[4].ebx;
    config->partition.vp_count = vps_fill(vm, vps);
    config->partition.vps = vps;
    config->partition.connection_count = MOST_CONNECTIONS;
    config->partition.policy = HVTLFS_POLICY_FLUSH_MASK_0_IS_ALL; /* as KVM takes it */
    config->partition.ops.crash = crashed;
    config->partition.ops.system_reset = asks_for_reset;
}

static void create(struct vm *vm, const struct vcpu *vcpu)
{
    static const struct hvtlfs_vp_config none;
    struct hvtlfs_vp_config *vps = calloc(MOST_VCPUS + SPARE_VPS, sizeof none);
    struct hvtlfs_kvm_config config;
    struct hvtlfs_kvm_error error = {.text = "out of memory"};

    vm->refused = true;
    if (vps == NULL) {
        tell("the VM has no Hyper-V: %s", error.text);
    } else if (!vm->has_apic) {
        tell("the VM has no Hyper-V: its local APICs are not the kernel's (KVM_CREATE_IRQCHIP, "
             "KVM_CAP_SPLIT_IRQCHIP)");
    } else {
        configure(&config, vm, vcpu, vps);
        vm->refused = hvtlfs_kvm_create(&config, &vm->hv, &error) != HVTLFS_OK;
        if (vm->refused) {
            tell("the VM has no Hyper-V: %s", error.text);
        } else {
            populate(vm);
            replay_others(vm, vcpu);
            hyperv_age_set(vm);
        }
    }
    free(vps);
}

void hyperv_age_set(struct vm *vm)
{
    if (vm->hv != NULL && hvtlfs_kvm_freeze(vm->hv) == HVTLFS_OK) {
        (void)!hvtlfs_reference_time_set(hvtlfs_kvm_partition(vm->hv), vm_age(vm));
        (void)!hvtlfs_kvm_thaw(vm->hv, 0);
    }
}

struct hvtlfs_kvm *hyperv_wanted(struct vcpu *vcpu)
{
    struct vm *vm = vcpu->vm;

    if (vm->hv == NULL && !vm->refused && vcpu->leaves[1].eax == HV_CPUID_INTERFACE_HV1) {
        create(vm, vcpu);
    }
    return __atomic_load_n(&vcpu->attached, __ATOMIC_SEQ_CST) ? vm->hv : NULL;
}

void hyperv_vcpu_added(struct vm *vm, struct vcpu *vcpu)
{
    if (vm->hv != NULL) {
        attach(vm, vcpu);
    }
}

struct hvtlfs_vp *vcpu_vp(const struct vcpu *vcpu)
{
    return __atomic_load_n(&vcpu->attached, __ATOMIC_SEQ_CST)
               ? hvtlfs_partition_vp(hvtlfs_kvm_partition(vcpu->vm->hv), vcpu->vp_index)
               : NULL;
}

/* With the vCPU's lock. */
struct hvtlfs_vp *vcpu_ready(struct vcpu *vcpu)
{
    struct hvtlfs_vp *vp = vcpu_vp(vcpu);

    if (vp != NULL && __atomic_exchange_n(&vcpu->replays, false, __ATOMIC_SEQ_CST)) {
        msrs_replay(vcpu);
    }
    return vp;
}

/* The rates and offsets are read again; KVM has no word for "changed". While a VP is in the guest that
 * cannot be done, and a program that sets its TSC then gets what it deserves. */
void hyperv_tsc_changed(struct vm *vm)
{
    int saved = errno;

    (void)pthread_mutex_lock(&vm->lock);
    if (vm->hv != NULL && hvtlfs_kvm_freeze(vm->hv) == HVTLFS_OK) {
        (void)!hvtlfs_kvm_thaw(vm->hv, 0);
    }
    (void)pthread_mutex_unlock(&vm->lock);
    errno = saved;
}
