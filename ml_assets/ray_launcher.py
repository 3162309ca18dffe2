"""Each of Dagster's runs as a job of a Ray cluster, on whichever node has room: the launcher of dagster-ray.

By itself that one takes a run that Ray does not know as lost, so it would fail each run of a terminal, and writes the
whole job, with the variables of its environment, to Dagster's log. `dagster.yaml` names the class.
"""

from __future__ import annotations

import os

import dagster as dg
from dagster._core.errors import DagsterUserCodeUnreachableError
from dagster._core.launcher import LaunchRunContext

from ml_assets.home import without_ray
from ml_assets.launcher import GRACE_S, FindsLostRuns, is_at_work

os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # before Ray is imported
try:
    from dagster_ray.core import run_launcher as dagster_ray
    from ray.exceptions import AuthenticationError
    from ray.job_submission import JobDetails
except ImportError as error:
    raise without_ray(error) from error


class RayRunLauncher(FindsLostRuns, dagster_ray.RayRunLauncher):
    """Launches each run as a job of Ray, and finds those whose job or process is gone."""

    def launch_run(self, context: LaunchRunContext) -> None:
        """Submit the run; where the cluster cannot be reached, Dagster's queue keeps the run and tries again.

        An answer of Ray that was lost changes nothing: a run has one job, which is named by its id.
        """
        try:
            super().launch_run(context)
        except (OSError, RuntimeError) as error:
            if self.job(context.dagster_run) is not None:
                return
            if isinstance(error, RuntimeError):  # Ray has refused it
                raise
            raise DagsterUserCodeUnreachableError(f"The Ray cluster at {self.address}: {error}") from error

    def lost(self, run: dg.DagsterRun) -> str | None:
        """What Ray knows of the run's job; where it knows none, what the locks of the run's process tell.

        A process may go on for a while that Ray has given up: of a node that only Ray does not reach, for instance.
        """
        job = self.job(run)
        if job is None:
            return super().lost(run)
        if not job.status.is_terminal() or is_at_work(self._instance, run):
            return None
        return f"Its Ray job has ended ({job.status.value}) and the run has not: {job.message or 'nothing is known.'}"

    def grace_s(self, run: dg.DagsterRun) -> float:
        """Ray's word needs no longer than that of this machine."""
        return super().grace_s(run) if self.job(run) is None else GRACE_S

    def get_run_worker_debug_info(
        self,
        run: dg.DagsterRun,
        include_container_logs: bool | None = True,  # noqa: ARG002 - as Dagster calls it
    ) -> str | None:
        """What Ray says of a run that has not started in time, without the job's environment."""
        job = self.job(run)
        return None if job is None else f"Ray job {job.submission_id}: {job.status.value}. {job.message or ''}".strip()

    def job(self, run: dg.DagsterRun) -> JobDetails | None:
        """The job of a run; None where Ray cannot be asked, or does not know it: a run of a terminal."""
        try:
            return self.client.get_job_info(dagster_ray.get_job_submission_id_from_run_id(run.run_id))
        except (OSError, RuntimeError, AuthenticationError):  # of requests, and an answer with another status than 200
            return None
