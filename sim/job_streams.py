"""Jobs to what the benches' players offer, and what their recorders wrote back to results."""
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from sparseloom.hw.config import ArrayConfig
from sparseloom.hw.job import Job
from sparseloom.model.errors import InputError
from sparseloom.model.packed import spec
from sparseloom.model.packed.layer import PackedLayer
from sparseloom.model.packed.stream import decode_results, encode_weights, result_bytes
from sparseloom.sim.beats import read_beats
from sparseloom.sim.errors import SimulationError

Jobs = Sequence[tuple[PackedLayer, int]]
"""Layer and tokens of each job, in the queue's order."""


@dataclass(frozen=True, kw_only=True)
class JobStreams:
    """Jobs of one unit, tagged in their order.

    Parameters
    ----------
    descriptors : list of dict
        Fields of :class:`~sparseloom.hw.job.Job`, JSON-ready.
    weights : list of bytes
        Each job's weight stream.
    result_bytes : list of int
        Of each job's result stream.
    work : int
        Cycles of the array, were nothing pruned.
    """

    descriptors: list[dict]
    weights: list[bytes]
    result_bytes: list[int]
    work: int


def job_streams(jobs: Jobs, config: ArrayConfig) -> JobStreams:
    """Everything of jobs but their activations.

    Raises
    ------
    InputError
        If a layer does not fit the unit.
    """
    tagged = [(layer, Job.of(layer, tokens, index % (1 << spec.TAG_BITS)))
              for index, (layer, tokens) in enumerate(jobs)]
    return JobStreams(
        descriptors=[asdict(job) for _, job in tagged],
        weights=[encode_weights(layer, cols=config.cols, block_inputs=config.block_inputs,
                                tag=job.tag, weight_bits=config.weight_bits)
                 for layer, job in tagged],
        result_bytes=[result_bytes(tokens=tokens, outputs=layer.out_features, rows=config.rows,
                                   raw=layer.raw) for layer, tokens in jobs],
        work=sum(-(-tokens // config.rows) * layer.in_features
                 * -(-layer.out_features // config.cols) for layer, tokens in jobs))


def good_packets(path: Path, count: int, bus_bytes: int) -> list[bytes]:
    """A recorder's packets, if there are so many and none ends with an error.

    Raises
    ------
    SimulationError
        Otherwise, or if the file is damaged.
    """
    packets = read_beats(path, bus_bytes)
    if len(packets) != count or any(user for _, user in packets):
        raise SimulationError(f"expected {count} good result packets, found {len(packets)}")
    return [data for data, _ in packets]


def decode_jobs(packets: Sequence[bytes], jobs: Jobs, config: ArrayConfig) -> list[np.ndarray]:
    """Each job's results: int8, or int32 of a raw layer, shape (tokens, N).

    Raises
    ------
    SimulationError
        If a packet has another size than its job's results.
    """
    try:
        return [decode_results(data, tokens=tokens, outputs=layer.out_features, rows=config.rows,
                               cols=config.cols, raw=layer.raw)
                for data, (layer, tokens) in zip(packets, jobs, strict=True)]
    except InputError as error:
        raise SimulationError(str(error)) from None


def wrong_beats(outcome: Mapping[str, int], beats: Mapping[str, int]) -> str | None:
    """The first stream of which another number of beats passed than of the files."""
    for stream, count in beats.items():
        if outcome[stream] != count:
            return f"expected {count} {stream.replace('_', ' ')}, found {outcome[stream]}"
    return None
