"""Every table that a pipeline has in the lake, in the order in which it fills them."""

from __future__ import annotations

from ml_assets.tables.alerts import ALERTS
from ml_assets.tables.arrivals import ARRIVALS, OUTCOME_FILES
from ml_assets.tables.audit import WRITES
from ml_assets.tables.candidates import CANDIDATES
from ml_assets.tables.data import FEATURES, LOOKUP, QUARANTINE, RAW_DATA, VALIDATED_DATA
from ml_assets.tables.decisions import DECISIONS
from ml_assets.tables.deployments import DEPLOYMENTS
from ml_assets.tables.drift import DRIFT
from ml_assets.tables.evaluations import EVALUATIONS
from ml_assets.tables.feature_statistics import FEATURE_STATISTICS
from ml_assets.tables.ingest_errors import INGEST_ERRORS
from ml_assets.tables.maintenance import MAINTENANCE
from ml_assets.tables.online import ONLINE_LOOKUP, ONLINE_LOOKUPS, ONLINE_REFERENCE
from ml_assets.tables.outcomes import OUTCOMES
from ml_assets.tables.performance import PERFORMANCE
from ml_assets.tables.prediction_log import FEEDBACK, PREDICTION_LOG, SEGMENTS
from ml_assets.tables.predictions import PREDICTIONS
from ml_assets.tables.releases import RELEASES
from ml_assets.tables.retrain_events import RETRAIN_EVENTS
from ml_assets.tables.schema_events import SCHEMA_EVENTS
from ml_assets.tables.statistics import STATISTICS
from ml_assets.tables.table import Table
from ml_assets.tables.training_sets import TRAINING_SETS
from ml_assets.tables.trials import TRIALS
from ml_assets.tables.versions import ALIAS_EVENTS, VERSIONS

TABLES = (
    ARRIVALS,
    RAW_DATA,
    SCHEMA_EVENTS,
    INGEST_ERRORS,
    VALIDATED_DATA,
    QUARANTINE,
    STATISTICS,
    OUTCOMES,
    OUTCOME_FILES,
    LOOKUP,
    FEATURES,
    FEATURE_STATISTICS,
    ONLINE_LOOKUPS,
    ONLINE_LOOKUP,
    ONLINE_REFERENCE,
    TRAINING_SETS,
    TRIALS,
    CANDIDATES,
    VERSIONS,
    EVALUATIONS,
    RELEASES,
    DECISIONS,
    ALIAS_EVENTS,
    PREDICTIONS,
    PREDICTION_LOG,
    FEEDBACK,
    SEGMENTS,
    DRIFT,
    PERFORMANCE,
    RETRAIN_EVENTS,
    DEPLOYMENTS,
    ALERTS,
    MAINTENANCE,
    WRITES,
)
SEVERAL = tuple(table for table in TABLES if table.name.endswith("NAME"))  # of which there is one for each NAME


def table_of(name: str) -> Table | None:
    """The table of a name, such as `features` or `lookup_carrier_history`; None where it is none of ours."""
    kinds = (table for table in SEVERAL if name.startswith(table.name.removesuffix("NAME")))
    return next((table for table in TABLES if table.name == name), next(kinds, None))
