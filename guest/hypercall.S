/* SPDX-License-Identifier: MIT */
/* Calls into the hypercall page. */
    .text

/* uint64_t hypercall_at(const void *page, uint64_t control, uint64_t input, uint64_t output):
 * the 64-bit convention of TLFS 3.7 with RCX, RDX, R8; both the memory and the fast form. */
    .globl hypercall_at
hypercall_at:
    subq $8, %rsp
    movq %rcx, %r8
    movq %rsi, %rcx
    call *%rdi
    addq $8, %rsp
    ret

/* void hypercall_registers_at(const void *page, struct hypercall_registers *): every register loaded
 * from the struct before and stored to it after, for XMM input and to see what a call changes. */
    .globl hypercall_registers_at
hypercall_registers_at:
    pushq %rbp
    pushq %rbx
    pushq %r12
    pushq %r13
    pushq %r14
    pushq %r15
    pushq %rsi
    pushq %rdi
    subq $8, %rsp
    movq %rsi, %rax
    movups 112(%rax), %xmm0
    movups 128(%rax), %xmm1
    movups 144(%rax), %xmm2
    movups 160(%rax), %xmm3
    movups 176(%rax), %xmm4
    movups 192(%rax), %xmm5
    movq 8(%rax), %rbx
    movq 16(%rax), %rcx
    movq 24(%rax), %rdx
    movq 32(%rax), %rsi
    movq 40(%rax), %rdi
    movq 48(%rax), %r8
    movq 56(%rax), %r9
    movq 64(%rax), %r10
    movq 72(%rax), %r11
    movq 80(%rax), %r12
    movq 88(%rax), %r13
    movq 96(%rax), %r14
    movq 104(%rax), %r15
    movq 0(%rax), %rax
    call *8(%rsp)
    movq %rax, (%rsp)
    movq 16(%rsp), %rax
    movq %rbx, 8(%rax)
    movq %rcx, 16(%rax)
    movq %rdx, 24(%rax)
    movq %rsi, 32(%rax)
    movq %rdi, 40(%rax)
    movq %r8, 48(%rax)
    movq %r9, 56(%rax)
    movq %r10, 64(%rax)
    movq %r11, 72(%rax)
    movq %r12, 80(%rax)
    movq %r13, 88(%rax)
    movq %r14, 96(%rax)
    movq %r15, 104(%rax)
    movups %xmm0, 112(%rax)
    movups %xmm1, 128(%rax)
    movups %xmm2, 144(%rax)
    movups %xmm3, 160(%rax)
    movups %xmm4, 176(%rax)
    movups %xmm5, 192(%rax)
    movq (%rsp), %rcx
    movq %rcx, 0(%rax)
    addq $24, %rsp
    popq %r15
    popq %r14
    popq %r13
    popq %r12
    popq %rbx
    popq %rbp
    ret

    .section .note.GNU-stack, "", @progbits
