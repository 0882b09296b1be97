; SPDX-License-Identifier: MIT
; hvtlfs_reftime_scale: floor(10^7 * 2^64 / hz) fits 64 bits exactly when hz > 10^7.
; Division-free: scale * hz <= 10^7 * 2^64 < (scale + 1) * hz. Each check-sat must answer unsat.
(set-logic QF_NIA)
(define-fun P () Int 18446744073709551616)
(declare-const hz Int)
(declare-const scale Int)
(assert (and (< 0 hz) (< hz P) (<= 0 scale)))
(assert (<= (* scale hz) (* 10000000 P)))
(assert (< (* 10000000 P) (* (+ scale 1) hz)))
(push 1)
(assert (and (> hz 10000000) (>= scale P)))
(check-sat)
(pop 1)
(push 1)
(assert (and (<= hz 10000000) (< scale P)))
(check-sat)
(pop 1)
