(* SPDX-License-Identifier: MIT *)
(* The arithmetic of src/reftime.c, by the same names, over the integers: no axioms, every rate, every
   64-bit TSC. `coqc reftime.v` checks it and prints what each theorem rests on. *)
Require Import ZArith Lia Psatz.
Open Scope Z_scope.

Definition P := 18446744073709551616. (* 2^64 *)
Definition W := 4294967296.           (* 2^32 *)
Definition units := 10000000.         (* HVTLFS_REFTIME_HZ *)
Definition u64 (x : Z) := 0 <= x < P.

Lemma P_is_W2 : P = W * W. Proof. reflexivity. Qed.

(* ---- hvtlfs_mul_u64_hi ---- *)

Definition mul_u64_hi (a b : Z) :=
  let al := a mod W in let ah := a / W in
  let bl := b mod W in let bh := b / W in
  let t := ah * bl + al * bl / W in
  let u := al * bh + t mod W in
  ah * bh + t / W + u / W.

Lemma limbs : forall x, u64 x -> x = x / W * W + x mod W /\ 0 <= x / W < W /\ 0 <= x mod W < W.
Proof.
  intros x Hx. unfold u64, P, W in *.
  pose proof (Z.div_mod x 4294967296 ltac:(lia)).
  pose proof (Z.mod_pos_bound x 4294967296 ltac:(lia)).
  repeat split; try lia.
Qed.

(* The sums the C code computes in 64 bits stay there. *)
Theorem mul_u64_hi_no_overflow : forall a b, u64 a -> u64 b ->
  let t := a / W * (b mod W) + (a mod W) * (b mod W) / W in
  let u := (a mod W) * (b / W) + t mod W in
  u64 ((a mod W) * (b mod W)) /\ u64 t /\ u64 u.
Proof.
  intros a b Ha Hb. destruct (limbs a Ha) as (_ & ? & ?). destruct (limbs b Hb) as (_ & ? & ?).
  set (ah := a / W) in *. set (al := a mod W) in *. set (bh := b / W) in *. set (bl := b mod W) in *.
  assert (0 <= al * bl <= (W - 1) * (W - 1)) by (unfold W in *; nia).
  assert (0 <= al * bl / W <= W - 1).
  { split. apply Z.div_pos; unfold W in *; lia.
    apply Z.lt_succ_r. apply Z.div_lt_upper_bound; unfold W in *; lia. }
  set (c := al * bl / W) in *.
  assert (0 <= ah * bl <= (W - 1) * (W - 1)) by (unfold W in *; nia).
  assert (0 <= al * bh <= (W - 1) * (W - 1)) by (unfold W in *; nia).
  pose proof (Z.mod_pos_bound (ah * bl + c) W ltac:(reflexivity)).
  cbv zeta. unfold u64, P, W in *. lia.
Qed.

Theorem mul_u64_hi_correct : forall a b, u64 a -> u64 b -> mul_u64_hi a b = a * b / P.
Proof.
  intros a b Ha Hb. unfold mul_u64_hi.
  destruct (limbs a Ha) as (Ea & ? & ?). destruct (limbs b Hb) as (Eb & ? & ?).
  set (ah := a / W) in *. set (al := a mod W) in *. set (bh := b / W) in *. set (bl := b mod W) in *.
  pose proof (Z.div_mod (al * bl) W ltac:(discriminate)) as D1.
  pose proof (Z.mod_pos_bound (al * bl) W ltac:(reflexivity)) as M1.
  set (c := al * bl / W) in *. set (r := (al * bl) mod W) in *.
  pose proof (Z.div_mod (ah * bl + c) W ltac:(discriminate)) as D2.
  pose proof (Z.mod_pos_bound (ah * bl + c) W ltac:(reflexivity)) as M2.
  set (th := (ah * bl + c) / W) in *. set (tl := (ah * bl + c) mod W) in *.
  pose proof (Z.div_mod (al * bh + tl) W ltac:(discriminate)) as D3.
  pose proof (Z.mod_pos_bound (al * bh + tl) W ltac:(reflexivity)) as M3.
  set (uh := (al * bh + tl) / W) in *. set (ul := (al * bh + tl) mod W) in *.
  apply Z.div_unique with (r := ul * W + r).
  - left. unfold P, W in *. lia.
  - rewrite Ea, Eb. unfold P, W in *. nia.
Qed.

(* ---- hvtlfs_div_u128: the loop, in arithmetic modulo 2^64 as in C ---- *)

Definition step (divisor : Z) (state : Z * Z) : Z * Z :=
  let (high, low) := state in
  let carry := P / 2 <=? high in
  let high := (2 * high + low / (P / 2)) mod P in
  let low := (2 * low) mod P in
  if orb carry (divisor <=? high) then ((high - divisor) mod P, low + 1) else (high, low).

Fixpoint loop (n : nat) (divisor : Z) (state : Z * Z) : Z * Z :=
  match n with
  | O => state
  | S m => loop m divisor (step divisor state)
  end.

Definition div_u128 (high low divisor : Z) := snd (loop 64 divisor (high, low)).
Definition rem_u128 (high low divisor : Z) := fst (loop 64 divisor (high, low)).

(* With k steps to go, low holds k bits of the dividend above 64 - k bits of the quotient. *)
Definition inv (k : nat) (D divisor : Z) (state : Z * Z) :=
  exists a q, snd state = a * 2 ^ (64 - Z.of_nat k) + q /\
    0 <= a < 2 ^ Z.of_nat k /\ 0 <= q < 2 ^ (64 - Z.of_nat k) /\
    0 <= fst state < divisor /\
    D = (q * divisor + fst state) * 2 ^ Z.of_nat k + a.

Lemma step_inv : forall k D divisor state, (k < 64)%nat -> 0 < divisor < P ->
  inv (S k) D divisor state -> inv k D divisor (step divisor state).
Proof.
  intros k D divisor [high low] Hk Hd (a & q & Hl & Ha & Hq & Hh & HD). cbn [fst snd] in *.
  replace (64 - Z.of_nat (S k)) with (63 - Z.of_nat k) in * by lia.
  replace (Z.of_nat (S k)) with (Z.of_nat k + 1) in * by lia.
  set (K := Z.of_nat k) in *. assert (0 <= K <= 63) by (unfold K; lia).
  rewrite Z.pow_add_r in * by lia. change (2 ^ 1) with 2 in *.
  assert (E : 2 ^ (63 - K) * 2 ^ K = P / 2).
  { rewrite <- Z.pow_add_r by lia. replace (63 - K + K) with 63 by lia. reflexivity. }
  assert (E2 : 2 ^ (64 - K) = 2 * 2 ^ (63 - K)).
  { replace (64 - K) with (Z.succ (63 - K)) by lia. apply Z.pow_succ_r. lia. }
  set (B := 2 ^ K) in *. set (C := 2 ^ (63 - K)) in *.
  assert (0 < B) by (apply Z.pow_pos_nonneg; lia). assert (0 < C) by (apply Z.pow_pos_nonneg; lia).
  change (P / 2) with 9223372036854775808 in *.
  (* the bit that leaves low, and the rest *)
  set (bit := a / B). set (rest := a mod B).
  pose proof (Z.div_mod a B ltac:(lia)) as Da. pose proof (Z.mod_pos_bound a B ltac:(lia)) as Ma.
  fold bit rest in Da. fold rest in Ma.
  assert (Hb : 0 <= bit < 2).
  { split. apply Z.div_pos; lia. apply Z.div_lt_upper_bound; lia. }
  assert (Hlow : low = bit * 9223372036854775808 + (rest * C + q)).
  { rewrite Hl, Da, <- E. ring. }
  assert (Hrest : 0 <= rest * C + q < 9223372036854775808).
  { assert (0 <= rest * C <= (B - 1) * C).
    { split. apply Z.mul_nonneg_nonneg; lia. apply Z.mul_le_mono_nonneg_r; lia. }
    assert ((B - 1) * C = 9223372036854775808 - C) by (rewrite <- E; ring). lia. }
  assert (Hdiv : low / 9223372036854775808 = bit).
  { symmetry. apply Z.div_unique with (r := rest * C + q). left; lia. lia. }
  assert (Hmod : (2 * low) mod P = 2 * (rest * C + q)).
  { symmetry. apply Z.mod_unique with (q := bit). left. unfold P. lia. unfold P. lia. }
  unfold step. change (P / 2) with 9223372036854775808. rewrite Hdiv, Hmod.
  set (full := 2 * high + bit). assert (Hf : 0 <= full < 2 * divisor) by (unfold full; lia).
  destruct (Z.leb_spec 9223372036854775808 high) as [Hc | Hc].
  - (* carry: full has 65 bits *)
    assert (Hw : full mod P = full - P).
    { symmetry. apply Z.mod_unique with (q := 1). left. unfold full, P in *; lia. unfold P; lia. }
    rewrite Hw. simpl orb. cbv iota.
    assert (divisor <= full) by (unfold full, P in *; lia).
    assert (Hs : (full - P - divisor) mod P = full - divisor).
    { symmetry. apply Z.mod_unique with (q := -1). left. unfold full, P in *; lia. unfold P; lia. }
    rewrite Hs. exists rest, (2 * q + 1). cbn [fst snd]. fold K. rewrite E2. fold B C.
    repeat split; try lia; try ring; unfold full; rewrite HD, Da; ring.
  - assert (Hw : full mod P = full) by (apply Z.mod_small; unfold full, P in *; lia).
    rewrite Hw. simpl orb. destruct (Z.leb_spec divisor full) as [Hg | Hg].
    + assert (Hs : (full - divisor) mod P = full - divisor) by (apply Z.mod_small; unfold P in *; lia).
      rewrite Hs. exists rest, (2 * q + 1). cbn [fst snd]. fold K. rewrite E2. fold B C.
      repeat split; try lia; try ring; unfold full; rewrite HD, Da; ring.
    + exists rest, (2 * q). cbn [fst snd]. fold K. rewrite E2. fold B C.
      repeat split; try lia; try ring; unfold full; rewrite HD, Da; ring.
Qed.

Lemma loop_inv : forall k D divisor state, (k <= 64)%nat -> 0 < divisor < P ->
  inv k D divisor state -> inv 0 D divisor (loop k divisor state).
Proof.
  induction k; intros; simpl; auto. apply IHk; try lia. apply step_inv; auto; lia.
Qed.

Theorem div_u128_correct : forall high low divisor, 0 <= high < divisor -> u64 low -> divisor < P ->
  div_u128 high low divisor = (high * P + low) / divisor /\
  rem_u128 high low divisor = (high * P + low) mod divisor /\
  u64 (div_u128 high low divisor).
Proof.
  intros high low divisor Hh Hl Hd.
  assert (I : inv 0 (high * P + low) divisor (loop 64 divisor (high, low))).
  { apply loop_inv; [lia | lia |]. exists low, 0. cbn [fst snd].
    change (Z.of_nat 64) with 64. change (2 ^ (64 - 64)) with 1. change (2 ^ 64) with P.
    unfold u64 in *. repeat split; lia. }
  unfold div_u128, rem_u128. destruct I as (a & q & E & Ha & Hq & Hr & HD).
  change (Z.of_nat 0) with 0 in *. change (64 - 0) with 64 in *. change (2 ^ 0) with 1 in *.
  change (2 ^ 64) with P in *. assert (a = 0) by lia. subst a. rewrite E.
  set (r := fst (loop 64 divisor (high, low))) in *.
  replace (0 * P + q) with q by lia. repeat split; try lia.
  - apply Z.div_unique with (r := r). left; lia. lia.
  - apply Z.mod_unique with (q := q). left; lia. lia.
Qed.

(* ---- hvtlfs_reftime_scale ---- *)

Definition scale (hz : Z) := units * P / hz.

Theorem scale_fits : forall hz, 0 < hz -> (u64 (scale hz) <-> units < hz).
Proof.
  intros hz H. unfold u64, scale, units, P. split; intro F.
  - destruct (Z_lt_le_dec 10000000 hz) as [? | Hle]; auto. exfalso.
    assert (18446744073709551616 <= 10000000 * 18446744073709551616 / hz); [| lia].
    apply Z.div_le_lower_bound; nia.
  - split. apply Z.div_pos; lia. apply Z.div_lt_upper_bound; nia.
Qed.

Theorem scale_is_div_u128 : forall hz, units < hz < P -> div_u128 units 0 hz = scale hz.
Proof.
  intros hz H. unfold scale. destruct (div_u128_correct units 0 hz) as (E & _); unfold u64, units, P in *;
  try lia. rewrite E. f_equal.
Qed.

(* ---- hvtlfs_reftime_from_tsc, without its offset ---- *)

Definition rt (t s : Z) := t * s / P.

Theorem monotone : forall t1 t2 s, 0 <= s -> t1 <= t2 -> rt t1 s <= rt t2 s.
Proof. intros. unfold rt. apply Z.div_le_mono. reflexivity. nia. Qed.

Theorem error_0_or_1 : forall t hz, units < hz -> u64 t ->
  let exact := t * units / hz in
  exact = rt t (scale hz) \/ exact = rt t (scale hz) + 1.
Proof.
  intros t hz H Ht. cbv zeta. unfold rt.
  assert (Hs : scale hz * hz <= units * P < (scale hz + 1) * hz).
  { unfold scale. unfold units in *.
    pose proof (Z.div_mod (10000000 * P) hz ltac:(lia)).
    pose proof (Z.mod_pos_bound (10000000 * P) hz ltac:(lia)). lia. }
  set (s := scale hz) in *. clearbody s.
  pose proof (Z.div_mod (t * s) P ltac:(discriminate)) as D1.
  pose proof (Z.mod_pos_bound (t * s) P ltac:(reflexivity)) as M1.
  set (h := t * s / P) in *. set (m := (t * s) mod P) in *. clearbody h m.
  unfold u64, units in *.
  assert (h <= t * 10000000 / hz).
  { apply Z.div_le_lower_bound; [lia |].
    apply Z.mul_le_mono_pos_r with (p := P); [reflexivity |]. nia. }
  assert (t * 10000000 / hz < h + 2).
  { apply Z.div_lt_upper_bound; [lia |].
    apply Z.mul_lt_mono_pos_r with (p := P); [reflexivity |]. nia. }
  lia.
Qed.

(* ---- hvtlfs_reftime_first_tsc ---- *)

Definition first_tsc (u s : Z) := u * P / s + (if (u * P) mod s =? 0 then 0 else 1).

Theorem first_tsc_reaches : forall u s, 0 <= u -> 0 < s -> u <= rt (first_tsc u s) s.
Proof.
  intros u s Hu Hs. unfold rt, first_tsc.
  pose proof (Z.div_mod (u * P) s ltac:(lia)). pose proof (Z.mod_pos_bound (u * P) s Hs).
  apply Z.div_le_lower_bound; [reflexivity |].
  destruct (Z.eqb_spec ((u * P) mod s) 0); nia.
Qed.

Theorem first_tsc_is_first : forall u s t, 0 <= u -> 0 < s -> t < first_tsc u s -> rt t s < u.
Proof.
  intros u s t Hu Hs Ht. unfold rt, first_tsc in *.
  pose proof (Z.div_mod (u * P) s ltac:(lia)). pose proof (Z.mod_pos_bound (u * P) s Hs).
  apply Z.div_lt_upper_bound; [reflexivity |].
  destruct (Z.eqb_spec ((u * P) mod s) 0); nia.
Qed.

Theorem first_tsc_fits : forall u s, 0 <= u -> u64 s -> 0 < s ->
  (u64 (first_tsc u s) <-> u < s).
Proof.
  intros u s Hu Hs Hp. unfold u64 in *. split; intro H.
  - destruct (Z_lt_le_dec u s) as [? | Hle]; auto. exfalso.
    pose proof (first_tsc_reaches u s Hu Hp) as R.
    assert (rt (first_tsc u s) s < s); [| lia].
    unfold rt. apply Z.div_lt_upper_bound; [reflexivity |]. nia.
  - unfold first_tsc in *.
    pose proof (Z.div_mod (u * P) s ltac:(lia)). pose proof (Z.mod_pos_bound (u * P) s Hp).
    assert (0 <= u * P / s) by (apply Z.div_pos; unfold P in *; lia).
    destruct (Z.eqb_spec ((u * P) mod s) 0); unfold P in *; nia.
Qed.

(* ---- hvtlfs_reftime_offset ---- *)

(* From (t0, r0) on with another scale: exactly r0 there, and never less. *)
Theorem continuity : forall t0 t r0 s, 0 <= s -> t0 <= t ->
  let offset := r0 - rt t0 s in rt t0 s + offset = r0 /\ r0 <= rt t s + offset.
Proof.
  intros t0 t r0 s Hs Ht. cbv zeta. pose proof (monotone t0 t s Hs Ht). lia.
Qed.

(* What has passed since is what truly has, give or take a unit. *)
Theorem elapsed_within_one : forall t0 t hz, units < hz -> u64 t -> 0 <= t0 <= t ->
  let passed := rt t (scale hz) - rt t0 (scale hz) in
  let exact := (t - t0) * units / hz in
  exact - 1 <= passed <= exact + 1.
Proof.
  intros t0 t hz H Ht H0. cbv zeta.
  assert (u64 (t - t0)) as Hd by (unfold u64 in *; lia).
  pose proof (error_0_or_1 (t - t0) hz H Hd) as E. cbv zeta in E.
  assert (rt (t - t0) (scale hz) <= rt t (scale hz) - rt t0 (scale hz) <= rt (t - t0) (scale hz) + 1).
  { unfold rt. set (s := scale hz).
    pose proof (Z.div_mod (t * s) P ltac:(discriminate)).
    pose proof (Z.mod_pos_bound (t * s) P ltac:(reflexivity)).
    pose proof (Z.div_mod (t0 * s) P ltac:(discriminate)).
    pose proof (Z.mod_pos_bound (t0 * s) P ltac:(reflexivity)).
    pose proof (Z.div_mod ((t - t0) * s) P ltac:(discriminate)).
    pose proof (Z.mod_pos_bound ((t - t0) * s) P ltac:(reflexivity)).
    rewrite Z.mul_sub_distr_r in *. unfold P in *. lia. }
  lia.
Qed.

Print Assumptions mul_u64_hi_no_overflow.
Print Assumptions mul_u64_hi_correct.
Print Assumptions div_u128_correct.
Print Assumptions scale_fits.
Print Assumptions scale_is_div_u128.
Print Assumptions monotone.
Print Assumptions error_0_or_1.
Print Assumptions first_tsc_reaches.
Print Assumptions first_tsc_is_first.
Print Assumptions first_tsc_fits.
Print Assumptions continuity.
Print Assumptions elapsed_within_one.
