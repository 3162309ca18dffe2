"""What a column of features is to an estimator."""

from __future__ import annotations

NUMBER_TYPES = ("TINYINT", "SMALLINT", "INTEGER", "BIGINT", "FLOAT", "DOUBLE", "BOOLEAN")
# Names that stand beside the features where a model is fitted: the known outcome, and the part of the split.
LABEL = "label"
NO_FEATURES = (LABEL, "part")


def feature_type(sql_type: str) -> str | None:
    """`number`, `category`, or None for a SQL type that no estimator takes."""
    if sql_type in NUMBER_TYPES or sql_type.startswith("DECIMAL"):
        return "number"
    return "category" if sql_type == "VARCHAR" else None
