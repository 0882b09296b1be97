; SPDX-License-Identifier: MIT
; hvtlfs_reftime_from_tsc: for every TSC and every rate above 10 MHz the page's time h is the exact
; time q = floor(tsc * 10^7 / hz) or one unit less.
;
;   e    what rounding the scale loses:    10^7 * 2^64 = scale * hz + e
;   gap  what rounding the time loses:     t * scale = h * 2^64 + gap
;
; Each lemma stands in a scope of its own with no more than it needs; the last step but one uses what
; they give, with a name for each product, and is linear.
(set-logic QF_NIA)
(define-fun P () Int 18446744073709551616)
(declare-const t Int)
(declare-const hz Int)
(declare-const scale Int)
(declare-const e Int)
(declare-const q Int)
(declare-const h Int)
(declare-const gap Int)
; 1. 0 <= t * e < 2^64 * hz
(push 1)
(assert (and (< 0 hz) (<= 0 t) (< t P) (<= 0 e) (< e hz)))
(assert (not (and (<= 0 (* t e)) (< (* t e) (* P hz)))))
(check-sat)
(pop 1)
; 2. 0 <= gap * hz < 2^64 * hz
(push 1)
(assert (and (< 0 hz) (<= 0 gap) (< gap P)))
(assert (not (and (<= 0 (* gap hz)) (< (* gap hz) (* P hz)))))
(check-sat)
(pop 1)
; 3. t * 10^7 * 2^64 = t * scale * hz + t * e
(push 1)
(assert (= (* 10000000 P) (+ (* scale hz) e)))
(assert (not (= (* t (* 10000000 P)) (+ (* t scale hz) (* t e)))))
(check-sat)
(pop 1)
; 4. t * scale * hz = h * hz * 2^64 + gap * hz
(push 1)
(declare-const ts Int)
(assert (= ts (+ (* h P) gap)))
(assert (not (= (* ts hz) (+ (* P (* h hz)) (* gap hz)))))
(check-sat)
(pop 1)
; 5. together: h * hz < (q + 1) * hz and q * hz < (h + 2) * hz
(push 1)
(declare-const te Int)
(declare-const tsh Int)
(declare-const gh Int)
(declare-const hh Int)
(declare-const qh Int)
(assert (< 0 hz))
(assert (and (<= 0 te) (< te (* P hz)) (<= 0 gh) (< gh (* P hz))))
(assert (= (* t (* 10000000 P)) (+ tsh te)))
(assert (= tsh (+ (* P hh) gh)))
(assert (and (<= qh (* 10000000 t)) (< (* 10000000 t) (+ qh hz))))
(assert (not (and (< hh (+ qh hz)) (< qh (+ hh (* 2 hz))))))
(check-sat)
(pop 1)
; 6. the claim
(push 1)
(assert (< 0 hz))
(assert (and (< (* h hz) (* (+ q 1) hz)) (< (* q hz) (* (+ h 2) hz))))
(assert (not (and (<= h q) (<= q (+ h 1)))))
(check-sat)
(pop 1)
