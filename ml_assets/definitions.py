"""The code location: every pipeline under defs/, built once at import because the CLI asks for it several times."""

import warnings
from pathlib import Path

import dagster as dg

from ml_assets.loading import load_from_defs_folder

# Dagster marks backfill policies as beta and checks per partition as preview; every command would begin with that.
warnings.filterwarnings("ignore", category=dg.BetaWarning)
warnings.filterwarnings("ignore", category=dg.PreviewWarning)

defs = load_from_defs_folder(path_within_project=Path(__file__).parent)
