"""`python -m ml_assets.cli`."""

from ml_assets.cli import main

main()
