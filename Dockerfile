# Dagster with its daemon, and the scoring server that follows the lake: compose.yaml starts both from this image.
# A release has a Dockerfile of its own, which serves it without a project.
FROM python:3.11-slim@sha256:9534e5a8e315485d4061ed659af0fd78a284c015f9b73661b41d6bab25604534
WORKDIR /app
RUN useradd --no-create-home --uid 10001 app
COPY requirements.txt .
RUN pip install --no-cache-dir --no-deps --require-hashes -r requirements.txt
COPY . .
ENV HOME=/tmp PYTHONDONTWRITEBYTECODE=1 OMP_NUM_THREADS=1
ENV ORT_DISABLE_TELEMETRY=1 MLFLOW_DISABLE_TELEMETRY=true DO_NOT_TRACK=true
# What is written goes to data, where a new volume takes over the folder's owner.
RUN pip install --no-cache-dir --no-deps --no-build-isolation --editable . && \
  ml-assets home && mkdir -p data/incoming data/reference && chown -R app: data
# Nobody can write beside the code later: without this, each process would compile and parse it anew, for a second of CPU.
RUN PYTHONDONTWRITEBYTECODE= python -c "import ml_assets.definitions"
# Each model version names the commit that trained it.
ARG GIT_COMMIT
ENV GIT_COMMIT=$GIT_COMMIT
USER 10001
EXPOSE 3000 3001 8000
CMD ["ml-assets", "ui", "--host", "0.0.0.0"]
