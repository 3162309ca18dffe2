"""Which batches there are to look back on."""

from __future__ import annotations

from ml_assets.lake.lake import Commit, Lake
from ml_assets.tables import data


def test_batches_of_logged_requests_are_not_looked_back_on(lake: Lake) -> None:
    for batch in ("2013-10", "2013-11", "2013-12", "2013-12 online 2014-01-02", "2013-12 online 2014-01-03"):
        rows = f"(SELECT '{batch}' AS batch, 1 AS row_id)"
        lake.replace([data.VALIDATED_DATA.put("tides", rows, batch)], Commit("tides/validated_data"))
    assert data.validated_batches(lake, "tides") == ["2013-10", "2013-11", "2013-12"]
    assert data.validated_batches(lake, "tides", limit=2) == ["2013-11", "2013-12"]
    assert data.validated_batches(lake, "tides", before="2013-12", limit=6) == ["2013-10", "2013-11"]
    assert data.validated_batches(lake, "tides", before="2013-12 online 2014-01-03", limit=1) == ["2013-12"]
