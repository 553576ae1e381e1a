"""What is wrong about a case that was played: results, counters, errors, recovery."""
import numpy as np

from sparseloom.hw.job import pack_fields
from sparseloom.hw.registers import COUNTERS, TABLE, build_values
from sparseloom.model.packed import spec
from sparseloom.model.packed.cycles import UnitJob, UnitShape, delay_bounds, predict
from sparseloom.model.packed.stream import split_packets
from sparseloom.sim.regress.case import PORTS, Case
from sparseloom.sim.regress.play import AGAIN, Seen, Work, cleared_irqs, written_registers

CODES = {name: code for code, (name, _) in spec.ERROR_CAUSES.items()}
RESPONSE_OKAY, RESPONSE_REFUSED = 0, 2


def problems(seen: Seen) -> list[str]:
    """Everything that is wrong about a case, each in a line; empty if nothing is."""
    if seen.broken is not None:
        return [seen.broken]
    case = seen.plan.case
    found = _finished(seen)
    if found:
        return found
    found += _plain(seen, case) if case.event is None else _event(seen, case)
    found += _registers(seen, case) + _irq(seen, case)
    counters = seen.counters()
    parts = sum(counters.values()) - counters["busy"]
    if counters["busy"] != parts:
        found.append(f"counters: busy is {counters['busy']}, its parts are {parts}")
    return found


def good_jobs(seen: Seen) -> list[Work]:
    """The jobs whose results came whole and marked good, in order, right or wrong."""
    works = seen.plan.works
    if seen.plan.case.event is None:
        return [work for work, (_, user) in zip(works, seen.packets[0], strict=False) if not user]
    return works * sum(not user for packets in seen.packets for _, user in packets)


def _finished(seen: Seen) -> list[str]:
    """Waits that ended by the limit, accesses that were not answered as they should."""
    found = []
    if not seen.log["done"][0]:
        found.append(f"the unit did not finish: STATUS {seen.read('STATUS')}, ERROR "
                     f"{seen.read('ERROR')}, counters {seen.counters()}")
    for label, line in seen.log.items():
        if label.startswith(("push", "again")) and line[1] != RESPONSE_OKAY:
            found.append(f"{label}: a register access was refused")
    return found


def _registers(seen: Seen, case: Case) -> list[str]:
    """What was written to registers before the first job reads back, constants are the build's."""
    expected = {name: value & sum(field.mask for field in TABLE[name].fields)
                for name, value in written_registers(case).items()}
    expected |= {name: pack_fields(TABLE[name], **fields)
                 for name, fields in build_values(case.config).items()}
    return [f"{name}: expected {value:#x}, found {seen.log[f'{name}:tried'][0]:#x}"
            for name, value in expected.items() if seen.log[f"{name}:tried"][0] != value]


def _irq(seen: Seen, case: Case) -> list[str]:
    """Causes at the end, those left behind a write, and the line each time; counters cleared."""
    found = []
    status, left = seen.read("IRQ_STATUS:end"), seen.log["IRQ_STATUS:left"][0]
    expected = {"done": 1, "error": int(case.event is not None and case.event.kind == "error")}
    if case.event is None:
        depth = case.config.queue_depth
        # All places taken before the first beat: one came free later. Never all: none did.
        if case.early == depth or len(case.jobs) < depth:
            expected["space"] = int(case.early == depth)
    for name, value in expected.items():
        if status[name] != value:
            found.append(f"IRQ_STATUS.{name}: expected {value} at the end, found {status[name]}")
    word = seen.log["IRQ_STATUS:end"][0]
    if left != word & ~cleared_irqs(case):
        found.append(f"IRQ_STATUS: expected {word & ~cleared_irqs(case):#x} behind a write of "
                     f"{cleared_irqs(case):#x}, found {left:#x}")
    mask = written_registers(case)["IRQ_MASK"]
    if case.event is not None and case.event.kind == "reset":
        mask = 0
    for label, causes in (("end", word), ("left", left)):
        if seen.log[f"irq:{label}"][0] != bool(causes & mask & 7):
            found.append(f"interrupt line: expected {int(bool(causes & mask & 7))} with IRQ_STATUS "
                         f"{causes:#x} and IRQ_MASK {mask & 7:#x}, found "
                         f"{seen.log[f'irq:{label}'][0]}")
    found += [f"{name} behind a clear of counters: expected 0, found {count}"
              for name in COUNTERS if (count := seen.log[f"{name}:zero"][0])]
    return found


def _differs(work: Work, data: bytes, where: str) -> list[str]:
    """A job's result stream against the oracle's."""
    if data == work.results:
        return []
    if len(data) != len(work.results):
        return [f"{where}: expected {len(work.results)} bytes of results, found {len(data)}"]
    one, other = (np.frombuffer(part, np.uint8) for part in (data, work.results))
    wrong = np.flatnonzero(one != other)
    return [f"{where}: {len(wrong)} of {len(data)} result bytes differ, the first is byte "
            f"{wrong[0]}: expected {other[wrong[0]]}, found {one[wrong[0]]}"]


def _quiet(seen: Seen, jobs: int, tag: int) -> list[str]:
    """Nothing is left, nothing came late; DONE tells of the good jobs."""
    found = []
    status, error, done = (seen.read(name) for name in ("STATUS", "ERROR", "DONE"))
    if error["cause"]:
        found.append(f"expected no error, found {spec.ERROR_CAUSES[error['cause']][0]}")
    for name in ("busy", "error", "clearing", "outstanding"):
        if status[name]:
            found.append(f"STATUS.{name}: expected 0 at the end, found {status[name]}")
    if done != {"tag": tag, "count": jobs}:
        found.append(f"DONE: expected tag {tag} and count {jobs}, found {done}")
    late = seen.note("note:late")["result_beats"] - seen.note("note")["result_beats"]
    if late:
        found.append(f"{late} beats came after the last result")
    if any(seen.rest):
        found.append("result bytes without a TLAST behind them")
    return found


def _plain(seen: Seen, case: Case) -> list[str]:
    works, packets = seen.plan.works, seen.packets[0]
    found = _quiet(seen, len(works), works[-1].job.tag)
    if len(packets) != len(works):
        return [*found, f"expected {len(works)} packets of results, found {len(packets)}"]
    for index, (work, (data, user)) in enumerate(zip(works, packets, strict=True)):
        if user:
            found.append(f"job {index}: results are void")
        else:
            found += _differs(work, data, f"job {index}")
    note, bus = seen.note("note"), case.config.bus_bytes
    for name, size in (("weight", "weights"), ("act", "acts"), ("result", "results")):
        beats = sum(-(-len(getattr(work, size)) // bus) for work in works)
        if note[f"{name}_beats"] != beats:
            found.append(f"expected {beats} {name} beats, found {note[f'{name}_beats']}")
    return found + _cycles(seen, case)


def _cycles(seen: Seen, case: Case) -> list[str]:
    """The counters against the cycle model: equal where no port was held up, else in its bounds."""
    shape, note, counters = UnitShape.of(case.config), seen.note("note"), seen.counters()
    start = note["offer_cycle"]
    model = predict([UnitJob.of(work.layer, len(work.x), shape) for work in seen.plan.works], shape,
                    pushes=[seen.log[f"push{index}"][0] - start
                            for index in range(len(seen.plan.works))])
    measured = {**counters, "end": note["last_cycle"] - start}
    expected = {**model.counters(), "end": model.ends[-1]}
    stalls = {port: note[f"{port.removesuffix('s')}_stalls"] for port in PORTS}
    if case.free:
        return [f"cycles, {name}: expected {expected[name]} by the model, found {measured[name]}"
                for name in expected if expected[name] != measured[name]]
    found = []
    if measured["active"] != expected["active"]:
        found.append(f"cycles, active: expected {expected['active']}, found {measured['active']}")
    for name in ("busy", "end"):
        low, high = delay_bounds(expected[name], stalls)
        if not low <= measured[name] <= high:
            found.append(f"cycles, {name}: expected {low} to {high} by the model and the pauses, "
                         f"found {measured[name]}")
    return found


def _event(seen: Seen, case: Case) -> list[str]:
    event, work = case.event, seen.plan.works[0]
    assert event is not None
    whole = seen.packets[-1] if event.kind == "reset" else [
        packet for packet in seen.packets[0] if not packet[1]]
    found = _quiet(seen, len(whole), work.job.tag)
    for index, (data, user) in enumerate(whole):
        found += (["a void packet behind a reset"] if user
                  else _differs(work, data, f"packet {index}"))
    if event.kind == "reset":
        return found + _reset(seen, work)
    voids = [data for data, user in seen.packets[0] if user]
    order = [user for _, user in seen.packets[0]]
    if order[-AGAIN:] != [False] * AGAIN:
        found.append(f"expected {AGAIN} good packets at the end, found TUSER {order}")
    if len(voids) > 1 or (not voids and event.kind == "error"):
        found.append(f"expected a void packet, found {len(voids)}")
    cause = 0
    if event.kind == "error":
        found += _error(seen)
        cause = seen.read("ERROR:raised")["cause"]
    for data in voids:
        if data[-1] != cause:
            found.append(f"closing beat: expected cause {cause}, found {data[-1]}")
        if not work.results.startswith(data[:-1]):
            found.append("wrong results before the closing beat")
    if seen.read("ERROR:cleared") != {"cause": 0, "strip": 0}:
        found.append(f"ERROR behind the clear: found {seen.read('ERROR:cleared')}")
    space, depth = seen.read("STATUS:cleared")["queue_space"], case.config.queue_depth
    if space != depth:
        found.append(f"STATUS.queue_space behind the clear: expected {depth}, found {space}")
    return found


def _error(seen: Seen) -> list[str]:
    fault, event = seen.plan.fault, seen.plan.case.event
    assert event is not None
    causes = (event.cause,) if fault is None else fault.causes
    error, status = seen.read("ERROR:raised"), seen.read("STATUS:raised")
    name = spec.ERROR_CAUSES.get(error["cause"], (str(error["cause"]),))[0]
    what = event.cause if fault is None else fault.name
    found = []
    if name not in causes:
        found.append(f"{what}: expected error {' or '.join(causes)}, found {name}")
    if fault is not None and fault.strip is not None and error["strip"] != fault.strip:
        found.append(f"{what}: expected the error in strip {fault.strip}, found {error['strip']}")
    if not status["error"] or status["busy"] or status["queue_space"]:
        found.append(f"{what}: STATUS in error: found {status}")
    if not seen.read("IRQ_STATUS:raised")["error"]:
        found.append(f"{what}: IRQ_STATUS.error: expected 1, found 0")
    if seen.log["refused"][1] != RESPONSE_REFUSED:
        found.append(f"{what}: a push was taken in error")
    raised, stopped = seen.note("note:raised"), seen.note("note:stopped")
    found += [f"{what}: {count} {beats} were taken in error"
              for beats in ("weight_beats", "act_beats")
              if (count := stopped[beats] - raised[beats])]
    return found + _begun(seen, name, stopped["weight_beats"])


def _begun(seen: Seen, cause: str, beats: int) -> list[str]:
    """No packet may begin behind one whose contents are wrong."""
    fault, work = seen.plan.fault, seen.plan.works[0]
    if (fault is None or fault.strip is None or len(fault.data) != len(work.weights)
            or len(fault.causes) > 2            # sections that a wrong count moves
            or cause not in ("reserved", "range", "popcount", "params", "crc")):
        return []
    bus, tables = seen.plan.case.config.bus_bytes, int(work.layer.lut is not None)
    packets = split_packets(work.weights)
    whole = packets[:fault.strip + tables + 1]      # a table's fault is told of strip 0
    before = seen.plan.streams[0]["weights"].index((fault.data, bytes(fault.keep_list())))
    most = (before * len(work.weights) + sum(map(len, whole))) // bus
    if beats > most:
        return [f"{fault.name}: expected {most} weight beats at most, found {beats}: a packet "
                "began behind a wrong one"]
    return []


def _reset(seen: Seen, work: Work) -> list[str]:
    found = []
    for data, user in seen.packets[0]:
        found += ["a void packet before a reset"] if user else _differs(work, data, "before reset")
    if not work.results.startswith(seen.rest[0]):
        found.append("wrong results before the reset")
    if len(seen.packets[1]) != AGAIN:
        found.append(f"expected {AGAIN} packets behind the reset, found {len(seen.packets[1])}")
    for label, line in seen.log.items():
        if label.endswith(":reset") and not label.startswith("STATUS") and line[0]:
            found.append(f"{label.split(':')[0]} behind a reset: expected 0, found {line[0]}")
    seen.rest[0] = b""
    return found
