"""`python -m models.studies.monthly_file --data DIR`: make the model file of the outlook from the monthly study.

The study is run with five seeds, from where it was; the networks that it fits on all months with news become the file. Run it
again after a change of the network or of the inputs, and commit the file with its checksum.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import numpy as np

from models.evaluation import metrics
from models.outlook import pretrained
from models.outlook.pretrained import About
from models.studies import monthly, monthly_rows
from models.studies.base import Options
from models.studies.monthly import Outcome
from models.studies.monthly_trial import scaler_of, weights_of
from streams import settings

SEEDS = 5


def about(found: Outcome) -> About:
    """Return what the file says of itself: how the ensemble did in walk-forward, and what its intervals are made of."""
    walked, known = found.walked, found.known
    expected = found.forecasts[monthly.MAIN].expected.mean(axis=0)
    usual = monthly_rows.usual_volatility(known)
    test = monthly_rows.against(expected, np.zeros(len(walked)), walked)
    return About(
        scaler=scaler_of(known),
        sentiment_model_id=found.inputs.sentiment_model_id,
        trained_until=str(known.until.max()),
        samples=len(known),
        usual_return=float(known.changes.mean()),
        usual_volatility=usual,
        residuals=monthly_rows.residual_quantiles(expected, walked, usual),
        rmse=metrics.rmse(expected - walked.changes),
        naive_rmse=metrics.rmse(walked.changes),
        mean_rmse=metrics.rmse(found.mean - walked.changes),
        dm_p_value=test.p_value,
        verdict=monthly_rows.judged(test, monthly_rows.against(expected, found.mean, walked)),
        tested=len(walked),
    )


def make(options: Options, path: Path = pretrained.FILE) -> About:
    """Write the file and its checksum to `path`; errors as for the study."""
    found = monthly.compute(options)
    told = about(found)
    pretrained.write(path, [weights_of(one) for one in found.final], told)
    return told


def main() -> None:
    """Make the file that is shipped."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True, help="folder with us-daily/ and headlines*/")
    told = make(Options(settings.load(), parser.parse_args().data, seeds=SEEDS))
    sys.stdout.write(f"{pretrained.FILE}: {told}\n")


if __name__ == "__main__":
    main()
