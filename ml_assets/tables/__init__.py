"""The lake's tables: a module a family, which alone owns its name, columns, rows, writes, queries."""

from ml_assets.lake import faults
from ml_assets.tables.data import FEATURES, QUARANTINE, VALIDATED_DATA
from ml_assets.tables.feature_statistics import FEATURE_STATISTICS
from ml_assets.tables.statistics import STATISTICS

# Where a data file is lost, the engine's errors name the asset that writes it again.
faults.WRITTEN_WITH.update(
    {QUARANTINE.name: VALIDATED_DATA.name, STATISTICS.name: VALIDATED_DATA.name, FEATURE_STATISTICS.name: FEATURES.name}
)
