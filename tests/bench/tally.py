"""What callers saw of their calls against the rows that a backend has of them: lost, doubled, out of order, late.

A caller's log has `answered ID INVITE ANSWER`, `bye ID BYE` and `ended ID END`, each time as seconds:microseconds.
"""
import dataclasses


@dataclasses.dataclass
class Call:
    """When a caller saw what of one call, in seconds since 1970; `by` is the gateway whose address it used."""
    by: str
    invite: float
    answer: float
    bye: float | None = None
    end: float | None = None


@dataclasses.dataclass
class Row:
    """One record as the backend has it; `place` rises in the order in which rows came, `stored` is when its batch began."""
    place: int
    kind: str
    session: str
    stored: float


@dataclasses.dataclass
class Death:
    """A gateway's: when it was killed, when its address was another's, when it came back on its disk."""
    gateway: str
    at: float
    moved: float = 0.0
    returned: float = 0.0


def read_log(calls, by, path):
    """Adds the calls of one caller."""
    try:
        log = open(path)
    except FileNotFoundError:
        return
    with log:
        for line in log:
            word, *rest = line.split()
            # No microseconds: sipp writes nothing for 0.
            times = [float(secs) + float(micros or 0) / 1e6 for secs, micros in (time.split(":") for time in rest[1:])]
            if word == "answered":
                calls[rest[0]] = Call(by, *times)
            elif word == "bye":
                calls[rest[0]].bye = times[0]
            else:
                calls[rest[0]].end = times[0]


def read_rows(lines):
    """Rows by Call-ID, of lines with place, Call-ID, kind, session and time of storage, divided by tabs."""
    rows = {}
    for line in lines:
        place, call, kind, session, stored = line.split("\t")
        rows.setdefault(call, []).append(Row(int(place), kind.lower(), session, float(stored)))
    return rows


def spread(values):
    """Some of a list of seconds, in milliseconds."""
    values = sorted(values)
    if not values:
        return None
    at = lambda share: round(1000 * values[min(len(values) - 1, int(len(values) * share))], 1)
    return dict(p50=at(0.5), p99=at(0.99), max=at(1))


class Tally:
    """Counts over all calls of a run."""

    def __init__(self, calls, rows, death, disturbed):
        self.calls, self.rows, self.death, self.disturbed = calls, rows, death, disturbed
        self.counts = dict.fromkeys((
            "lost_starts", "lost_stops", "not_mirrored", "doubled", "two_attempts", "out_of_order"), 0)
        self.examples, self.delays, self.delays_after, self.waited_on_disk = [], [], [], []
        for name, call in calls.items():
            self.judge(name, call, rows.get(name, []))

    def judge(self, name, call, rows):
        starts, stops = ([row for row in rows if row.kind == kind] for kind in ("start", "stop"))
        sessions = {row.session for row in starts}
        whole = [row for row in stops if row.session in sessions]
        if not starts:
            self.note("lost_starts", name, call, rows)
        if call.end is not None and not whole:
            self.note("not_mirrored" if self.moved_unended(call) else "lost_stops", name, call, rows)
        if len(starts) > 1 or len(stops) > 1:
            self.note("two_attempts" if self.in_setup(call) else "doubled", name, call, rows)
        if any(start.session == stop.session and stop.place < start.place for start in starts for stop in stops):
            self.note("out_of_order", name, call, rows)
        for rows, at in ((starts, call.answer), (whole, call.end)):
            if rows and at is not None:
                self.delayed(call, at, min(row.stored for row in rows) - at)

    def note(self, what, name, call, rows):
        self.counts[what] += 1
        if sum(example["what"] == what for example in self.examples) < 3:
            told = [f"{row.place} {row.kind} {row.session}" for row in rows]
            self.examples.append(dict(what=what, call=name, **dataclasses.asdict(call), rows=told))

    def moved_unended(self, call):
        """Whether the call was at the gateway that died, answered, and ended at the other."""
        return self.of_dead(call) and call.answer < self.death.at <= call.end

    def in_setup(self, call):
        """Whether the gateway died, or its address moved, between the INVITE and the answer: the INVITE came again."""
        return self.of_dead(call) and call.invite <= self.death.moved and call.answer >= self.death.at

    def of_dead(self, call):
        return self.death is not None and call.by == self.death.gateway

    def delayed(self, call, at, secs):
        if self.of_dead(call) and at < self.death.moved and at + secs >= self.death.returned:
            self.waited_on_disk.append(secs)
            return
        self.delays.append(secs)
        # What was under way when it happened, too.
        if self.disturbed and at >= self.disturbed - 1:
            self.delays_after.append(secs)

    def line(self):
        """All of it for one line of JSON."""
        calls = self.calls.values()
        byes = [call.end - call.bye for call in calls if call.end is not None]
        line = dict(
            answered=len(self.calls), ended=len(byes), byes_unanswered=sum(call.bye is not None and call.end is None for call in calls),
            rows=sum(map(len, self.rows.values())), rows_of_unseen=sum(len(rows) for name, rows in self.rows.items() if name not in self.calls),
            **self.counts, setup_ms=spread([call.answer - call.invite for call in calls]), bye_ms=spread(byes),
            delay_ms=spread(self.delays))
        if self.disturbed:
            line["delay_after_ms"] = spread(self.delays_after)
        if self.death is not None:
            moved = [call.end - call.bye for call in calls if call.end is not None and self.moved_unended(call)]
            line.update(moved_calls=len(moved), moved_bye_ms=spread(moved), waited_on_disk=len(self.waited_on_disk))
        if self.examples:
            line["examples"] = self.examples
        return line
