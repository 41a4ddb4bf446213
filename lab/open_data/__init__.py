"""The buckets that the lab's S3 has from the start: a public data set with made-up numbers, and one for the servers.

The public one has the name, the keys and the columns of NOAA's daily weather records (https://registry.opendata.aws/noaa-ghcn/),
so that what reads it here reads the real one on AWS.
"""

from __future__ import annotations

import datetime
import json
import math
from pathlib import Path
from typing import Any

from lab.settings import ACCOUNT, REGION, Settings

# Belongs to somebody else, as on AWS.
OWNER, PUBLIC = "999999999999", "noaa-ghcn-pds"
STATION = "USW00094728"
YEARS = range(2021, 2025)
HEADER = "ID,DATE,ELEMENT,DATA_VALUE,M_FLAG,Q_FLAG,S_FLAG,OBS_TIME"
# The instance profile and the role that let a server use its bucket.
PROFILE = "notebooks"
# Made of `days` by `python -m lab.open_data` where pyarrow is installed, which the lab itself does not need.
PARQUET = Path(__file__).parent / "tmax-2024.snappy.parquet"
PARQUET_KEY = "parquet/by_year/YEAR=2024/ELEMENT=TMAX/7f0b3f2f3d3e4c0aa2f1d9c1f2b4a6e8_0.snappy.parquet"
POLICY = """{{"Version": "2012-10-17", "Statement": [
  {{"Effect": "Allow", "Action": "s3:ListBucket", "Resource": "arn:aws:s3:::{bucket}"}},
  {{"Effect": "Allow", "Action": ["s3:GetObject", "s3:PutObject", "s3:DeleteObject"], "Resource": "arn:aws:s3:::{bucket}/*"}}
]}}"""
TRUST = """{"Version": "2012-10-17", "Statement": [
  {"Effect": "Allow", "Principal": {"Service": "ec2.amazonaws.com"}, "Action": "sts:AssumeRole"}
]}"""


def bucket(settings: Settings) -> str:
    """Return the name of the bucket for the lab's servers."""
    return f"notebooks-{settings.name}"


def days(element: str) -> list[tuple[str, int]]:
    """Return the made-up days of an element: tenths of a degree Celsius, or of a millimetre for PRCP."""
    found = []
    day = datetime.date(YEARS[0], 1, 1)
    while day.year in YEARS:
        number = day.toordinal()
        season = -math.cos(2 * math.pi * (day.timetuple().tm_yday - 20) / 365.25)
        weather = 30 * math.sin(number / 3.1) + 20 * math.sin(number / 7.7) + 10 * math.sin(number * 2.3)
        value = {
            "TMAX": 172 + 115 * season + weather,
            "TMIN": 95 + 110 * season + 0.8 * weather,
            "PRCP": 4 * weather - 90,
        }
        found.append((f"{day:%Y%m%d}", max(round(value[element]), 0 if element == "PRCP" else -400)))
        day += datetime.timedelta(days=1)
    return found


def table() -> str:
    """Return the station's file."""
    lines = [
        f"{STATION},{date},{element},{value},,,W,2400"
        for element in ("PRCP", "TMAX", "TMIN")
        for date, value in days(element)
    ]
    return "\n".join([HEADER, *lines]) + "\n"


def make(settings: Settings) -> None:
    """Make the buckets."""
    from moto.iam.models import iam_backends
    from moto.s3.models import get_canned_acl, s3_backends

    shared: Any = s3_backends[OWNER]["aws"]
    shared.create_bucket(PUBLIC, "us-east-1")
    for key, data in {f"csv/by_station/{STATION}.csv": table().encode(), PARQUET_KEY: PARQUET.read_bytes()}.items():
        shared.put_object(PUBLIC, key, data)
        shared.put_object_acl(PUBLIC, key, get_canned_acl("public-read"))
    own = bucket(settings)
    s3_backends[ACCOUNT]["aws"].create_bucket(own, REGION)
    iam = iam_backends[ACCOUNT]["aws"]
    iam.create_role(PROFILE, TRUST, "/", None, "What a server may do", [], 3600)
    iam.put_role_policy(PROFILE, "bucket", json.dumps(json.loads(POLICY.format(bucket=own))))
    iam.create_instance_profile(PROFILE, "/", [], [])
    iam.add_role_to_instance_profile(PROFILE, PROFILE)
