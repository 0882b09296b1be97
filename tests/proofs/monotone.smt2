; SPDX-License-Identifier: MIT
; hvtlfs_reftime_from_tsc: time does not fall while the TSC rises; any scale.
; h1 = high64(t1 * scale), h2 = high64(t2 * scale).
(set-logic QF_NIA)
(define-fun P () Int 18446744073709551616)
(declare-const t1 Int)
(declare-const t2 Int)
(declare-const scale Int)
(declare-const h1 Int)
(declare-const h2 Int)
(assert (and (<= 0 scale) (<= 0 t1) (<= t1 t2) (< t2 P)))
(assert (and (<= (* h1 P) (* t1 scale)) (< (* t1 scale) (* (+ h1 1) P))))
(assert (and (<= (* h2 P) (* t2 scale)) (< (* t2 scale) (* (+ h2 1) P))))
(assert (> h1 h2))
(check-sat)
