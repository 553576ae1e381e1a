"""Cases of one build as streams and a script for one simulation, and what was seen of each."""
import subprocess
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

import numpy as np

from sparseloom.hw.job import Job, pack_fields, unpack_fields
from sparseloom.hw.registers import COUNTERS, DATA_BITS, REGISTERS, TABLE, Access, build_values
from sparseloom.model.packed.layer import PackedLayer
from sparseloom.model.packed.stream import encode_acts, encode_results, encode_weights
from sparseloom.model.reference import accumulate, from_sums
from sparseloom.sim.beats import Packet, read_open_beats, write_beats
from sparseloom.sim.build import TOP, Build
from sparseloom.sim.errors import SimulationError
from sparseloom.sim.faults import Fault, act_faults, bit_faults, weight_faults
from sparseloom.sim.long_run import NOTE, QUIET, SCRIPT
from sparseloom.sim.regress.case import PHASES, PORTS, Case
from sparseloom.sim.rules import broken_rule

BENCH = Path(__file__).with_name("bench.v")
LOG, EVENTS, MESSAGES = "script.log", "events.log", "log.txt"
FOREVER = 0xFFFFFFFF
AGAIN = 2
"""Good jobs behind an event."""
SPARE = 3
"""Packets more than are needed: what an event discards."""
HELD = 40
"""Cycles that results stay held up behind a clear."""
IRQ = 1 << len(PHASES)
"""The bench's bit for the interrupt line, beside those of the phases."""
MOST_SECONDS = 600
"""After which a simulation is stopped."""
Streams = dict[str, list[Packet]]
"""Packets of ``weights`` and ``acts``."""


@dataclass(frozen=True, kw_only=True)
class Work:
    """A job with all that follows from it.

    Parameters
    ----------
    layer : PackedLayer
    x : ndarray of int8, shape (M, K)
    sums : ndarray of int32, shape (M, N)
        By the oracle.
    job : Job
    weights, acts, results : bytes
        Its streams; results by the oracle.
    """

    layer: PackedLayer
    x: np.ndarray
    sums: np.ndarray
    job: Job
    weights: bytes
    acts: bytes
    results: bytes

    @property
    def outputs(self) -> int:
        """Integers that it answers."""
        return self.sums.size


@dataclass(frozen=True, kw_only=True)
class Plan:
    """A case ready to be played.

    Parameters
    ----------
    case : Case
    works : list of Work
        One for each job of the case.
    streams : list of dict
        Packets of ``weights`` and ``acts``, for each play.
    steps : list of (str, str)
        Of the script, each with the label of the line that it writes to the log, or none.
    fault : Fault, optional
        The spoilt packet.
    """

    case: Case
    works: list[Work]
    streams: list[Streams]
    steps: list[tuple[str, str]]
    fault: Fault | None


@dataclass(kw_only=True)
class Seen:
    """What was seen of a case.

    Parameters
    ----------
    plan : Plan
    finished : bool
        Its part of the script was played to the end.
    broken : str, optional
        The rule of the ports that it broke, or why the simulator stopped.
    log : dict of str to list of int
        Lines of the log by label.
    packets : list of list of (bytes, bool)
        Result packets of each play, with TUSER.
    rest : list of bytes
        Result bytes of each play that no TLAST followed.
    events : list of list of str
        Of the observer.
    """

    plan: Plan
    finished: bool = False
    broken: str | None = None
    log: dict[str, list[int]] = field(default_factory=dict)
    packets: list[list[tuple[bytes, bool]]] = field(default_factory=list)
    rest: list[bytes] = field(default_factory=list)
    events: list[list[str]] = field(default_factory=list)

    def read(self, label: str) -> dict[str, int]:
        """Fields of a register that was read: its name, or with a colon and what sets it apart."""
        return unpack_fields(TABLE[label.split(":")[0]], self.log[label][0])

    def note(self, label: str) -> dict[str, int]:
        """What the streams' ends counted."""
        return dict(zip(NOTE, self.log[label], strict=True))

    def counters(self) -> dict[str, int]:
        """The unit's own."""
        return {name.lower(): self.log[name][0] for name in COUNTERS}

    def stalls(self) -> np.ndarray:
        """Cycles in which the ends alone held up each port in each phase: (3, 4)."""
        rows = [[int(word) for word in event[1:]] for event in self.events if event[0] == "stalls"]
        return np.array(rows).reshape(-1, len(PORTS), len(PHASES)).sum(axis=0)


def make_plan(case: Case) -> Plan:
    """Streams and script of a case."""
    works = [make_work(case, index) for index in range(len(case.jobs))]
    if case.event is None:
        streams: list[Streams] = [{"weights": [work.weights for work in works],
                                   "acts": [work.acts for work in works]}]
        return Plan(case=case, works=works, streams=streams, fault=None,
                    steps=_opening(case, streams, works) + _plain_steps(case, works))
    return _event_plan(case, works[0])


def make_work(case: Case, index: int) -> Work:
    """A job of a case with its streams."""
    config, spec = case.config, case.jobs[index]
    layer, x = spec.layer(config, f"job{index}"), spec.activations()
    tag = (case.seed + index) % 256
    sums = accumulate(x, layer.dense_weight(), layer.bias)
    return Work(
        layer=layer, x=x, sums=sums, job=Job.of(layer, len(x), tag),
        weights=encode_weights(layer, cols=config.cols, block_inputs=config.block_inputs, tag=tag,
                               weight_bits=config.weight_bits),
        acts=encode_acts(x, rows=config.rows, cols=config.cols),
        results=encode_results(from_sums(layer, sums), rows=config.rows, cols=config.cols,
                               raw=layer.raw))


# Steps

Steps = list[tuple[str, str]]


def _access(name: str, step: str = "read", label: str = "", **fields: int) -> tuple[str, str]:
    register = TABLE[name]
    return f"{step} {register.offset:x} {pack_fields(register, **fields):x}", label


def _status(step: str, field_: str) -> tuple[str, str]:
    status = TABLE["STATUS"]
    return f"{step} {status.offset:x} {status.field(field_).mask:x}", ""


def _push(job: Job, label: str, *, wait: bool = True) -> Steps:
    return [*_describe(job, label), *([_status("until", "queue_space")] if wait else []),
            _access("JOB_PUSH", "write", label)]


def _describe(job: Job, label: str) -> Steps:
    return [_access(name, "write", f"{label}:{name}", **fields) for name, fields in job.writes()]


def _to(**ports: int) -> Steps:
    return [(f"{port}_to {beats:x} 0", "") for port, beats in ports.items()]


RELEASE = _to(**dict.fromkeys(PORTS, FOREVER))


def _opening(case: Case, streams: list[Streams], works: list[Work]) -> Steps:
    """Reset, limits, pauses."""
    size = sum(len(packet) for play in streams for packets in play.values() for packet in packets)
    # Generous: what takes thrice as long as every beat and every column one after the other hangs.
    work = sum(-(-len(one.x) // case.config.rows) * -(-one.layer.out_features // case.config.cols)
               * (one.layer.in_features + case.config.rows * case.config.cols) + len(one.results)
               for one in works)
    slow = 256 / (256 - max(stall.gap for stall in case.stalls.values()))
    limit = int(10_000 + slow * (3_000 + 3 * (size // case.config.bus_bytes + work))) + sum(
        stall.cycles for stall in case.stalls.values())
    gaps = "".join(f"{case.stalls[port].gap:02x}" for port in PORTS)
    return [("reset 2 0", ""), (f"limit {min(limit, 1 << 30):x} 0", ""),
            (f"gaps {gaps} {case.seed:x}", ""), *RELEASE,
            *((f"{port}_stop {case.stalls[port].stop:x} {case.stalls[port].cycles:x}", "")
              for port in PORTS),
            *_try_registers(case)]


def written_registers(case: Case) -> dict[str, int]:
    """What is written to each RW register before the first job: any bits, of no field too."""
    rng = np.random.default_rng([case.seed, 3])
    return {register.name: int(rng.integers(1 << DATA_BITS)) for register in REGISTERS
            if register.access is Access.RW}


def cleared_irqs(case: Case) -> int:
    """Bits that are written to IRQ_STATUS at the end."""
    return int(np.random.default_rng([case.seed, 4]).integers(8))


def _next_job(case: Case) -> Steps:
    """A descriptor that is begun behind the last push and never pushed: it must not matter."""
    rng = np.random.default_rng([case.seed, 5])
    return [(f"write {TABLE[name].offset:x} {int(rng.integers(1 << DATA_BITS)):x}", f"next:{name}")
            for name in TABLE if name.startswith("JOB_") and TABLE[name].access is Access.RW]


def _try_registers(case: Case) -> Steps:
    """Every RW register written and read, every constant one read."""
    written = written_registers(case)
    return [*((f"write {TABLE[name].offset:x} {value:x}", f"{name}:written")
              for name, value in written.items()),
            *(_access(name, label=f"{name}:tried") for name in (
                *written, *build_values(case.config)))]


def _try_irq(case: Case) -> Steps:
    """The interrupt line and its causes, before and behind a write that clears some; counters too.

    At the end ``done`` is up, so that ``phase`` does not wait.
    """
    status = TABLE["IRQ_STATUS"].offset
    return [_access("IRQ_STATUS", label="IRQ_STATUS:end"), (f"phase {IRQ:x} 0", "irq:end"),
            (f"write {status:x} {cleared_irqs(case):x}", "IRQ_STATUS:cleared"),
            (f"phase {IRQ:x} 0", "irq:left"), _access("IRQ_STATUS", label="IRQ_STATUS:left"),
            _access("CONTROL", "write", "counters_clear", counters_clear=1),
            (f"sleep {QUIET:x} 0", ""),
            *(_access(name, label=f"{name}:zero") for name in COUNTERS)]


def _closing(case: Case) -> Steps:
    """What is looked at when all jobs are through."""
    return [("done 0 0", "done"), _status("while", "busy"), ("note 0 0", "note"),
            (f"sleep {QUIET:x} 0", ""), ("note 0 0", "note:late"),
            *(_access(name, label=name) for name in (*COUNTERS, "ERROR", "STATUS", "DONE")),
            *_try_irq(case),
            # Reset, since the streams may have more to offer than was taken.
            ("reset 2 0", ""), ("sleep 4 0", "")]


def _plain_steps(case: Case, works: list[Work]) -> Steps:
    steps: Steps = []
    for index, work in enumerate(works[:case.early]):
        steps += _push(work.job, f"push{index}")
    steps += [(f"sleep {case.wait:x} 0", ""), (f"play {{play0}} {len(works):x}", "")]
    for index, work in enumerate(works[case.early:], case.early):
        steps += _push(work.job, f"push{index}")
    return [*steps, *_next_job(case), *_closing(case)]


def _event_plan(case: Case, work: Work) -> Plan:
    event = case.event
    assert event is not None
    fault, source = None, ""
    depth = case.config.queue_depth
    if event.kind == "error":
        fault, source = choose_fault(case, work)
    # A good job before the spoilt one, where the array is to have something to do.
    before = int(event.phase in ("computing", "draining") and depth > 1
                 and event.kind == "error" and source != "job")
    jobs = before + (event.kind == "error" and source != "job")
    if not jobs:
        jobs = min(depth, 1 + event.pick % 2)
        if source == "job":
            jobs = 0 if event.phase == "idle" else 1
        elif event.phase == "idle" and event.pick % 3 == 0:
            jobs = 0
    copies = jobs + AGAIN + SPARE
    streams: list[Streams] = [{"weights": [work.weights] * copies, "acts": [work.acts] * copies}]
    if fault is not None and source in streams[0]:
        keep = bytes(fault.keep_list())
        streams[0][source][before] = (fault.data, keep)
    if event.kind == "reset":
        streams.append({"weights": [work.weights] * AGAIN, "acts": [work.acts] * AGAIN})
    steps = _opening(case, streams, [work] * copies)
    steps += _holds(case, work, source, before)
    steps.append((f"play {{play0}} {0xFFFF:x}", ""))
    for index in range(jobs):
        steps += _push(work.job, f"push{index}", wait=index > 0)
    mask = 1 << PHASES.index(event.phase)
    if event.kind == "error":
        steps += _provoke(case, work, source, mask)
    else:
        steps += [(f"sleep {case.wait:x} 0", "") if event.phase == "idle"
                  else (f"phase {mask:x} 0", "phase"), (f"sleep {event.delay:x} 0", "")]
    if event.kind == "reset":
        steps += [(f"reset {1 + event.pick % 4:x} 0", ""), *RELEASE,
                  *(_access(name, label=f"{name}:reset") for name in (
                      *COUNTERS, "ERROR", "STATUS", "DONE")),
                  (f"play {{play1}} {AGAIN:x}", "")]
    else:
        steps += [_access("CONTROL", "write", "clear", clear=1)]
        if event.pick % 2:
            steps.append((f"sleep {HELD:x} 0", ""))
        steps += [*RELEASE, _status("while", "clearing"), (f"sleep {QUIET:x} 0", ""),
                  _access("ERROR", label="ERROR:cleared"),
                  _access("STATUS", label="STATUS:cleared"),
                  (f"expect {AGAIN:x} 0", "")]
    for index in range(AGAIN):
        steps += _push(work.job, f"again{index}")
    steps += _next_job(case) + _closing(case)
    return Plan(case=case, works=[work], streams=streams, steps=steps, fault=fault)


def choose_fault(case: Case, work: Work) -> tuple[Fault | None, str]:
    """One of the ways to cause the event's error, and the stream that it spoils, or ``job``."""
    event, config = case.event, case.config
    assert event is not None
    if event.cause == "job":
        return None, "job"
    if event.fault:
        return next((fault, source) for fault, source in all_faults(case, work)
                    if fault.name == event.fault)
    if event.cause.startswith("acts"):
        faults, source = act_faults(work.acts, config.bus_bytes, config.rows), "acts"
    else:
        faults, source = weight_faults(work.weights, config.bus_bytes), "weights"
        if event.phase in ("idle", "loading"):          # before any strip is whole
            faults = [fault for fault in faults if fault.strip in (0, None)]
    for fits in ([fault for fault in faults if fault.causes == (event.cause,)],
                 [fault for fault in faults if event.cause in fault.causes], faults):
        if fits:
            return fits[event.pick % len(fits)], source
    raise AssertionError("every stream can be spoilt")


def all_faults(case: Case, work: Work) -> list[tuple[Fault, str]]:
    """Every spoilt packet that there is of a job, with the stream that it is in."""
    config = case.config
    return [*((fault, "weights") for faults in (weight_faults, bit_faults)
              for fault in faults(work.weights, config.bus_bytes)),
            *((fault, "acts") for fault in act_faults(work.acts, config.bus_bytes, config.rows))]


def _holds(case: Case, work: Work, source: str, before: int) -> Steps:
    """How far each stream may go at first, for the event to meet its phase."""
    event = case.event
    assert event is not None
    bus = case.config.bus_bytes
    beats = {"weights": -(-len(work.weights) // bus), "acts": -(-len(work.acts) // bus)}
    steps: Steps = []
    if event.phase == "draining":
        steps += _to(results=0)
    if source in beats:
        other = "acts" if source == "weights" else "weights"
        if event.phase == "idle":
            steps += _to(**{other: 0})
        elif event.phase == "loading":
            steps += _to(**{source: 0})
        elif before:
            steps += _to(**{source: before * beats[source]})
    elif event.phase == "loading":                      # in mid-packet
        steps += _to(acts=max(1, beats["acts"] // 2)) if beats["acts"] > 1 else _to(weights=1)
    elif event.phase == "idle":
        steps += _to(weights=0, acts=0)
    return steps


def _provoke(case: Case, work: Work, source: str, mask: int) -> Steps:
    """The error, and what the unit says of it."""
    event = case.event
    assert event is not None
    steps: Steps = []
    if source == "job":
        steps += _describe(bad_job(case, work), "bad")
    if event.phase != "idle":
        steps.append((f"phase {mask:x} 0", "phase"))
    steps.append((f"sleep {event.delay:x} 0", ""))
    if source == "job":
        steps.append(_access("JOB_PUSH", "write", "bad"))
    else:
        steps += _to(**{source: FOREVER})
    steps += [_status("until", "error"), *RELEASE, ("done 0 0", "void"),
              _access("ERROR", label="ERROR:raised"), _access("STATUS", label="STATUS:raised"),
              _access("IRQ_STATUS", label="IRQ_STATUS:raised"),
              *_describe(work.job, "refused"), _access("JOB_PUSH", "write", "refused"),
              ("note 0 0", "note:raised"), (f"sleep {QUIET:x} 0", ""), ("note 0 0", "note:stopped")]
    return steps


def bad_job(case: Case, work: Work) -> Job:
    """A descriptor that no unit of this build can run."""
    event, config = case.event, case.config
    assert event is not None
    words = (config.act_words // config.max_k) * config.rows + 1       # tokens, one group too many
    bit = 1 << (event.pick >> 8) % 16
    changes = ({"inputs": 0}, {"outputs": 0}, {"tokens": 0}, {"inputs": config.max_k + 1},
               {"inputs": 0xFFFF}, {"inputs": config.max_k, "tokens": words},
               {"inputs": config.max_k, "tokens": 0xFFFF}, {"raw": True, "lut": True},
               {"inputs": max(bit, config.max_k + 1)},
               {"inputs": config.max_k, "tokens": max(bit, words)})
    return Job(**{**asdict(work.job), "tokens": 1, **changes[event.pick % len(changes)]})


# Playing


def play(simulator: Build, folder: Path, plans: Sequence[Plan]) -> list[Seen]:
    """Play cases of one build.

    A case that breaks a rule of the ports ends the simulation; another plays those behind it.

    Parameters
    ----------
    simulator : Build
        Of :data:`BENCH`.
    folder : Path
        For all files.
    plans : sequence of Plan
    """
    found: list[Seen] = []
    while len(found) < len(plans):
        part = folder / f"from{len(found)}"
        part.mkdir(parents=True, exist_ok=True)
        found += _play_some(simulator, part, plans[len(found):])
    return found


def _play_some(simulator: Build, folder: Path, plans: Sequence[Plan]) -> list[Seen]:
    """Up to the first case that ends the simulation, at least one."""
    write_plans(folder, plans)
    return read_seen(folder, plans, simulate(simulator, folder))


def write_plans(folder: Path, plans: Sequence[Plan]) -> None:
    """Streams and script of one simulation."""
    steps = ["sleep 2 0"]
    for index, plan in enumerate(plans):
        bus = plan.case.config.bus_bytes
        numbers = {}
        for number, streams in enumerate(plan.streams, 2 * index):
            numbers[f"play{number - 2 * index}"] = f"{number:x}"
            for name, packets in streams.items():
                write_beats(folder / f"{name}{number}.bin", packets, bus)
        steps.append(f"case {index:x} 0")
        steps += [step.format(**numbers) for step, _ in plan.steps]
    (folder / SCRIPT).write_text("".join(f"{step}\n" for step in [*steps, "case ffff 0"]))


def simulate(simulator: Build, folder: Path, *, plusargs: Sequence[str] = (),
             seconds: float = MOST_SECONDS) -> str:
    """Run the simulator on a folder's script.

    Parameters
    ----------
    simulator : Build
        Of :data:`BENCH`.
    folder : Path
        Written by :func:`write_plans`.
    plusargs : sequence of str
        For the design.
    seconds : float
        After which it is stopped.

    Returns
    -------
    str
        Why the script was not played to the end, where it was not.
    """
    with open(folder / MESSAGES, "w") as messages:
        try:
            subprocess.run([simulator.folder / TOP, *plusargs], cwd=folder,
                           stdin=subprocess.DEVNULL, stdout=messages, stderr=subprocess.STDOUT,
                           check=False, timeout=seconds)
        except subprocess.TimeoutExpired:
            return f"the simulator did not end in {seconds:g} seconds"
    return "the simulator ended in mid-script"


def read_seen(folder: Path, plans: Sequence[Plan], why: str) -> list[Seen]:
    """What a simulation recorded, up to the first case that ended it."""
    lines = _by_case((folder / LOG).read_text().splitlines())
    events: dict[int, list[list[str]]] = {}
    for line in (folder / EVENTS).read_text().splitlines():
        kind, case, *rest = line.split()
        events.setdefault(int(case), []).append([kind, *rest])
    found = []
    for index, plan in enumerate(plans):
        seen = Seen(plan=plan, events=events.get(index, []))
        found.append(seen)
        labels = [label for _, label in plan.steps if label]
        seen.log = dict(zip(labels, lines.get(index, []), strict=False))
        seen.finished = index + 1 in lines or (index + 1 == len(plans) and 0xFFFF in lines)
        for number in range(2 * index, 2 * index + len(plan.streams)):
            try:
                packets, rest, _ = read_open_beats(folder / f"results{number}.bin",
                                                   plan.case.config.bus_bytes)
            except SimulationError:
                packets, rest = [], b""
            seen.packets.append(packets)
            seen.rest.append(rest)
        if not seen.finished:
            seen.broken = broken_rule(folder / MESSAGES) or why
            break
    return found


def _by_case(lines: Sequence[str]) -> dict[int, list[list[int]]]:
    """Lines of the log behind each mark."""
    cases: dict[int, list[list[int]]] = {}
    at: list[list[int]] = []
    for line in lines:
        word, *rest = line.split()
        if word == "case":
            at = cases.setdefault(int(rest[0]), [])
        else:
            at.append([int(word), *map(int, rest)])
    return cases
