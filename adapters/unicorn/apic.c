/* SPDX-License-Identifier: MIT */
#include "apic.h"

enum {
    ICR_SHORTHAND_SHIFT = 18,
    ICR_LOGICAL = 1 << 11,
    BASE_BOOT_PROCESSOR = 1 << 8,
    BASE_ENABLE = 1 << 11,
    SPURIOUS_RESET = 0xFF,
};

#define APIC_ADDRESS UINT64_C(0xFEE00000)
#define BROADCAST UINT32_C(0xFFFFFFFF)

enum { SHORTHAND_NONE, SHORTHAND_SELF, SHORTHAND_ALL, SHORTHAND_OTHERS };

static void bit_set(uint64_t bits[4], uint32_t vector, bool value)
{
    uint64_t mask = UINT64_C(1) << (vector & 63);

    if (value) {
        bits[vector >> 6 & 3] |= mask;
    } else {
        bits[vector >> 6 & 3] &= ~mask;
    }
}

static int highest(const uint64_t bits[4])
{
    for (int word = 3; word >= 0; word--) {
        if (bits[word] != 0) {
            return 64 * word + 63 - __builtin_clzll(bits[word]);
        }
    }
    return APIC_NO_VECTOR;
}

void apic_init(struct apic *apic, uint32_t id, bool boot_processor)
{
    *apic = (struct apic){
        .id = id,
        .spurious = SPURIOUS_RESET,
        .base = APIC_ADDRESS | BASE_ENABLE | (boot_processor ? BASE_BOOT_PROCESSOR : 0),
    };
}

void apic_request(struct apic *apic, uint32_t vector, bool auto_eoi)
{
    bit_set(apic->requested, vector, true);
    bit_set(apic->auto_eoi, vector, auto_eoi);
}

int apic_next(const struct apic *apic)
{
    int vector = highest(apic->requested);
    int serving = highest(apic->in_service);

    if (vector == APIC_NO_VECTOR || vector >> 4 <= (int)(apic->tpr >> 4 & 15) ||
        (serving != APIC_NO_VECTOR && vector >> 4 <= serving >> 4)) {
        return APIC_NO_VECTOR;
    }
    return vector;
}

void apic_accept(struct apic *apic, uint32_t vector)
{
    bool auto_eoi = (apic->auto_eoi[vector >> 6 & 3] >> (vector & 63) & 1) != 0;

    bit_set(apic->requested, vector, false);
    bit_set(apic->auto_eoi, vector, false);
    if (!auto_eoi) {
        bit_set(apic->in_service, vector, true);
    }
}

int apic_in_service(const struct apic *apic)
{
    return highest(apic->in_service);
}

bool apic_pending(const struct apic *apic)
{
    return highest(apic->requested) != APIC_NO_VECTOR;
}

void apic_eoi(struct apic *apic)
{
    int vector = highest(apic->in_service);

    if (vector != APIC_NO_VECTOR) {
        bit_set(apic->in_service, (uint32_t)vector, false);
    }
}

bool apic_addressed(const struct apic *apic, uint64_t icr, const struct apic *sender)
{
    uint32_t destination = (uint32_t)(icr >> 32);

    switch (icr >> ICR_SHORTHAND_SHIFT & 3) {
    case SHORTHAND_SELF:
        return apic == sender;
    case SHORTHAND_ALL:
        return true;
    case SHORTHAND_OTHERS:
        return apic != sender;
    case SHORTHAND_NONE:
    default:
        break;
    }
    if (icr & ICR_LOGICAL) {
        return destination >> 16 == apic->id >> 4 && (destination >> (apic->id & 15) & 1) != 0;
    }
    return destination == apic->id || destination == BROADCAST;
}
