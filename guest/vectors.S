/* SPDX-License-Identifier: MIT */
/* Where exceptions and interrupts arrive, and the ways out that survive one. */
#include "layout.h"

    .text

/* 256 entries of 16 bytes each. Those exceptions that push no error code get a 0, so that every frame
 * has the shape of struct trap_frame. */
    .balign 16
    .globl trap_entries
trap_entries:
    .set vector, 0
    .rept 256
    .balign 16
    .if !(vector == 8 || (vector >= 10 && vector <= 14) || vector == 17 || vector == 21 || \
          vector == 29 || vector == 30)
    pushq $0
    .endif
    pushq $vector
    jmp trap_common
    .set vector, vector + 1
    .endr

trap_common:
    pushq %rax
    pushq %rbx
    pushq %rcx
    pushq %rdx
    pushq %rsi
    pushq %rdi
    pushq %rbp
    pushq %r8
    pushq %r9
    pushq %r10
    pushq %r11
    pushq %r12
    pushq %r13
    pushq %r14
    pushq %r15
    cld
    movq %rsp, %rdi
    call trap_entry
    popq %r15
    popq %r14
    popq %r13
    popq %r12
    popq %r11
    popq %r10
    popq %r9
    popq %r8
    popq %rbp
    popq %rdi
    popq %rsi
    popq %rdx
    popq %rcx
    popq %rbx
    popq %rax
    addq $16, %rsp
    iretq

/* bool guard_run(void (*function)(void *), void *argument): whether function returned. If anything in
 * it faults, trap_entry() continues at guard_out with the stack as it is here and RAX = 0. */
    .globl guard_run
guard_run:
    pushq %rbp
    pushq %rbx
    pushq %r12
    pushq %r13
    pushq %r14
    pushq %r15
    movq %rsp, %rax
    andq $-VP_AREA_SIZE, %rax
    pushq VP_GUARD(%rax)
    movq %rsp, VP_GUARD(%rax)
    movq %rdi, %rax
    movq %rsi, %rdi
    call *%rax
    movl $1, %eax
    .globl guard_out
guard_out:
    movq %rsp, %rcx
    andq $-VP_AREA_SIZE, %rcx
    popq VP_GUARD(%rcx)
    popq %r15
    popq %r14
    popq %r13
    popq %r12
    popq %rbx
    popq %rbp
    ret

/* void user_enter(const struct user_call *): to ring 3, only inside guard_run(): it comes back as a
 * fault. Ring 3 may use I/O ports (by the bitmap of its TSS), because a hypercall page may trap by OUT,
 * and then the hypervisor must see it, not the I/O permission check. The fault's frame goes where the
 * guard's stack ends; what lies below is never returned to. */
    .globl user_enter
user_enter:
    movq %rsp, %rax
    andq $-VP_AREA_SIZE, %rax
    movq VP_GUARD(%rax), %rcx
    movq %rcx, VP_TSS_RSP0(%rax)
    pushq $GDT_DATA3
    pushq 8(%rdi)
    pushq $0x2
    pushq $GDT_CODE3
    pushq $user_code
    movq 0(%rdi), %rax
    movq 16(%rdi), %rcx
    movq 24(%rdi), %rdx
    movq 32(%rdi), %r8
    iretq

/* Ring 3: call what RAX points to; HLT gives #GP there and so tells that the call returned. */
user_code:
    call *%rax
    .globl user_done
user_done:
    hlt

    .section .note.GNU-stack, "", @progbits
