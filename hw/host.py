"""Driver of a unit on a board: registers, jobs and layers over the host link.

No Amaranth and no simulator here: it needs numpy and a transport, for instance
:class:`~.serial_line.SerialLine`.
"""
import numpy as np

from sparseloom.hw.config import ArrayConfig
from sparseloom.hw.errors import LinkError, UnitError
from sparseloom.hw.job import Job, pack_fields, split_tokens, unpack_fields
from sparseloom.hw.link_client import LinkClient, Transport
from sparseloom.hw.registers import TABLE, UNIT_ID
from sparseloom.model.errors import InputError
from sparseloom.model.packed import link, spec
from sparseloom.model.packed.codec import pack_record
from sparseloom.model.packed.layer import PackedLayer
from sparseloom.model.packed.link import Frame
from sparseloom.model.packed.stream import (
    decode_results,
    encode_acts,
    encode_weights,
    result_bytes,
)

STALL = 2.0
"""Seconds in which a job must move a byte, without those that a bad line costs."""


class Host:
    """A board's unit: begins a session, resets the unit, and reads what it is.

    Parameters
    ----------
    transport : Transport
    stall : float
        Seconds in which a job must move a byte, by the transport's clock. Attempts that bring no
        answer do not count: they say nothing of the unit.
    client : LinkClient, optional
        With other attempts or patience than the default.

    Attributes
    ----------
    config : ArrayConfig
        As the unit's registers tell; ``target`` is not among them.
    link : LinkClient

    Raises
    ------
    LinkError
        If nobody answers, or it is no unit of ours.
    """

    def __init__(self, transport: Transport, *, stall: float = STALL,
                 client: LinkClient | None = None):
        self.link = client or LinkClient(transport)
        self.stall = stall
        self._now = transport.now
        self._tag = 0
        self._clean = False
        sizes = self.link.hello()
        self._bus_bytes, self._room = sizes["bus_bytes"], sizes["stream_bytes"]
        self.reset()
        self.config = self._identify()

    # Registers

    def read(self, name: str) -> dict[str, int]:
        """Fields of a register by name.

        Raises
        ------
        LinkError
            If the board does not answer, or the bus refuses.
        """
        register = TABLE[name]
        answer = self._ask(link.READ, pack_record(link.READ_QUESTION, offset=register.offset))
        if answer.status != link.OK or len(answer.data) != 4:
            raise LinkError(f"register {name}: expected its value, found it refused")
        return unpack_fields(register, int.from_bytes(answer.data, "little"))

    def write(self, name: str, **fields: int) -> bool:
        """Write a register by name, other fields 0; did the bus answer OKAY?"""
        register = TABLE[name]
        answer = self._ask(link.WRITE, pack_record(
            link.WRITE_QUESTION, offset=register.offset, value=pack_fields(register, **fields)))
        return answer.status == link.OK

    def reset(self) -> None:
        """Reset the unit and the queues on the board."""
        self._ask(link.RESET)
        self._clean = True

    # Jobs

    def run_job(self, job: Job, weights: bytes, acts: bytes) -> bytes:
        """Push one job, send its streams as they are taken, give its results.

        Parameters
        ----------
        job : Job
        weights, acts : bytes
            The whole streams.

        Returns
        -------
        bytes
            The result stream.

        Raises
        ------
        UnitError
            If the unit refuses the job, stops with an error, moves nothing for ``stall``
            seconds, or gives results of another length. The next job begins with a reset.
        LinkError
            If the board does not answer.
        """
        if not self._clean:
            self.reset()
        self._clean = False
        for name, fields in job.writes():
            if not self.write(name, **fields):
                raise UnitError(f"register {name}: expected it to be written, found it refused")
        if not self.write("JOB_PUSH"):
            raise UnitError(f"job: expected a place in the queue, found {self.read('STATUS')}")
        size = result_bytes(tokens=job.tokens, outputs=job.outputs, rows=self.config.rows,
                            raw=job.raw)
        results = self._pump({link.WEIGHTS: weights, link.ACTS: acts}, size)
        self._clean = True
        return results

    def run_layer(self, layer: PackedLayer, x: np.ndarray) -> np.ndarray:
        """A layer's outputs.

        Parameters
        ----------
        layer : PackedLayer
        x : ndarray of int8, shape (M, K)

        Returns
        -------
        ndarray of int8 or (raw) int32, shape (M, N)

        Raises
        ------
        InputError
            If the layer does not fit the unit, or ``x`` the layer.
        UnitError, LinkError
            As :meth:`run_job`.
        """
        config = self.config
        if x.dtype != np.int8 or x.ndim != 2 or x.shape[1] != layer.in_features or not len(x):
            raise InputError(f"layer {layer.name}, activations: expected int8 of shape "
                             f"(M, {layer.in_features}), found {x.dtype} of shape {x.shape}")
        sizes = split_tokens(len(x), inputs=layer.in_features, config=config)
        outputs, first = [], 0
        for size in sizes:
            part = x[first:first + size]
            first += size
            self._tag = (self._tag + 1) % (1 << spec.TAG_BITS)
            weights = encode_weights(layer, cols=config.cols, block_inputs=config.block_inputs,
                                     tag=self._tag, weight_bits=config.weight_bits)
            data = self.run_job(Job.of(layer, size, self._tag), weights,
                                encode_acts(part, rows=config.rows, cols=config.cols))
            try:
                outputs.append(decode_results(
                    data, tokens=size, outputs=layer.out_features, rows=config.rows,
                    cols=config.cols, raw=layer.raw))
            except InputError as error:         # not the caller's
                self._clean = False
                raise UnitError(f"unit: {error}") from error
        return np.concatenate(outputs)

    def _ask(self, kind: int, data: bytes = b"", *, last: bool = False) -> Frame:
        """As the link's; without an answer nobody knows what the unit did, so it is reset next."""
        try:
            return self.link.ask(kind, data, last=last)
        except LinkError:
            self._clean = False
            raise

    def _pump(self, streams: dict[int, bytes], size: int) -> bytes:
        """Send what is taken, receive what is there, until the results end: ``size`` bytes."""
        most = min(self.link.max_data, self._room) // self._bus_bytes * self._bus_bytes
        limit = pack_record(link.RESULTS_QUESTION, limit=most)
        sent = dict.fromkeys(streams, 0)
        results = bytearray()
        moved_at = self._heard()
        while True:
            moved = False
            for kind, stream in streams.items():
                part = stream[sent[kind]:sent[kind] + most]
                if not part:
                    continue
                end = sent[kind] + len(part)
                if self._ask(kind, part, last=end == len(stream)).status == link.OK:
                    sent[kind], moved = end, True
            if not moved:                       # all was sent, or the queues are full
                answer = self._ask(link.RESULTS, limit)
                results += answer.data
                moved = bool(answer.data)
                if answer.flags & link.FLAG_USER:
                    self._stopped(answer.data)
                last = bool(answer.flags & link.FLAG_LAST)
                if len(results) > size or (last and len(results) != size):
                    raise UnitError(f"unit: expected results of {size} bytes, found "
                                    f"{len(results)}{' and no end' if not last else ''}")
                if last:
                    return bytes(results)
            if moved:
                moved_at = self._heard()
            elif self._heard() - moved_at > self.stall:
                left = {link.KINDS[kind][0]: len(stream) - sent[kind]
                        for kind, stream in streams.items()}
                raise UnitError(f"job: expected a byte to move within {self.stall:g} s, found "
                                f"none; left to send {left}, status {self.read('STATUS')}, "
                                f"error {self.read('ERROR')}")

    def _heard(self) -> float:
        """Seconds of the clock, without those in which the line was bad."""
        return self._now() - self.link.in_vain

    def _stopped(self, data: bytes) -> None:
        """Results are void: say why."""
        error = self.read("ERROR")
        cause = error["cause"] or (data[-1] if data else 0)
        name, meaning = spec.ERROR_CAUSES.get(cause, ("unknown", f"cause {cause}"))
        raise UnitError(f"unit: expected results, found error {name!r} at strip "
                        f"{error['strip']}: {meaning}", cause)

    def _identify(self) -> ArrayConfig:
        found = self.read("ID")["value"]
        if found != UNIT_ID:
            raise LinkError(f"register ID: expected {UNIT_ID:#010x}, found {found:#010x}")
        version = self.read("VERSION")["stream_version"]
        if version != spec.STREAM_VERSION:
            raise LinkError(f"weight stream version: expected {spec.STREAM_VERSION}, "
                            f"found {version}")
        geometry, build = self.read("GEOMETRY"), self.read("BUILD")
        max_k, act_words = self.read("MAX_K")["value"], self.read("ACT_WORDS")["value"]
        try:
            return ArrayConfig(
                rows=geometry["rows"], cols=geometry["cols"],
                block_inputs=geometry["block_inputs"], weight_bits=geometry["weight_bits"],
                bus_bits=8 * build["bus_bytes"], lanes=build["lanes"],
                queue_depth=build["queue_depth"], max_k=max_k, act_words=act_words)
        except InputError as error:
            raise LinkError(f"registers: expected those of a unit, found: {error}") from error
