/* SPDX-License-Identifier: MIT */
/* The two entries of the image, the descriptor table and the page tables. */
#include "layout.h"

#define BOOT_MAX_VPS 64         /* as in boot.h, which is C */

#define CR0_PE 0x1
#define CR0_MP 0x2
#define CR0_EM 0x4
#define CR0_TS 0x8
#define CR0_NE 0x20
#define CR0_WP 0x10000
#define CR0_PG 0x80000000
#define CR4_PAE 0x20
#define CR4_OSFXSR 0x200
#define CR4_OSXMMEXCPT 0x400
#define MSR_EFER 0xC0000080
#define EFER_LME 0x100

    .section .note.pvh, "a", @note
    .balign 4
    .long 4, 8, 18              /* name size, descriptor size, XEN_ELFNOTE_PHYS32_ENTRY */
    .asciz "Xen"
    .quad start32

    .text

/* PVH: 32-bit protected mode, flat segments, no paging, EBX = hvm_start_info. Go on as VP 0. */
    .code32
    .globl start32
start32:
    cli
    cld
    movb $0xff, %al             /* a machine with this entry has 8259s, which its firmware left open */
    outb %al, $0x21
    outb %al, $0xa1
    movl %ebx, %edi
    xorl %esi, %esi
to_long_mode:
    movl $pml4, %eax
    movl %eax, %cr3
    movl %cr4, %eax
    orl $CR4_PAE, %eax
    movl %eax, %cr4
    movl $MSR_EFER, %ecx
    rdmsr
    orl $EFER_LME, %eax
    wrmsr
    movl %cr0, %eax
    orl $(CR0_PE | CR0_PG), %eax
    movl %eax, %cr0
    lgdt gdt_pointer
    ljmpl $GDT_CODE0, $start64

/* Behind a SIPI: real mode, at SECONDARY_GPA. The number of the VP is its APIC's identifier. */
    .code16
    .globl secondary16
secondary16:
    cli
    cld
    lgdtl %cs:(secondary_gdt - secondary16)
    movl %cr0, %eax
    orl $CR0_PE, %eax
    movl %eax, %cr0
    ljmpl $GDT_CODE32, $secondary32
    .balign 8
secondary_gdt:
    .word gdt_end - gdt - 1
    .long gdt
    .globl secondary16_end
secondary16_end:
    .code32
secondary32:
    movl $GDT_DATA0, %eax
    movl %eax, %ds
    movl %eax, %es
    movl %eax, %ss
    movl $1, %eax
    cpuid
    shrl $24, %ebx
    movl %ebx, %esi
    xorl %edi, %edi
    cmpl $BOOT_MAX_VPS, %esi
    jb to_long_mode
1:  hlt                         /* more than there is room for */
    jmp 1b

/* RDI = boot_info, hvm_start_info or 0, RSI = number of the VP. */
    .code64
    .globl start64
start64:
    cli
    cld
    movl %esi, %eax
    incq %rax
    imulq $VP_AREA_SIZE, %rax, %rax
    leaq vp_areas(%rax), %rsp

    /* SSE must be on for hypercalls with input in XMM registers; WP so that the page tables, not the
     * privilege level, decide about stores. CR4.PAE comes first: paging may be off here. */
    movq %cr4, %rax
    orq $(CR4_PAE | CR4_OSFXSR | CR4_OSXMMEXCPT), %rax
    movq %rax, %cr4
    movq $pml4, %rax
    movq %rax, %cr3
    movq %cr0, %rax
    andq $~(CR0_EM | CR0_TS), %rax
    movl $(CR0_PG | CR0_WP | CR0_NE | CR0_MP | CR0_PE), %edx
    orq %rdx, %rax
    movq %rax, %cr0

    lgdt gdt_pointer
    movl $GDT_DATA0, %eax
    movl %eax, %ds
    movl %eax, %es
    movl %eax, %ss
    pushq $GDT_CODE0
    pushq $1f
    lretq
1:  xorl %ebp, %ebp
    call guest_entry            /* does not return */
    ud2

    .data
    .balign 16
    .globl gdt
gdt:
    .quad 0
    .quad 0x00AF9B000000FFFF    /* 64-bit code, ring 0 */
    .quad 0x00CF93000000FFFF    /* data, ring 0 */
    .quad 0x00CFF3000000FFFF    /* data, ring 3 */
    .quad 0x00AFFB000000FFFF    /* 64-bit code, ring 3 */
    .quad 0x00CF9B000000FFFF    /* 32-bit code, ring 0 */
    .fill 2 * 64, 8, 0          /* a TSS for each VP, filled by vp_enter() */
gdt_end:
    .balign 8
    .word 0, 0, 0
gdt_pointer:
    .word gdt_end - gdt - 1
    .quad gdt

/* Identity map of the first 4 GiB in pages of 2 MiB, open to ring 3 (one test runs there); uncached
 * from 3 GiB on, where devices are. Above it the window. Written out here so that both entries find
 * them ready. */
    .balign 4096
    .globl pml4
pml4:
    .quad pdpt + 7
    .fill 511, 8, 0
pdpt:
    .quad directories + 7
    .quad directories + 0x1000 + 7
    .quad directories + 0x2000 + 7
    .quad directories + 0x3000 + 7
    .quad window_directory + 7
    .fill 507, 8, 0
directories:
    .set address, 0
    .rept 1536
    .quad address + 0x87
    .set address, address + 0x200000
    .endr
    .rept 512
    .quad address + 0x9F
    .set address, address + 0x200000
    .endr
window_directory:
    .quad window_table + 7
    .fill 511, 8, 0
    .globl window_table
window_table:
    .fill WINDOW_PAGES, 8, 0

    .section .note.GNU-stack, "", @progbits
