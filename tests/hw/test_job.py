import numpy as np
import pytest

from sparseloom.hw.job import Job, pack_fields, unpack_fields
from sparseloom.hw.registers import TABLE
from tests.layers import random_layer


@pytest.mark.parametrize("kind", ["plain", "lut", "raw"])
def test_a_layers_job_is_undone_from_its_words(kind):
    layer = random_layer(np.random.default_rng(1), inputs=45, outputs=12, lut=kind == "lut",
                         raw=kind == "raw")
    job = Job.of(layer, 300, 200)
    read = {}
    for name, fields in job.writes():
        assert unpack_fields(TABLE[name], pack_fields(TABLE[name], **fields)) == fields
        read |= fields
    assert read == {"inputs": 45, "outputs": 12, "tokens": 300, "tag": 200,
                    "zero_point": layer.output_zero_point, "raw": kind == "raw",
                    "lut": kind == "lut"}


def test_signed_fields():
    register = TABLE["JOB_CONFIG"]
    assert pack_fields(register, zero_point=-5, raw=1) == 0x1FB
    assert unpack_fields(register, 0x1FB) == {"zero_point": -5, "raw": 1, "lut": 0}
    with pytest.raises(KeyError, match="no field 'rawr'"):
        pack_fields(register, rawr=1)
