"""What may happen next in a state of the model. A step that must not be leads to a state that says what is wrong."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator

from tests.model.states import (
    ABORTED,
    ABORTING,
    BEGUN,
    CLAIMED,
    DEAD,
    DONE,
    EXECUTING,
    FAILED,
    GIVEN_UP,
    GIVING_UP,
    KILLED,
    NEW,
    NOBODY,
    OVER,
    PAUSED,
    RETURNED,
    RUNNING,
    STOPPED,
    STOPPING,
    TO_WRITE,
    UP,
    Bounds,
    State,
    Worker,
)

Steps = Iterator[tuple[str, State]]


class Protocol:
    """The steps of two workers, of people and of faults, under these rules."""

    def __init__(self, rules: Collection[str], bounds: Bounds) -> None:
        self.rules, self.bounds = frozenset(rules), bounds
        self.observation = 2 if "patient" in self.rules else 1  # ticks; an owner renews once in each

    def steps(self, s: State) -> Steps:
        """Everything that may happen."""
        yield from self.regular(s)
        yield from self.people(s)
        yield from self.faults(s)

    def regular(self, s: State) -> Steps:
        """What happens without people and faults, in no order."""
        for late in () if s.is_down else s.late:
            others = tuple(each for each in s.late if each is not late)
            yield "a late claim arrives", self.executed(s._replace(late=others), late[0], late[1])
        for i, w in enumerate(s.workers):
            if w.mode in (UP, STOPPED):
                yield from self.of_processes(s, i, w)
            if w.mode == UP and w.is_linked and not s.is_down:
                yield from self.of_parent(s, i, w)
            if w.asked and not s.is_down:
                after = self.executed(s.with_worker(i, asked=0), i, w.asked)
                is_his = after.row.token == w.asked and after.row.status == RUNNING
                yield f"{i} claim arrives", after.with_worker(i, answer=w.asked) if is_his else after
            if w.mode in (STOPPED, PAUSED):
                yield f"{i} wakes up", s.with_worker(i, mode=UP, is_fresh=False)
            if w.mode == DEAD:
                yield f"{i} starts anew", s.with_worker(i, **self.fresh(w)._asdict())
            if not w.is_linked and w.mode != DEAD:
                yield f"{i} connects", s.with_worker(i, is_linked=True, is_fresh=False, **self.disturbed())
        if s.is_down:
            yield "the database is back", self.for_both(s._replace(is_down=False), is_fresh=False, **self.disturbed())
        if self.may_tick(s):
            yield "tick", self.ticked(s)

    # A worker: its processes go on by themselves.

    def of_processes(self, s: State, i: int, w: Worker) -> Steps:
        if w.stage == BEGUN:
            yield f"{i} returns", s.with_worker(i, stage=RETURNED)
        ended = {STOPPING: "", ABORTING: ABORTED, GIVING_UP: GIVEN_UP}.get(w.stage)
        if ended is not None:
            yield f"{i} processes end", s.with_worker(i, stage=ended, token=w.token if ended else 0)
        if w.left:
            # The books are kept by job: what ends takes the entry of its job away, whichever that is.
            yield f"{i} forgotten process ends", s.with_worker(i, left=0, token=0, stage="")
        if self.is_to_end(s, w):
            yield f"{i} gives up", s.with_worker(i, stage=GIVING_UP)

    def is_to_end(self, s: State, w: Worker) -> bool:
        return "ended" in self.rules and s.is_repeatable and w.deadline <= 0 and w.stage == BEGUN

    # And its parent works on the database.

    def of_parent(self, s: State, i: int, w: Worker) -> Steps:
        is_overdue = w.deadline <= 0 and "overdue" in self.rules
        if (not w.is_fresh or w.token or w.unanswered) and not (w.asked or w.answer):  # one connection: one at a time
            yield f"{i} renews", self.renewed(s, i, w)
        if s.row.status == NEW and self.may_claim(s, w) and not is_overdue:
            after = s._replace(next_token=s.next_token + 1, claims=s.claims - 1)
            yield f"{i} claims", after.with_worker(i, asked=s.next_token)
        if w.answer:
            yield f"{i} gets its job", self.taken(s.with_worker(i, answer=0), i, w, w.answer)
        if w.stage == CLAIMED and not is_overdue:
            yield f"{i} begins", self.begun(s, i, w)
        if w.stage in TO_WRITE or (w.stage == ABORTING and "buried" not in self.rules):
            yield f"{i} writes the end", self.ended(s, i, w).with_worker(i, token=0, stage="")
            if s.faults and not s.has_jumped:
                yield f"{i} writes the end and hears nothing", self.ended(s, i, w)._replace(faults=s.faults - 1)
        if "reaped" in self.rules and (w.deadline > 0 or w.seized):
            yield from self.of_reaper(s, i, w)

    def may_claim(self, s: State, w: Worker) -> bool:
        is_free = not (w.token or w.left) or "alone" not in self.rules
        return is_free and not (w.asked or w.answer) and s.claims > 0

    def executed(self, s: State, i: int, token: int) -> State:
        """The database carries a claim out."""
        if s.row.status != NEW and ("exclusive" in self.rules or s.row.status != RUNNING):
            return s
        attempt = s.row.attempt + ("counted" in self.rules)
        is_harmed = i == NOBODY or s.workers[i].mode != UP or not s.workers[i].is_linked
        s = s.with_row(status=RUNNING, token=token, attempt=attempt, lease=self.bounds.lease, owner=i)
        return self.for_both(s._replace(is_harmed=is_harmed), seen=-1)

    def taken(self, s: State, i: int, w: Worker, token: int) -> State:
        """The parent enters an attempt in its books. It has a second process for it if the first one is busy."""
        left = w.token if w.stage in EXECUTING else w.left
        return s.with_worker(i, token=token, stage=CLAIMED, left=left)

    def begun(self, s: State, i: int, w: Worker) -> State:
        s = s._replace(starts=s.starts + 1).with_worker(i, stage=BEGUN)
        if w.left:
            return s._replace(wrong="one worker runs two attempts of a job")
        if s.row.token != w.token and not s.has_jumped:
            return s._replace(wrong="an attempt begins that has lost its job")
        if s.starts > 1 and not s.is_repeatable:
            return s._replace(wrong="a job starts twice that may start once")
        return s

    def renewed(self, s: State, i: int, w: Worker) -> State:
        """One round: leases are renewed, requests are read, claims without an answer are looked for."""
        s = s.with_worker(i, deadline=self.bounds.lease - 1, is_fresh=True)
        if w.unanswered:
            is_found = s.row.token in dict(w.unanswered) and s.row.status == RUNNING and not w.token
            kept = [each for each in w.unanswered if each[1] and "remembered" in self.rules]
            s = s.with_worker(i, unanswered=tuple(each for each in kept if each[0] != s.row.token))
            if is_found:
                return self.renewed_in_row(s.with_worker(i, token=s.row.token, stage=CLAIMED))
        if not w.token or w.stage in (STOPPING, GIVEN_UP, GIVING_UP):
            return s
        if s.row.token != w.token:
            if "heeded" not in self.rules:
                return s
            is_running = w.stage in EXECUTING
            return s.with_worker(i, stage=STOPPING if is_running else "", token=w.token if is_running else 0)
        if s.row.is_to_abort and w.stage in (CLAIMED, BEGUN):
            s = s.with_worker(i, stage=ABORTING if w.stage == BEGUN else ABORTED)
        return self.renewed_in_row(s) if "renewed" in self.rules else s

    def renewed_in_row(self, s: State) -> State:
        return self.for_both(s.with_row(lease=self.bounds.lease), seen=-1)

    def ended(self, s: State, i: int, w: Worker) -> State:
        """Write how an attempt has ended, if it still owns its job."""
        is_owner = s.row.token == w.token and s.row.status == RUNNING
        if not is_owner and ("fenced" in self.rules or s.row.status in (NEW, *OVER)):
            repeats = s.row.status in OVER and s.row.token == w.token
            return s._replace(wrong="a job ends twice") if repeats else s
        if not is_owner:
            return s._replace(wrong="an attempt ends a job that it has lost")
        if w.stage == GIVEN_UP:
            return self.lost(s)
        status = DONE if w.stage == RETURNED else KILLED
        if status == KILLED and w.stage in EXECUTING:
            return s._replace(wrong="a job counts as aborted while its processes run")
        return self.over(s, status)

    def over(self, s: State, status: str) -> State:
        s = s._replace(ends=s.ends + 1, is_harmed=False)
        token = 0 if "cleared" in self.rules else s.row.token
        return s.with_row(status=status, token=token, lease=0, owner=-1)

    def lost(self, s: State) -> State:
        """End an attempt of which nobody knows how far it came."""
        if s.row.is_to_abort and "kept" in self.rules:
            return self.over(s, KILLED)
        if s.row.attempt >= s.row.most and "limited" in self.rules:
            return self.over(s, FAILED)
        s = s.with_row(status=NEW, token=0, lease=0, owner=-1)
        return s._replace(wrong="an abort is forgotten") if s.row.is_to_abort else s

    # Each of them settles what the other one has left.

    def of_reaper(self, s: State, i: int, w: Worker) -> Steps:
        row, other = s.row, s.workers[1 - i]
        is_past = row.lease == 0 or "expired" not in self.rules
        if row.status == RUNNING and is_past and not w.decided:
            if w.seen < 0:
                yield f"{i} sees a lease that is past", s.with_worker(i, seen=0)
            if w.seen >= self.observation or "observed" not in self.rules:
                yield f"{i} decides to take over", s.with_worker(i, decided=row.token, seen=-1)
        if w.decided:
            yield f"{i} takes over", self.seized(s.with_worker(i, decided=0), i, w.decided)
        if w.seized:
            s_after = self.lost(s) if row.token == w.seized and row.status == RUNNING else s
            yield f"{i} settles", s_after.with_worker(i, seized=0)
        if s.is_one_machine and row.status == RUNNING and row.owner == 1 - i:
            is_proof = other.mode == DEAD
            if is_proof or ("proved" not in self.rules and other.mode != UP):
                s_after = self.lost(s)
                yield f"{i} settles for its neighbour", s_after.with_worker(1 - i, left=0) if is_proof else s_after

    def seized(self, s: State, i: int, token: int) -> State:
        is_unmoved = s.row.token == token and (s.row.lease == 0 or "expired" not in self.rules)
        if s.row.status != RUNNING or not (is_unmoved or "unmoved" not in self.rules):
            return s
        if not s.is_harmed:
            return s._replace(wrong="a job is taken from a worker to which nothing has happened")
        s = s._replace(next_token=s.next_token + 1, is_harmed=False)
        s = s.with_row(token=s.next_token - 1, lease=self.bounds.lease, owner=i)
        return self.for_both(s, seen=-1).with_worker(i, seized=s.next_token - 1)

    # Time.

    def may_tick(self, s: State) -> bool:
        """Not before everything has been done that a worker does at once."""
        for w in s.workers:
            if w.mode in (UP, STOPPED) and (w.stage in (STOPPING, GIVING_UP) or self.is_to_end(s, w)):
                return False
            is_healthy = w.mode == UP and w.is_linked and not s.is_down
            if is_healthy and (
                w.asked or w.answer or w.seized or w.decided or ((w.token or w.unanswered) and not w.is_fresh)
            ):
                return False
            if is_healthy and (w.stage in TO_WRITE or (w.deadline <= 0 and not w.is_fresh)):
                return False
            if w.left and w.mode == DEAD and "together" in self.rules:
                return False
        return True

    def ticked(self, s: State) -> State:
        executing = [
            token
            for w in s.workers
            if w.mode != PAUSED
            for token in (w.left, w.token if w.stage in EXECUTING else 0)
            if token
        ]
        if len(executing) > 1 and s.is_repeatable and not s.has_jumped:
            return s._replace(wrong="two attempts of a job run at the same time")
        s = s._replace(late=tuple((i, token, ticks - 1) for i, token, ticks in s.late if ticks))
        s = s.with_row(lease=max(0, s.row.lease - 1))
        for i, w in enumerate(s.workers):
            if w.mode == DEAD:
                continue
            is_idle = w.mode == UP and w.is_linked and not s.is_down and not (w.token or w.unanswered)
            deadline = self.bounds.lease - 1 if is_idle else max(0, w.deadline - 1)
            seen = min(self.observation, w.seen + 1) if w.seen >= 0 else -1
            unanswered = tuple((token, max(0, ticks - 1)) for token, ticks in w.unanswered)
            s = s.with_worker(i, deadline=deadline, is_fresh=is_idle, seen=seen, unanswered=unanswered)
        return s

    # People.

    def people(self, s: State) -> Steps:
        if s.requests and s.row.status == RUNNING and not s.row.is_to_abort:
            yield "abort", s._replace(requests=s.requests - 1).with_row(is_to_abort=True)
        if s.requests and s.row.status in (FAILED, KILLED):
            s = s._replace(requests=s.requests - 1, starts=0, ends=0)
            yield "retry", s.with_row(status=NEW, token=0, most=s.row.attempt + 1, is_to_abort=False)

    # Faults.

    def faults(self, s: State) -> Steps:
        if not s.faults:
            return
        before, s = s, s._replace(faults=s.faults - 1)
        if not before.is_down:
            yield "the database is down", self.cut_off(self.cut_off(s._replace(is_down=True), 0), 1)
        is_quiet = all(w.mode == UP and w.is_linked for w in s.workers) and not s.is_down
        if is_quiet and not s.had_harm and s.row.lease:
            yield "the clock jumps", s.with_row(lease=0)._replace(has_jumped=True)
        for i, w in enumerate(s.workers):
            if w.mode == UP and w.is_linked and (w.asked or w.answer):
                yield f"{i} loses the answer", self.cut_off(s, i)
            if s.has_jumped or w.mode == DEAD:
                continue
            if w.mode == UP:
                yield f"{i} is stopped", self.harmed(s, i).with_worker(i, mode=STOPPED)
                if not s.is_one_machine:
                    yield f"the machine of {i} is paused", self.harmed(s, i).with_worker(i, mode=PAUSED)
            if w.is_linked:
                yield f"{i} is cut off", self.cut_off(self.harmed(s, i), i).with_worker(i, is_linked=False)
            yield f"{i} is killed", self.killed(self.harmed(s, i), i, w)

    def harmed(self, s: State, i: int) -> State:
        return s._replace(is_harmed=s.is_harmed or s.row.owner == i, had_harm=True)

    def cut_off(self, s: State, i: int) -> State:
        """What was on its way is lost to the worker; a claim may still be carried out."""
        w = s.workers[i]
        if w.asked:
            s = s._replace(late=(*s.late, (i, w.asked, self.bounds.statement)))
        if token := w.asked or w.answer:
            ticks = self.bounds.statement + self.bounds.lease
            s = s.with_worker(i, asked=0, answer=0, unanswered=(*w.unanswered, (token, ticks)))
        return s

    def killed(self, s: State, i: int, w: Worker) -> State:
        left = w.token if w.stage in EXECUTING and "together" not in self.rules else 0
        s = self.cut_off(s, i)
        s = s._replace(late=tuple((NOBODY if each[0] == i else each[0], *each[1:]) for each in s.late))
        s = s.with_row(owner=NOBODY) if s.row.owner == i and not s.is_one_machine else s
        return s.with_worker(i, **Worker(mode=DEAD, left=left)._asdict())

    def fresh(self, w: Worker) -> Worker:
        return Worker(deadline=self.bounds.lease - 1, left=w.left)

    def disturbed(self) -> dict[str, int]:
        """What a worker forgets that was without its database."""
        return {"seen": -1, "decided": 0} if "undisturbed" in self.rules else {}

    def for_both(self, s: State, **changes: object) -> State:
        return s.with_worker(0, **changes).with_worker(1, **changes)


Step = Callable[[State], State]
