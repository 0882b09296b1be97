-- SPDX-License-Identifier: MIT
--
-- A SINT's messages from the poster to the guest (src/synic.c): inbox, kick, queue, slot,
-- MessagePending, EOM. Every step is one access that others can see; all may interleave, although in
-- truth the VP's own guest code stands still while the VP's thread delivers.
--
-- Proven: no reachable state in which a message waits although its slot is free and nothing will
-- retry; nothing is lost, doubled or reordered; and the guest can always come to have everything.
--
-- The three constants switch off one precaution each; tests/proofs/check_protocols.sh shows that each is
-- needed, which also shows that the model can fail.

const
  POSTS: 3;       -- messages of each poster
  POSTERS: 2;
  REREAD: true;   -- after setting MessagePending the slot is looked at once more
  FLAG_MORE: true;  -- MessagePending is set at delivery when more wait
  KICK_LAST: true;  -- the kick comes after the push

type
  count: 0 .. 6;
  poster: 1 .. POSTERS;

var
  left: array [poster] of 0 .. POSTS;  -- still to be posted
  kicking: array [poster] of boolean;  -- pushed onto an empty inbox and about to kick
  early: array [poster] of boolean;    -- (KICK_LAST off) kicked and about to push
  inbox: count;
  kicked: boolean;                     -- a poll will come

  enabled: boolean;                    -- SIMP and SCONTROL; the guest's to change
  changes: 0 .. 2;                     -- how often it still does

  queue: count;                        -- the VP thread's
  vp: enum { Out, Take, Look, Flag, Again, Fill };

  busy: boolean;                       -- MessageType is not 0
  pending: boolean;                    -- MessagePending
  guest: enum { Idle, Read, Test, Eom };
  received: count;

startstate begin
  for p: poster do
    left[p] := POSTS;
    kicking[p] := false;
    early[p] := false;
  end;
  inbox := 0;
  kicked := false;
  enabled := true;
  changes := 2;
  queue := 0;
  vp := Out;
  busy := false;
  pending := false;
  guest := Idle;
  received := 0;
end;

-- Posters: any thread

ruleset p: poster do
  rule "push" KICK_LAST & left[p] > 0 & !kicking[p] ==> begin
    kicking[p] := inbox = 0;
    inbox := inbox + 1;
    left[p] := left[p] - 1;
  end;

  rule "kick" kicking[p] ==> begin
    kicking[p] := false;
    kicked := true;
  end;

  rule "kick early" !KICK_LAST & left[p] > 0 & !early[p] ==> begin
    early[p] := true;
    kicked := true;
  end;

  rule "push late" !KICK_LAST & early[p] ==> begin
    early[p] := false;
    inbox := inbox + 1;
    left[p] := left[p] - 1;
  end;
end;

-- The VP's thread: hvtlfs_vp_poll() after a kick, and the guest's EOM

rule "poll" vp = Out & kicked ==> begin
  kicked := false;
  vp := Take;
end;

rule "EOM" vp = Out & guest = Eom ==> begin
  guest := Idle;
  vp := Take;
end;

rule "the guest disables" vp = Out & enabled & changes > 0 ==> begin
  enabled := false;
  changes := changes - 1;
end;

rule "the guest enables" vp = Out & !enabled ==> begin
  enabled := true;
  vp := Take;
end;

rule "empty the inbox" vp = Take ==> begin
  queue := queue + inbox;
  inbox := 0;
  vp := Look;
end;

rule "look at the slot" vp = Look ==> begin
  if queue = 0 | !enabled then
    vp := Out;
  elsif busy then
    vp := Flag;
  else
    vp := Fill;
  end;
end;

rule "set MessagePending" vp = Flag ==> begin
  pending := true;
  if REREAD then
    vp := Again;
  else
    vp := Out;
  end;
end;

rule "look again" vp = Again ==> begin
  if busy then
    vp := Out;
  else
    vp := Fill;
  end;
end;

rule "fill the slot" vp = Fill ==> begin
  assert "a full slot is never overwritten" !busy;
  queue := queue - 1;
  pending := FLAG_MORE & queue > 0;
  busy := true;
  vp := Out;
end;

-- The guest: takes the message, empties the slot, then tests MessagePending (TLFS 11.10.4)

rule "find a message" guest = Idle & busy ==> begin
  received := received + 1;
  guest := Read;
end;

rule "empty the slot" guest = Read ==> begin
  busy := false;
  guest := Test;
end;

rule "test MessagePending" guest = Test ==> begin
  if pending then
    guest := Eom;
  else
    guest := Idle;
  end;
end;

invariant "a message that waits for a free slot is going to be retried"
  (queue > 0 & enabled & !busy) ->
    (kicked | vp != Out | guest != Idle | exists p: poster do kicking[p] end);

invariant "a message in the inbox is going to be looked at"
  (inbox > 0) ->
    (kicked | vp != Out | exists p: poster do kicking[p] end);

function posted(): count;
var n: count;
begin
  n := 0;
  for p: poster do
    n := n + (POSTS - left[p]);
  end;
  return n;
end;

invariant "none lost, none doubled"
  posted() = inbox + queue + received + (busy & guest != Read ? 1 : 0);

-- And all of them can arrive, from wherever we are.
liveness "everything arrives"
  received = POSTS * POSTERS;
