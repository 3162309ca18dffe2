"""A fitted scikit-learn Pipeline as an ONNX graph of double precision, and how far the two differ.

Own code, because converters are not safe unattended: skl2onnx 1.20 answers wrongly and in silence for native
categories and for forests with missing numbers. Here whatever is not known to be exact is refused, and what was
exported is compared with the model before anyone trusts it.

graph         nodes and constants of an ONNX graph
preprocess    imputers, scalers, encoders, selection, components
trees         tree ensembles, and interpolation as a tree
estimators    what an estimator predicts: boosting, forests, linear models, calibration
export        the whole Pipeline
compare       the largest difference, on real rows and on rows with missing and unknown values
"""

from ml_assets.ml.onnx.compare import hard_rows, parity
from ml_assets.ml.onnx.export import Exported, export
from ml_assets.ml.onnx.graph import NotExportable

__all__ = ["Exported", "NotExportable", "export", "hard_rows", "parity"]
