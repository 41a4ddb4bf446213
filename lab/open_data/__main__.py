"""`python -m lab.open_data`: write the Parquet file of the public data set anew (needs pandas and pyarrow)."""

from __future__ import annotations

import pandas as pd

from lab import open_data


def main() -> None:
    """Write it as the real one is: a row a station and day, dates as text."""
    days = [one for one in open_data.days("TMAX") if one[0].startswith("2024")]
    frame = pd.DataFrame(days, columns=["DATE", "DATA_VALUE"])
    frame.insert(0, "ID", open_data.STATION)
    frame = frame.assign(M_FLAG=None, Q_FLAG=None, S_FLAG="W", OBS_TIME="2400")
    frame.to_parquet(open_data.PARQUET, compression="snappy", index=False)


if __name__ == "__main__":
    main()
