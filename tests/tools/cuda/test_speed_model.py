"""The speed model: its predictions are of the benchmark's cases, and it knows every kernel."""

from fimo_fast import bench
from fimo_fast.bench import predictions
from tools.cuda.speed_model.predict import JSON


def test_predictions_are_of_cases_that_exist():
    known = {str(c) for name, op in bench.OPERATIONS.items() for c in bench.cases(name, op.supported, full=True)}
    known |= {str(c) for name, op in bench.OPERATIONS.items() for c in bench.cases(name, op.supported)}
    found = predictions.read(JSON)
    assert found.device == "H100 SXM" and found.cases and found.cases.keys() <= known
