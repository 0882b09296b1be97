; SPDX-License-Identifier: MIT
; mul_div (hvtlfs_reftime_exact, hvtlfs_tsc_convert): dividing the upper half of a * b first and the
; remainder with the lower half then gives floor(a * b / divisor) modulo 2^64, and the second quotient
; fits 64 bits.
(set-logic QF_NIA)
(define-fun P () Int 18446744073709551616)
(declare-const high Int) ; a * b = high * 2^64 + low
(declare-const low Int)
(declare-const divisor Int)
(assert (and (<= 0 high) (< high P) (<= 0 low) (< low P) (< 0 divisor) (< divisor P)))
(declare-const q1 Int)
(declare-const r1 Int)
(declare-const q0 Int)
(declare-const r0 Int)
(declare-const q1d Int)
(declare-const q0d Int)
(assert (and (= q1d (* q1 divisor)) (= q0d (* q0 divisor))))
(assert (and (= high (+ q1d r1)) (<= 0 r1) (< r1 divisor)))
(assert (and (= (+ (* r1 P) low) (+ q0d r0)) (<= 0 r0) (< r0 divisor)))
(push 1)
(assert (not (and (<= 0 q0) (< q0 P))))
(check-sat)
(pop 1)
(push 1)
(assert (not (= (+ (* high P) low) (+ (* q1d P) q0d r0))))
(check-sat)
(pop 1)
