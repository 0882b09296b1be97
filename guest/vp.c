/* SPDX-License-Identifier: MIT */
#include "vp.h"

#include "apic.h"
#include "command_line.h"
#include "cpu.h"
#include "memory.h"
#include "text.h"

enum { IDT_INTERRUPT_GATE = 0x8E, IDT_USER_GATE = 0xEE, TSS_AVAILABLE = 0x89 };

struct gate {
    uint16_t offset_low;
    uint16_t selector;
    uint8_t stack;
    uint8_t type;
    uint16_t offset_middle;
    uint32_t offset_high;
    uint32_t reserved;
};

struct table_pointer {
    uint16_t limit;
    uint64_t base;
} __attribute__((packed));

/* struct vp at the bottom, the stack above it; see layout.h. */
union vp_area {
    struct vp vp;
    uint8_t bytes[VP_AREA_SIZE];
};

extern uint64_t gdt[];
extern const uint8_t trap_entries[];
extern const uint8_t guard_out[];
extern const uint8_t secondary16[];
extern const uint8_t secondary16_end[];
extern union vp_area vp_areas[BOOT_MAX_VPS];
void trap_entry(struct trap_frame *frame);

union vp_area vp_areas[BOOT_MAX_VPS] __attribute__((aligned(VP_AREA_SIZE)));
static struct gate idt[256];
static struct boot_info info;
static volatile bool open;

struct vp *this_vp(void)
{
    return (struct vp *)((uintptr_t)__builtin_frame_address(0) & ~(uintptr_t)(VP_AREA_SIZE - 1));
}

struct vp *vp_number(unsigned n)
{
    return &vp_areas[n].vp;
}

unsigned vp_count(void)
{
    return info.vp_count;
}

const struct boot_info *boot_info(void)
{
    return &info;
}

static void gate_set(unsigned vector)
{
    uint64_t entry = (uint64_t)(uintptr_t)trap_entries + (uint64_t)16 * vector;

    idt[vector] = (struct gate){
        .offset_low = (uint16_t)entry,
        .selector = GDT_CODE0,
        .type = vector == 3 ? IDT_USER_GATE : IDT_INTERRUPT_GATE,
        .offset_middle = (uint16_t)(entry >> 16),
        .offset_high = (uint32_t)(entry >> 32),
    };
}

/* A real machine, of which the command line says the rest. */
static void describe(const char *command_line)
{
    uint64_t vps = command_line_number(command_line, "vps=", 1);

    info.flags = (uint32_t)command_line_number(command_line, "flags=", BOOT_EVERYTHING);
    info.vp_count = vps >= 1 && vps <= BOOT_MAX_VPS ? (uint32_t)vps : 1;
    info.hole_gpa = command_line_number(command_line, "hole=", 0);
    info.argument = (uint32_t)command_line_number(command_line, "argument=", 0);
    if (info.vp_count > 1) {
        memcpy((void *)(uintptr_t)at_gpa(SECONDARY_GPA), secondary16,
               /* cppcheck-suppress comparePointers; two labels of one piece of assembler */
               (size_t)(secondary16_end - secondary16));
        apic_start_others(SECONDARY_GPA);
    }
}

void vp_open(const void *told)
{
    const struct boot_info *boot_info = told;

    for (unsigned vector = 0; vector < 256; vector++) {
        gate_set(vector);
    }
    if (told != NULL && boot_info->magic == BOOT_MAGIC) {
        info = *boot_info;
    } else {
        describe(command_line_of(told));
    }
    apic_page_only = apic_page_only || (info.flags & BOOT_APIC_PAGE) != 0;
    __atomic_store_n(&open, true, __ATOMIC_RELEASE);
}

static void tss_load(struct vp *vp)
{
    uint64_t base = (uint64_t)(uintptr_t)&vp->tss;
    uint64_t limit = sizeof vp->tss - 1;
    unsigned selector = GDT_TSS + 16 * vp->number;

    vp->tss.io_map = offsetof(struct tss, io_ports);
    vp->tss.io_end = 0xFF;
    gdt[selector / 8] =
        limit | (base & 0xFFFFFF) << 16 | (uint64_t)TSS_AVAILABLE << 40 | (base >> 24 & 0xFF) << 56;
    gdt[selector / 8 + 1] = base >> 32;
    __asm__ volatile("ltr %w0" : : "r"(selector) : "memory");
}

void vp_enter(unsigned number)
{
    struct table_pointer pointer = {sizeof idt - 1, (uint64_t)(uintptr_t)idt};
    struct vp *vp = this_vp();

    while (!__atomic_load_n(&open, __ATOMIC_ACQUIRE)) {
        cpu_pause();
    }
    vp->number = number;
    __asm__ volatile("lidt %0" : : "m"(pointer) : "memory");
    tss_load(vp);
    apic_enter();
    vp->present = 1;
}

void vp_serve(void)
{
    struct vp *vp = this_vp();

    for (;;) {
        void (*work)(void *) = __atomic_load_n(&vp->work, __ATOMIC_ACQUIRE);

        if (work != NULL) {
            vp->work_returned = guard_run(work, vp->work_argument);
            __atomic_store_n(&vp->work, NULL, __ATOMIC_RELEASE);
        }
        cpu_pause();
    }
}

void vp_start(unsigned n, void (*function)(void *), void *argument)
{
    struct vp *vp = vp_number(n);

    vp->work_argument = argument;
    __atomic_store_n(&vp->work, function, __ATOMIC_RELEASE);
}

bool vp_finished(unsigned n)
{
    return __atomic_load_n(&vp_number(n)->work, __ATOMIC_ACQUIRE) == NULL;
}

bool vp_wait(unsigned n)
{
    while (!vp_finished(n)) {
        cpu_pause();
    }
    return vp_number(n)->work_returned;
}

bool vp_run(unsigned n, void (*function)(void *), void *argument)
{
    if (vp_number(n) == this_vp()) {
        return guard_run(function, argument);
    }
    vp_start(n, function, argument);
    return vp_wait(n);
}

/* Nobody expected this one. */
static void trap_fatal(const struct trap_frame *frame)
{
    uint64_t cr2;

    __asm__ volatile("movq %%cr2, %0" : "=r"(cr2));
    print("Bail out! exception %lx error %lx at %lx cr2 %lx on VP %u\n", frame->vector,
          frame->error, frame->rip, cr2, this_vp()->number);
    finish(2);
}

static void trap_recover(struct vp *vp, struct trap_frame *frame)
{
    vp->fault = (struct fault){
        .vector = frame->vector,
        .error = frame->error,
        .rip = frame->rip,
        .rax = frame->rax,
        .cs = frame->cs,
    };
    frame->rip = (uint64_t)(uintptr_t)guard_out;
    frame->rsp = vp->guard;
    frame->cs = GDT_CODE0;
    frame->ss = GDT_DATA0;
    frame->rflags = 2;
    frame->rax = 0;
}

void trap_entry(struct trap_frame *frame)
{
    struct vp *vp = this_vp();

    if (frame->vector >= 32) {
        vp->arrivals[frame->vector].tsc = rdtsc();
        vp->arrivals[frame->vector].count++;
        if (vp->on_interrupt != NULL) {
            vp->on_interrupt(frame->vector);
        }
        if (!vp->arrivals[frame->vector].no_eoi) {
            apic_eoi();
        }
    } else if (vp->guard != 0) {
        trap_recover(vp, frame);
    } else {
        trap_fatal(frame);
    }
}
