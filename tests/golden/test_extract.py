"""The extract that ships: small, numbers alone, and nothing but rows of the full records."""

import make_extract
import numpy as np
import records


def test_extract_is_a_few_hundred_kilobytes_of_numbers():
    files = list(records.EXTRACT.iterdir())
    assert {file.suffix for file in files} == {".npz"}
    assert sum(file.stat().st_size for file in files) < 700_000


@records.full_only
def test_extract_is_what_the_script_takes_from_the_full_records(source):
    expected = make_extract.extract()
    assert {file.name for file in records.EXTRACT.iterdir()} == set(expected)
    for file, arrays in expected.items():
        with np.load(records.EXTRACT / file, allow_pickle=False) as found:
            assert set(found.files) == set(arrays)
            for key, array in arrays.items():
                np.testing.assert_array_equal(found[key], array, err_msg=f"{file} {key}")
