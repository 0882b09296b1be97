; SPDX-License-Identifier: MIT
; hvtlfs_div_u128: one step of the loop. Before it high < divisor, and what has been taken in of the
; dividend so far is d = q * divisor + high. The step takes in one more bit b: doubles high modulo 2^64
; with the carry kept aside, subtracts modulo 2^64 if carry or high >= divisor. After it the same holds.
; By induction over 64 steps: quotient and remainder. (The whole loop: reftime.v.)
(set-logic QF_NIA)
(define-fun P () Int 18446744073709551616)
(declare-const divisor Int)
(declare-const high Int)
(declare-const q Int)
(declare-const d Int)
(declare-const b Int)
(assert (and (< 0 divisor) (< divisor P) (<= 0 high) (< high divisor) (<= 0 q) (<= 0 b) (<= b 1)))
(declare-const qd Int)
(assert (and (= qd (* q divisor)) (= d (+ qd high))))
(define-fun carry () Bool (>= high 9223372036854775808))
(define-fun doubled () Int (- (+ (* 2 high) b) (ite carry P 0)))
(define-fun subtract () Bool (or carry (>= doubled divisor)))
(define-fun wrapped () Int (ite (>= doubled divisor) (- doubled divisor) (+ (- doubled divisor) P)))
(define-fun high2 () Int (ite subtract wrapped doubled))
(define-fun q2 () Int (+ (* 2 q) (ite subtract 1 0)))
; no intermediate value leaves 64 bits
(push 1)
(assert (not (and (<= 0 doubled) (< doubled P) (<= 0 high2) (< high2 P))))
(check-sat)
(pop 1)
; the remainder stays below the divisor
(push 1)
(assert (not (and (<= 0 high2) (< high2 divisor))))
(check-sat)
(pop 1)
; 2 * d + b = q2 * divisor + high2
(push 1)
(assert (not (= (+ (* 2 d) b) (+ (* 2 qd) (ite subtract divisor 0) high2))))
(check-sat)
(pop 1)
