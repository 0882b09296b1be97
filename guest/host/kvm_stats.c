/* SPDX-License-Identifier: MIT */
/* What the kernel counts for each VP: a file that describes itself (KVM_GET_STATS_FD). */
#include "kvm_stats.h"

#include <stdbool.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <linux/kvm.h>

enum { NAME_MAX_BYTES = 64 };

/* struct kvm_stats_desc ends in a name of the length that the header tells. */
union description {
    struct kvm_stats_desc desc;
    uint8_t room[sizeof(struct kvm_stats_desc) + NAME_MAX_BYTES];
};

static bool is_called(const union description *row, uint32_t name_size, const char *name)
{
    const char *own = (const char *)row->room + sizeof row->desc;

    return strnlen(own, name_size) == strlen(name) && memcmp(own, name, strlen(name)) == 0;
}

static uint64_t search(int file, const char *name)
{
    struct kvm_stats_header header;
    union description row;
    uint64_t value = 0;

    if (pread(file, &header, sizeof header, 0) != (ssize_t)sizeof header ||
        header.name_size > NAME_MAX_BYTES) {
        return 0;
    }
    for (uint32_t i = 0; i < header.num_desc; i++) {
        size_t size = sizeof row.desc + header.name_size;

        if (pread(file, row.room, size, (off_t)(header.desc_offset + i * size)) == (ssize_t)size &&
            is_called(&row, header.name_size, name)) {
            off_t at = (off_t)header.data_offset + (off_t)row.desc.offset;

            return pread(file, &value, sizeof value, at) == (ssize_t)sizeof value ? value : 0;
        }
    }
    return 0;
}

int kvm_stats_open(int vp_fd)
{
    return ioctl(vp_fd, KVM_GET_STATS_FD, NULL);
}

/* The kernel counts all exits, also those that it serves itself; how many were of its own making - the
 * host's interrupts and our signals - it tells as well. */
uint64_t kvm_stats_exits(int file)
{
    return search(file, "exits") - search(file, "irq_exits") - search(file, "signal_exits");
}
